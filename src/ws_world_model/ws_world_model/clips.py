"""Training data of the cpu profile: clips cut from episodes, with the candidates of the frames to be drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ws_rollouts.episode import STATE_SIZE, VIEWS, Episode
from ws_world_model.bank import FrameBank
from ws_world_model.free import GRID, MOTION, FreePaths
from ws_world_model.geometry import CHANNELS, Projector
from ws_world_model.imagination import frame_age
from ws_world_model.layers import CELLS, PLANES, SOURCES, TableMap
from ws_world_model.scene.scenes import Scenes

WITHOUT = 0.1  # share of the clips that are learned without what the scene memory draws: some episodes have no depth


@dataclass
class ClipBatch:
    """B clips to their episodes' ends, at most L steps; M frames of each to be drawn; K windows of T steps in each.

    state (B, L+1, 13), action (B, L, A), done (B, L) float32; windows (B, K, T) int64, which of the L steps they are,
    the first from the clip's start; valid (B, K, T) float32; which (B, M) int64, steps whose outcome is drawn;
    candidates (B, M, S, S, CHANNELS), truth (B, M, S, S, 6) uint8; poses (B, M, 13) float32, of the wrist frames;
    free (B, K, T+1, 6) float32, position and velocity of an arm that nothing is in the way of;
    laid (B, CELLS, CELLS, 3 SOURCES PLANES) uint8, start and memory laid out on the map.
    """

    state: np.ndarray
    action: np.ndarray
    done: np.ndarray
    windows: np.ndarray
    valid: np.ndarray
    which: np.ndarray
    candidates: np.ndarray
    truth: np.ndarray
    poses: np.ndarray
    laid: np.ndarray
    free: np.ndarray


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
    """Cuts clips of up to `longest` steps, with `drawn` frames of each to be drawn and `windows` windows."""

    def __init__(self, projector: Projector, table: TableMap, banks: dict[str, FrameBank], longest: int, drawn: int,
                 windows: int, scenes: Callable[[], Scenes | None] = lambda: None, paths: FreePaths | None = None):
        """`scenes`, of a moment, draw; without `paths` the free arm stands still."""
        self._scenes, self._paths = scenes, paths
        self._projector, self._table, self._banks = projector, table, banks
        self._longest, self._drawn, self._windows = longest, drawn, windows

    def cut(self, episodes: list[Episode], owners: list[int], rng: np.random.Generator) -> ClipBatch:
        """One clip of each episode, from a random start (early ones more often) to its end, or `longest` steps.

        `owners`: the episodes' numbers in the banks, whose own frames would give the answer away.
        """
        starts = [_on_grid(int(len(e) * rng.random() ** 1.5)) for e in episodes]
        lengths = [len(e) - s for e, s in zip(episodes, starts, strict=True)]
        batch = _empty(len(episodes), max(lengths), self._windows, self._longest, self._drawn, episodes[0])
        for b, (episode, start, length) in enumerate(zip(episodes, starts, lengths, strict=True)):
            batch.state[b, : length + 1] = episode.state[start:]
            batch.action[b, :length] = episode.action[start:-1]
            batch.done[b, :length] = episode.reward[start + 1 :] > 0
            first = _on_grid(np.append(0, rng.integers(0, length, self._windows - 1)))
            steps = first[:, None] + np.arange(self._longest)
            batch.valid[b] = steps < length
            batch.windows[b] = np.minimum(steps, length - 1)
            if self._paths is not None:
                batch.free[b] = self._paths.recorded(episode, self._longest)[(start + first) // GRID]
            self._draw(batch, b, episode, start, owners[b], rng)
        return batch

    def _draw(self, batch: ClipBatch, b: int, episode: Episode, start: int, owner: int, rng) -> None:
        exposures = Exposures(episode, self._projector)
        first = {v: episode.frames[v][start] for v in VIEWS}, {v: episode.frames[v][0] for v in VIEWS}
        which = rng.integers(0, int(batch.valid[b, 0].sum()), batch.which.shape[1])
        batch.which[b] = which
        poses = exposures.at(start + 1 + which)
        options = self._projector.options
        known = {view: bank.nearest(poses[view], owner) if options.bank else [None] * len(which)
                 for view, bank in self._banks.items()}
        scenes = self._scenes() if options.scene and rng.random() >= WITHOUT else None
        drawn = scenes.drawn(episode.episode_id, episode.rgbd, exposures.poses) if scenes else None
        if drawn is not None:
            drawn = {view: frames[start + 1 + which] for view, frames in drawn.items()}
        batch.candidates[b] = self._projector.candidates(*first, exposures.at([start, 0]), poses, known, drawn)
        batch.truth[b] = np.concatenate([episode.frames[v][start + 1 + which] for v in VIEWS], axis=-1)
        batch.poses[b] = poses["wrist"]
        if options.layers:
            source = exposures.poses["wrist"][[start, 0]]
            batch.laid[b] = self._table.lay_out(*first, source, options.views, options.memory)


def _on_grid(step):
    """The last step before it from which free paths start."""
    return step - step % GRID


def _empty(count: int, length: int, windows: int, steps: int, drawn: int, like: Episode) -> ClipBatch:
    size = like.frames[VIEWS[0]].shape[1]
    return ClipBatch(
        state=np.zeros((count, length + 1, STATE_SIZE), np.float32),
        action=np.zeros((count, length, like.action.shape[1]), np.float32),
        done=np.zeros((count, length), np.float32),
        windows=np.zeros((count, windows, steps), np.int64),
        valid=np.zeros((count, windows, steps), np.float32),
        which=np.zeros((count, drawn), np.int64),
        candidates=np.zeros((count, drawn, size, size, CHANNELS), np.uint8),
        truth=np.zeros((count, drawn, size, size, 6), np.uint8),
        poses=np.zeros((count, drawn, STATE_SIZE), np.float32),
        laid=np.zeros((count, CELLS, CELLS, 3 * SOURCES * PLANES), np.uint8),
        free=np.zeros((count, windows, steps + 1, MOTION), np.float32),
    )
