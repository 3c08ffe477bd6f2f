"""A task: what one rollout attempts. One YAML file each in `tasks/`, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

import numpy as np
import yaml

from ws_node.options import build, option
from ws_rollouts.episode import VIEWS


@dataclass(frozen=True)
class Handling:
    """How the scripted operator brings one thing somewhere. Names are those of the task's poses; heights are in z.

    Not used where the operator has a skill of its own for the scene (Pushing).
    """

    thing: str = option("", "what is moved")
    goal: str = option("", "what it is brought to; empty: it is only lifted")
    grip: float = option(0.0, "height of the fingertips over the thing when they grip it", unit="m", low=-0.1, high=0.1)
    approach: float = option(0.04, "height of the fingertips over where they grip, on the way there", unit="m", low=0.0,
                             high=0.2)
    over: float = option(0.05, "height of the thing over the goal, or over its place, in which it is carried", unit="m",
                         low=0.0, high=0.3)
    release: float = option(0.0, "height of the thing over the goal at which it is let go", unit="m", low=-0.1,
                            high=0.1)
    precision: float = option(0.005, "distance from the axis of thing or goal at which it goes down", unit="m",
                              low=1e-4, high=0.05)


@dataclass(frozen=True)
class Task:
    """Everything about a task that is not the robot's. Frame base_link, gripper_link is the controlled point."""

    name: str = option("", "name of the task")
    instruction: str = option("", "what to do, in words")
    scene: str = option("", "scene of the twin")
    action_scale: tuple[float, ...] = option((0.01,) * 3, "motion of a full action", unit="m", low=1e-4, high=0.03)
    gripper: str = option("fixed", "whether the policy moves the gripper", choices=("fixed", "learned"))
    gripper_opening: float = option(0.0, "opening when fixed; when learned, at the start and when open; 0 closed",
                                    low=0.0, high=1.0)
    episode_steps: int = option(100, "actions until the time limit", low=1, high=2000)
    reset_joints: tuple[float, ...] = option((0.0,) * 6, "arm joints at the start", unit="rad", low=-3.4, high=3.4)
    reset_jitter: tuple[float, ...] = option((0.0,) * 3, "uniform +- of the tool at the start, cut at the workspace",
                                             unit="m", low=0.0, high=0.1)
    workspace_low: tuple[float, ...] = option((0.05, -0.45, 0.02), "corner of the box", unit="m", low=-1.0, high=1.0)
    workspace_high: tuple[float, ...] = option((0.65, 0.45, 0.65), "other corner", unit="m", low=-1.0, high=1.0)
    table: float = option(-0.04, "height of the table; below 0 the arm stands on a plinth", unit="m", low=-0.3,
                          high=0.1)
    scatter: tuple[float, ...] = option((0.0,) * 3, "uniform +- of the scene's place: x, y in m, yaw in rad",
                                        low=0.0, high=3.2)
    half_turns: bool = option(False, "whether things may also lie turned by half a turn, which fingers grip as well")
    success_tolerance: float = option(0.005, "error at which the task counts as done", unit="m", low=1e-4, high=0.2)
    success_hold: float = option(0.0, "how long it must be so without a break; 0: a moment will do", unit="s", low=0.0,
                                 high=2.0)
    image_size: int = option(64, "side of the policy's square images", unit="px", low=16, high=512)
    crop_side: tuple[float, ...] = option((0, 0, 424, 240), "x, y, width, height", unit="px", low=0, high=4096)
    crop_wrist: tuple[float, ...] = option((0, 0, 424, 240), "x, y, width, height", unit="px", low=0, high=4096)
    handling: Handling = field(default_factory=Handling)

    @property
    def action_size(self) -> int:
        """Numbers in an action: the active translations, then the gripper class."""
        return len(self.action_scale) + 1

    def opening(self, gripper: float) -> float | None:
        """What to command for an action's gripper class: 0 closed .. 1 open; None leaves it as it is."""
        if self.gripper == "learned" and not gripper:
            return None
        return self.gripper_opening if self.gripper == "fixed" or gripper > 0 else 0.0

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
    """Read and check a task by name; `overrides` replace its entries, and those of its handling.

    Raises ValueError that names the task, or the entry, its value and its range.
    """
    if name not in task_names():
        raise ValueError(f"task = {name!r}: must be one of {', '.join(task_names())}")
    values = yaml.safe_load((resources.files("ws_rollouts") / "tasks" / f"{name}.yaml").read_text())
    handling, changes = values.pop("handling", {}), dict(overrides or {})
    changed = changes.pop("handling", {})
    if not isinstance(changed, Mapping):
        raise ValueError(f"handling = {changed!r}: must be a mapping")
    task = replace(build(Task, values | changes), handling=build(Handling, {**handling, **changed}, "handling: "))
    _check(task)
    return task


def _check(task: Task) -> None:
    for view in VIEWS:
        crop = getattr(task, f"crop_{view}")
        if min(crop[2:]) < 1 or any(value != int(value) for value in crop):
            raise ValueError(f"{task.name}: crop_{view} = {crop}: must be whole pixels, at least one wide and high")
    if not np.all(np.less(task.workspace_low, task.workspace_high)):
        raise ValueError(f"{task.name}: workspace_low = {task.workspace_low} must be below workspace_high = "
                         f"{task.workspace_high}")
