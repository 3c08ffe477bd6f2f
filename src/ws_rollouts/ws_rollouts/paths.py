"""The way of the driver's locked target through an episode, and which of its steps are no detour."""

from __future__ import annotations

import numpy as np

from ws_rollouts.episode import DEMONSTRATION, HUMAN, STATE, Episode
from ws_rollouts.task import Task

LOOP, LOOP_HEIGHT = 1.0, 0.35  # full actions, aside and in height, within which a way has come back
DETOUR = 0.5  # full actions that a way was farther aside before it came back below: it shot past
DETOUR_HEIGHT, STEEP = 3.0, 3.0  # full actions in height that it may lose then, and least for each aside
STILL = 0.02  # of the opening, by which a gripper at rest changes


def targets(episode: Episode) -> np.ndarray:
    """Where each action led the driver's locked target: (T, 3) m."""
    return (episode.state[:, STATE["position"]] + episode.state[:, STATE["lag"]])[1:].astype(float)


def direct_steps(episode: Episode, start: int, end: int, task: Task) -> np.ndarray:
    """Steps `start` .. `end - 1` without loops: (K,) int.

    While nothing happens to the gripper, what lies between two targets is left out where the second is within a full
    action aside and a third of one in height, or steeply below the first after a way farther aside. Whoever imitates a
    hand that hovers, or shoots past and returns, learns to stop where the way out and the way back meet.
    """
    path, grip, opening = targets(episode), episode.action[:-1, -1], episode.state[:, STATE["gripper"]][:, 0]
    scale = min(task.action_scale)
    kept, step = [], start
    while step < end:
        kept.append(step)
        busy = (grip[step:end] != 0) | (np.abs(opening[step:end] - opening[step]) > STILL)
        quiet = np.arange(step, step + int(np.argmax(busy)) if busy.any() else end)
        away = np.abs(path[quiet] - path[step]) / scale
        aside = away[:, :2].max(axis=1)
        returned = np.maximum.accumulate(aside) - aside >= DETOUR
        below = returned & (away[:, 2] < DETOUR_HEIGHT) & (STEEP * aside < away[:, 2])
        back = quiet[(aside < LOOP) & ((away[:, 2] < LOOP_HEIGHT) | below)]
        step = int(back[-1]) + 1 if len(back) else step + 1
    return np.array(kept, int)


def guided(episode: Episode) -> np.ndarray:
    """Which steps a person taught: (T,) bool; of a demonstration none where it was no success."""
    failed = episode.is_demonstration and not episode.success
    return np.isin(episode.source[:-1], (DEMONSTRATION, HUMAN)) & (not failed)


def taught(episode: Episode, task: Task) -> np.ndarray:
    """Which of the guided steps are no detour: (T,) bool."""
    human = np.concatenate([[False], guided(episode), [False]])
    out = np.zeros(len(episode), bool)
    for start, end in np.flatnonzero(human[1:] != human[:-1]).reshape(-1, 2):
        out[direct_steps(episode, int(start), int(end), task)] = True
    return out
