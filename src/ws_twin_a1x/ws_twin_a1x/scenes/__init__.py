"""The tasks' scenes: what stands on the table, how it is placed, when the task is done. One module each."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.assembly import Assembly
from ws_twin_a1x.scenes.insertion import Insertion
from ws_twin_a1x.scenes.pick_place import PickPlace
from ws_twin_a1x.scenes.pushing import Pushing
from ws_twin_a1x.scenes.sorting import Sorting

Pose = tuple[np.ndarray, np.ndarray]  # position (3,) m and quaternion wxyz (4,), frame base_link


class Scene(Protocol):
    """What the twin asks of a scene, which is made from its task."""

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add bodies to the model, before it is compiled. World frame = base_link."""

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place the objects anew; of the robot at most the fingers are touched, around what they hold."""

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Mechanisms (latches and the like), after each tick."""

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Whether the task is done."""

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        """0 at the start .. 1 done."""

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Pose]:
        """Poses of the objects that matter."""


SCENES: dict[str, type[Scene]] = {
    "assembly": Assembly, "insertion": Insertion, "pick_place": PickPlace, "pushing": Pushing, "sorting": Sorting,
}


def make_scene(task: Task) -> Scene:
    """The task's scene. Raises ValueError that names the known ones."""
    if task.scene not in SCENES:
        raise ValueError(f"scene = {task.scene!r}: must be one of {', '.join(sorted(SCENES))}")
    return SCENES[task.scene](task)
