"""Training data of the cpu profile: clips cut from episodes, with the candidates of the frames to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ws_rollouts.episode import STATE, STATE_SIZE, VIEWS, Episode
from ws_world_model.bank import ArmBank
from ws_world_model.geometry import CHANNELS, CONTACT_CHANNELS, Projector
from ws_world_model.imagination import frame_age
from ws_world_model.layers import CELLS, PLANES, SOURCES, TableMap

POSITION_NOISE, VELOCITY_NOISE = 0.0007, 0.01  # m, m/s: what the core's own predictions are off by


@dataclass
class ClipBatch:
    """B clips of up to T steps, M frames of each to be drawn.

    contact (B, T, S/2, S/2, CONTACT_CHANNELS) uint8; state (B, T, 13) as seen (a little noise in it), following
    (B, T, 13) float32;
    action (B, T, A); done, valid (B, T) float32; which (B, M) int64, the actions after which frames are drawn;
    candidates (B, M, S, S, CHANNELS), truth (B, M, S, S, 6) uint8; poses (B, M, 13) float32, of the wrist frames;
    laid (B, CELLS, CELLS, 60) uint8, start and memory laid out on the map.
    """

    contact: np.ndarray
    state: np.ndarray
    following: np.ndarray
    action: np.ndarray
    done: np.ndarray
    valid: np.ndarray
    which: np.ndarray
    candidates: np.ndarray
    truth: np.ndarray
    poses: np.ndarray
    laid: np.ndarray


class Exposures:
    """The poses at which an episode's frames were taken; view -> (T+1, 13)."""

    def __init__(self, episode: Episode, projector: Projector):
        age = frame_age(episode)
        self.poses = {}
        for i, view in enumerate(VIEWS):
            before = np.concatenate([episode.state[:1], episode.state[:-1]])
            poses = projector.exposed(episode.state, before, age[:, i])
            poses[:1] = projector.exposed(episode.state[:1], None, age[:1, i])
            self.poses[view] = poses.astype(np.float32)

    def at(self, indices) -> dict[str, np.ndarray]:
        return {view: self.poses[view][indices] for view in VIEWS}


class Cutter:
    """Cuts clips of up to `longest` steps, with `drawn` frames of each to be drawn."""

    def __init__(self, projector: Projector, table: TableMap, bank: ArmBank, longest: int, drawn: int):
        self._projector, self._table, self._bank = projector, table, bank
        self._longest, self._drawn = longest, drawn

    def cut(self, episodes: list[Episode], owners: list[int], rng: np.random.Generator) -> ClipBatch:
        """One clip of each episode, from a random start (early ones more often) to its end, or `longest` steps.

        `owners`: the episodes' numbers in the bank, whose own frames would give the answer away.
        """
        starts = [int(len(e) * rng.random() ** 1.5) for e in episodes]
        lengths = [min(len(e) - s, self._longest) for e, s in zip(episodes, starts, strict=True)]
        batch = _empty(len(episodes), max(lengths), self._drawn, episodes[0])
        for b, (episode, start, length) in enumerate(zip(episodes, starts, lengths, strict=True)):
            self._fill(batch, b, episode, start, length, owners[b], rng)
        return batch

    def _fill(self, batch: ClipBatch, b: int, episode: Episode, start: int, length: int, owner: int, rng) -> None:
        exposures = Exposures(episode, self._projector)
        end = start + length
        states = episode.state[start:end]
        first = {v: episode.frames[v][start] for v in VIEWS}, {v: episode.frames[v][0] for v in VIEWS}
        source = exposures.poses["wrist"][[start, 0]]
        batch.contact[b, :length] = self._projector.contact(first[0]["wrist"], first[1]["side"], source[0], states)
        batch.state[b, :length] = _shaken(states, rng)
        batch.following[b, :length] = episode.state[start + 1 : end + 1]
        batch.action[b, :length] = episode.action[start:end]
        batch.done[b, :length] = episode.reward[start + 1 : end + 1] > 0
        batch.valid[b, :length] = 1.0
        which = rng.integers(0, length, batch.which.shape[1])
        batch.which[b] = which
        poses = exposures.at(start + 1 + which)
        known = self._bank.nearest(poses["side"], owner) if self._projector.options.bank else [None] * len(which)
        batch.candidates[b] = self._projector.candidates(*first, exposures.at([start, 0]), poses, known)
        batch.truth[b] = np.concatenate([episode.frames[v][start + 1 + which] for v in VIEWS], axis=-1)
        batch.poses[b] = poses["wrist"]
        options = self._projector.options
        if options.layers:
            batch.laid[b] = self._table.lay_out(*first, source, options.views, options.memory)


def _empty(count: int, steps: int, drawn: int, like: Episode) -> ClipBatch:
    size = like.frames[VIEWS[0]].shape[1]
    return ClipBatch(
        contact=np.zeros((count, steps, size // 2, size // 2, CONTACT_CHANNELS), np.uint8),
        state=np.zeros((count, steps, STATE_SIZE), np.float32),
        following=np.zeros((count, steps, STATE_SIZE), np.float32),
        action=np.zeros((count, steps, like.action.shape[1]), np.float32),
        done=np.zeros((count, steps), np.float32),
        valid=np.zeros((count, steps), np.float32),
        which=np.zeros((count, drawn), np.int64),
        candidates=np.zeros((count, drawn, size, size, CHANNELS), np.uint8),
        truth=np.zeros((count, drawn, size, size, 6), np.uint8),
        poses=np.zeros((count, drawn, STATE_SIZE), np.float32),
        laid=np.zeros((count, CELLS, CELLS, 3 * SOURCES * len(PLANES)), np.uint8),
    )


def _shaken(states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """States with the errors that the core will make itself; the locked target stays where it is."""
    shaken = states.copy()
    noise = rng.normal(0, POSITION_NOISE, (len(states), 3)).astype(np.float32)
    shaken[:, STATE["position"]] += noise
    shaken[:, STATE["lag"]] -= noise
    shaken[:, STATE["velocity"]] += rng.normal(0, VELOCITY_NOISE, (len(states), 3))
    return shaken
