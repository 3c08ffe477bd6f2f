"""From a real segment to labelled synthetic episodes: perturb, imagine, label, cut."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ws_rollouts.episode import STATE, SYNTHETIC, VIEWS, Episode
from ws_world_model.counterfactuals import CounterfactualOptions, Segment, inside_workspace, perturb
from ws_world_model.imagination import Dynamics, Imagined, context_of, stack
from ws_world_model.labels import ABSTAIN, FAILURE, SUCCESS, Label
from ws_world_model.reward_network import WINDOW
from ws_world_model.rewards import RewardModel

_UNCLEAR = 3  # steps before a success in which a replay's outcome cannot be told


@dataclass(frozen=True)
class Variant:
    """One sequence of actions to imagine. `seed` starts the generator that `perturb` drew it from."""

    actions: np.ndarray  # (T, A) float32
    xi: np.ndarray  # (A-1,) float32
    kind: str  # perturbed or identity
    seed: tuple[int, ...]


@dataclass
class Generated:
    """What came of one segment. Counts: success, failure, abstain, outside (no legal variant found), diverged,

    frames (imagined, of both views), and of identity replays: replay_right, replay_wrong, replay_unclear.
    """

    episodes: list[Episode] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Generator:
    """Makes synthetic episodes. `dynamics` may be replaced by a newer version between two segments.

    Ids are `<task>-synthetic-<session>-<number>`: `session` must differ from run to run, and `made` be set to go on.
    """

    def __init__(
        self, dynamics: Dynamics, rewards: RewardModel, options: CounterfactualOptions | None = None, seed: int = 0,
        session: str | None = None,
    ):
        self.dynamics = dynamics
        self.rewards = rewards
        self.options = options or CounterfactualOptions()
        self.session = f"{seed:06x}" if session is None else session
        self.made = 0  # synthetic episodes so far
        self._seed = seed
        self._segments = 0

    def generate(self, segment: Segment, replay_only: bool = False) -> Generated:
        """Labelled counterfactuals of the segment, all in one imagine() call; what the labels abstain from is counted.

        Every `identity_every`-th segment, and with `replay_only` this one, is replayed unchanged too: its true
        outcome is known, so it calibrates the labels and then trains the reward model.
        Raises ValueError when the segment is not in its episode, or not of the dynamics' task.
        """
        if segment.episode.task != self.dynamics.task.name:
            raise ValueError(f"{segment.episode.episode_id}: is of task {segment.episode.task!r}, "
                             f"the dynamics are of {self.dynamics.task.name!r}")
        start = context_of(segment.episode, segment.start, segment.length)
        result = Generated()
        variants = self.variants(segment, replay_only, result.counts)
        if not variants:
            return result
        imagined = self.dynamics.imagine(stack([start] * len(variants)), np.stack([v.actions for v in variants]))
        result.counts["frames"] += len(variants) * segment.length
        for row, variant in enumerate(variants):
            self._take(segment, variant, imagined, row, result)
        return result

    def variants(self, segment: Segment, replay_only: bool, counts: Counter[str]) -> list[Variant]:
        """What is to be imagined of a segment; counts what would leave the workspace."""
        variants = []
        if replay_only or self._segments % self.options.identity_every == 0:
            xi = np.ones(segment.actions.shape[1] - 1, np.float32)
            variants.append(Variant(segment.actions.copy(), xi, "identity", (self._seed, self._segments)))
        for number in range(0 if replay_only else self.options.variants):
            variant = self._variant(segment, number)
            counts["outside"] += variant is None
            if variant is not None:
                variants.append(variant)
        self._segments += 1
        return variants

    def _variant(self, segment: Segment, number: int) -> Variant | None:
        for attempt in range(self.options.attempts):
            seed = (self._seed, self._segments, number, attempt)
            actions, xi = perturb(segment.actions, self.options, np.random.default_rng(seed))
            if inside_workspace(segment, actions, self.dynamics.task):
                return Variant(actions, xi, "perturbed", seed)
        return None

    def _take(self, segment: Segment, variant: Variant, imagined: Imagined, row: int, result: Generated) -> None:
        """Label one imagined trajectory and make an episode of it."""
        if not np.isfinite(imagined.state[row]).all():
            result.counts["diverged"] += 1
            return
        lead = min(segment.start, WINDOW - 1)  # real observations that give the first windows their history
        real = slice(segment.start - lead, segment.start + 1)
        frames = {v: np.concatenate([segment.episode.frames[v][real], imagined.frames[v][row]]) for v in VIEWS}
        state = np.concatenate([segment.episode.state[real], imagined.state[row]])
        label = self.rewards.label(self.rewards.predict(frames, state)[:, lead + 1 :])
        if variant.kind == "identity":
            self._calibrate(segment, frames, state, label, result.counts)
        result.counts[label.kind] += 1
        if label.kind != ABSTAIN:
            frames = {view: seen[lead:] for view, seen in frames.items()}
            result.episodes.append(self.episode(segment, variant, frames, state[lead:], label))

    def _calibrate(
        self, segment: Segment, frames: dict[str, np.ndarray], state: np.ndarray, label: Label, counts: Counter[str]
    ) -> None:
        """Compare with the truth, then train on it, unless a success was imagined so badly that none is to be seen."""
        truth = _outcome(segment)
        if truth is None:
            counts["replay_unclear"] += 1
            return
        self.rewards.observe_identity(truth, label)
        right = label.kind == (SUCCESS if truth else FAILURE)
        counts["replay_right" if right else "replay_unclear" if label.kind == ABSTAIN else "replay_wrong"] += 1
        if not truth or label.kind != FAILURE:
            self.rewards.add_imagined(frames, state, len(state) - 1 if truth else None)

    def episode(
        self, segment: Segment, variant: Variant, frames: dict[str, np.ndarray], state: np.ndarray, label: Label
    ) -> Episode:
        """Observation 0 is real; a success ends where the label says. Stamps are those of the parent's steps."""
        parent, success = segment.episode, label.kind == SUCCESS
        length = label.index + 1 if success else segment.length
        rows = slice(segment.start, segment.start + length + 1)
        action = np.zeros((length + 1, variant.actions.shape[1]), np.float32)
        action[:-1] = variant.actions[:length]
        reward = np.zeros(length + 1, np.float32)
        reward[-1] = success
        self.made += 1
        return Episode(
            episode_id=f"{parent.task}-synthetic-{self.session}-{self.made:06d}",
            task=parent.task,
            frames={view: seen[: length + 1] for view, seen in frames.items()},
            state=state[: length + 1].astype(np.float32),
            action=action,
            executed=self._executed(parent.executed[segment.start], state[: length + 1]),
            reward=reward,
            source=np.full(length + 1, SYNTHETIC, np.uint8),
            stamp=parent.stamp[rows].copy(),
            weights_version=parent.weights_version[rows].copy(),
            terminated=success,
            truncated=not success,
            notes=self._notes(segment, variant, label),
            exposed={view: parent.exposed[view][rows].copy() for view in VIEWS},
        )

    def _executed(self, first: np.ndarray, state: np.ndarray) -> np.ndarray:
        """(T+1, A-1): how far the locked target moved before each observation, in full actions."""
        scale = np.asarray(self.dynamics.task.action_scale)
        target = (state[:, STATE["position"]] + state[:, STATE["lag"]])[:, : len(scale)]
        return np.concatenate([first[None], np.diff(target, axis=0) / scale]).astype(np.float32)

    def _notes(self, segment: Segment, variant: Variant, label: Label) -> dict[str, str]:
        options = self.options
        return {
            "parent": segment.episode.episode_id,
            "start": str(segment.start),
            "xi": json.dumps([round(float(x), 6) for x in variant.xi]),
            "scale": f"{options.scale if variant.kind == 'perturbed' else 0.0:g}",
            "noise": f"{options.noise if variant.kind == 'perturbed' else 0.0:g}",
            "seed": json.dumps(variant.seed),
            "kind": variant.kind,
            "world_model_version": str(self.dynamics.version),
            "label": label.kind,
            "label_probability": f"{label.probability:.4f}",
        }


def _outcome(segment: Segment) -> bool | None:
    """Whether the real segment ends in success; None where that cannot be told."""
    episode, rest = segment.episode, len(segment.episode) - segment.end
    if episode.success:
        return True if rest == 0 else None if rest <= _UNCLEAR else False
    return None if episode.outcome == "aborted" and rest <= _UNCLEAR else False
