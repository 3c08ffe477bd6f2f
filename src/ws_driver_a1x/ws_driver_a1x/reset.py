"""Where a reset goes: the task's reset joints, with a seeded jitter of the tool's position."""

from __future__ import annotations

import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_rollouts.task import Task

TRIES = 8


def reset_joints(kinematics: Kinematics, task: Task, rng: np.random.Generator) -> np.ndarray:
    """Joints (6,) rad whose tool is within `task.reset_jitter` of its place at the reset joints, turned the same.

    Uniform, cut at the workspace; a place out of reach is drawn again, after TRIES the reset joints themselves.
    """
    home = kinematics.clip(np.array(task.reset_joints))
    position, rotation = kinematics.forward(home)
    jitter = np.array(task.reset_jitter)
    for _ in range(TRIES if jitter.any() else 0):
        place = task.clip_to_workspace(position + rng.uniform(-jitter, jitter))
        joints, metres, radians = kinematics.solve(home, place, rotation, iterations=20)
        if metres < 1e-3 and radians < 5e-3:
            return joints
    return home
