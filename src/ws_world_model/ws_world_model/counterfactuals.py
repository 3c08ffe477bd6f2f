"""Where imagination starts and what it tries: segments of real episodes, and nearby legal actions for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ws_node.options import option
from ws_rollouts.episode import STATE, Episode
from ws_rollouts.task import Task


@dataclass(frozen=True)
class CounterfactualOptions:
    """WorldSample's perturbation (s = 0.20, sigma = 0.05); the rest is our reading of what it leaves open."""

    scale: float = option(0.20, "a dimension is scaled by 1 +- this, once per trajectory", low=0.0, high=1.0)
    noise: float = option(0.05, "standard deviation of the noise on each action, full action 1", low=0.0, high=1.0)
    variants: int = option(6, "counterfactuals of a segment", low=1, high=64)
    max_length: int = option(48, "longest segment", unit="steps", low=1, high=1000)
    min_length: int = option(6, "shortest segment of an episode that is long enough", unit="steps", low=1, high=1000)
    late_share: float = option(0.5, "share of segments that start near their episode's end", low=0.0, high=1.0)
    late_window: int = option(36, "what near the end means", unit="steps", low=1, high=1000)
    online_share: float = option(0.8, "share of segments from rollouts; the rest are from demonstrations",
                                 low=0.0, high=1.0)
    identity_every: int = option(8, "one in so many segments is also replayed unchanged, as calibration",
                                 low=1, high=10_000)
    sure_noise: float = option(0.50, "the noise where the world model is fully trusted, when paced by its fidelity",
                               low=0.0, high=1.0)
    attempts: int = option(5, "draws of a variant before it is given up as outside the workspace", low=1, high=100)


    def widened(self, confidence: float) -> CounterfactualOptions:
        """Perturbations for a world model that is trusted so far, 0 .. 1: from `noise` to `sure_noise`."""
        return replace(self, noise=self.noise + confidence * (self.sure_noise - self.noise))


@dataclass(frozen=True)
class Segment:
    """Actions `start` .. `start + length - 1` of an episode."""

    episode: Episode
    start: int
    length: int

    @property
    def end(self) -> int:
        """Index of the observation after the last action."""
        return self.start + self.length

    @property
    def actions(self) -> np.ndarray:
        """(length, A) float32, as recorded."""
        return self.episode.action[self.start : self.end]


def sample_segment(
    online: Sequence[Episode], demos: Sequence[Episode], options: CounterfactualOptions, rng: np.random.Generator
) -> Segment:
    """One segment: the episode's rest from a random start, at most `max_length`.

    Without episodes of one kind all segments are of the other. Raises ValueError when no episode has an action.
    """
    online, demos = [e for e in online if len(e)], [e for e in demos if len(e)]
    if not online and not demos:
        raise ValueError("no episode with an action to sample a segment from")
    pool = online if not demos or (online and rng.random() < options.online_share) else demos
    episode = pool[rng.integers(len(pool))]
    last = max(0, len(episode) - options.min_length)
    first = min(last, max(0, len(episode) - options.late_window)) if rng.random() < options.late_share else 0
    start = int(rng.integers(first, last + 1))
    return Segment(episode, start, min(len(episode) - start, options.max_length))


def perturb(
    actions: np.ndarray, options: CounterfactualOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Counterfactual actions (T, A) float32 of `actions` (T, A), and the scales xi (A-1,) that led to them.

    a' = clip(a * xi + eps, -1, 1) with xi_j ~ U(1 - scale, 1 + scale) drawn once and eps ~ N(0, noise^2) per step.
    The gripper class (last column) is copied; a dimension that `actions` never use stays 0, its xi is 1.
    Raises ValueError when the actions are not finite or not (T, A).
    """
    actions = np.asarray(actions, np.float32)
    if actions.ndim != 2 or actions.shape[1] < 2:
        raise ValueError(f"actions of shape {actions.shape}: must be (T, A) with the gripper class last")
    if not np.isfinite(actions).all():
        raise ValueError("actions are not all finite")
    moves = actions[:, :-1]
    used = (moves != 0).any(axis=0)
    xi = np.where(used, rng.uniform(1 - options.scale, 1 + options.scale, moves.shape[1]), 1.0).astype(np.float32)
    eps = rng.normal(0.0, options.noise, moves.shape) * used
    changed = actions.copy()
    changed[:, :-1] = np.clip(moves * xi + eps, -1.0, 1.0)
    return changed, xi


def inside_workspace(segment: Segment, actions: np.ndarray, task: Task) -> bool:
    """Whether the locked target stays in the task's box, give or take one action, under `actions` (length, A).

    The recorded target (position + lag) plus the summed difference to the recorded actions: without limits at work
    that is start + sum of actions, and where the driver held the target back, what was recorded stays inside.
    """
    n = len(task.action_scale)
    state = segment.episode.state[segment.start : segment.end + 1]
    target = (state[:, STATE["position"]] + state[:, STATE["lag"]])[1:, :n]
    scale = np.asarray(task.action_scale)
    path = target + np.cumsum((actions[:, :n] - segment.actions[:, :n]) * scale, axis=0)
    low, high = np.asarray(task.workspace_low[:n]) - scale, np.asarray(task.workspace_high[:n]) + scale
    return bool(np.all((path >= low) & (path <= high)))
