"""When an action switches the gripper: what HIL-SERL's gripper penalty is paid for."""

from __future__ import annotations

import numpy as np

from ws_rollouts.episode import STATE, Episode
from ws_rollouts.task import Task

_OPEN = 0.9  # share of the opening from which a gripper counts as open, as in HIL-SERL


def switches(episode: Episode, task: Task) -> np.ndarray:
    """(T+1,) bool: whether an action's gripper class is another than the one held, which is the last that was not 0.

    At first it is closed where the episode's gripper is noticeably narrower than open.
    """
    if task.gripper == "fixed":
        return np.zeros(len(episode) + 1, bool)
    wanted = np.sign(np.round(episode.action[:, -1]))
    opening = float(episode.state[0, STATE["gripper"]][0])
    told = np.append(1.0 if opening > _OPEN * task.gripper_opening else -1.0, wanted)
    newest = np.maximum.accumulate(np.where(told != 0, np.arange(len(told)), 0))
    held = told[newest][:-1]
    return (wanted != 0) & (wanted != held)
