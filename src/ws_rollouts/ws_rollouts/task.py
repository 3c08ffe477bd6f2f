"""A task: what one rollout attempts. One YAML file each in `tasks/`, checked when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import yaml

from ws_node.options import build, option


@dataclass(frozen=True)
class Task:
    """Everything about a task that is not the robot's. Frame base_link, gripper_link is the controlled point."""

    name: str = option("", "name of the task")
    instruction: str = option("", "what to do, in words")
    scene: str = option("", "scene of the twin")
    action_scale: tuple[float, ...] = option((0.01,) * 3, "motion of a full action", unit="m", low=1e-4, high=0.03)
    gripper: str = option("fixed", "whether the policy moves the gripper", choices=("fixed", "learned"))
    gripper_opening: float = option(0.0, "opening when fixed, 0 closed", low=0.0, high=1.0)
    episode_steps: int = option(100, "actions until the time limit", low=1, high=2000)
    reset_joints: tuple[float, ...] = option((0.0,) * 6, "arm joints at the start", unit="rad", low=-3.4, high=3.4)
    reset_jitter: tuple[float, ...] = option((0.0,) * 3, "uniform +- at the start", unit="m", low=0.0, high=0.1)
    workspace_low: tuple[float, ...] = option((0.05, -0.45, 0.02), "corner of the box", unit="m", low=-1.0, high=1.0)
    workspace_high: tuple[float, ...] = option((0.65, 0.45, 0.65), "other corner", unit="m", low=-1.0, high=1.0)
    image_size: int = option(64, "side of the policy's square images", unit="px", low=16, high=512)
    crop_side: tuple[float, ...] = option((0, 0, 424, 240), "x, y, width, height", unit="px", low=0, high=4096)
    crop_wrist: tuple[float, ...] = option((0, 0, 424, 240), "x, y, width, height", unit="px", low=0, high=4096)

    @property
    def action_size(self) -> int:
        """Numbers in an action: the active translations, then the gripper class."""
        return len(self.action_scale) + 1

    def crop(self, view: str) -> tuple[int, int, int, int]:
        """x, y, width, height of `view` ("side" or "wrist") in px of the camera's frame."""
        return tuple(int(v) for v in {"side": self.crop_side, "wrist": self.crop_wrist}[view])

    def clip_to_workspace(self, position: np.ndarray) -> np.ndarray:
        """The nearest position in the workspace box; (3,) m."""
        return np.clip(position, self.workspace_low, self.workspace_high)


def task_names() -> list[str]:
    """Names of the tasks that exist."""
    folder = resources.files("ws_rollouts") / "tasks"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_task(name: str, overrides: dict[str, Any] | None = None) -> Task:
    """Read and check a task by name.

    Raises ValueError that names the task, or the entry, its value and its range.
    """
    if name not in task_names():
        raise ValueError(f"task = {name!r}: must be one of {', '.join(task_names())}")
    values = yaml.safe_load((resources.files("ws_rollouts") / "tasks" / f"{name}.yaml").read_text())
    task = build(Task, {**values, **(overrides or {})})
    if not np.all(np.less(task.workspace_low, task.workspace_high)):
        raise ValueError(
            f"{name}: workspace_low = {task.workspace_low} must be below workspace_high = {task.workspace_high}")
    return task
