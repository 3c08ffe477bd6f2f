"""How the scripted operator does a task: what it steers to next, from the twin's ground truth and the tool's place."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ws_rollouts.task import Task

Poses = Mapping[str, tuple[np.ndarray, np.ndarray]]  # name -> position (3,) m, quaternion wxyz (4,)
CLOSE, STAY, OPEN = -1.0, 0.0, 1.0  # the gripper class of an action


class Skill(Protocol):
    """Made anew each time the operator takes over. Metres, frame base_link; `position` (3,) is gripper_link's."""

    gripper: float  # class of the next action
    steadiness: float  # share of the hand's noise that is left: a hand that must be exact, or rests, is steadier

    def look(self, poses: Poses, position: np.ndarray, opening: float) -> None:
        """Once a step, whether it drives or not; `opening` of the gripper 0 closed .. 1 open."""

    def left(self, poses: Poses, progress: float, position: np.ndarray) -> float:
        """The distance that is left, m; `progress` 0 .. 1 of the task."""

    def motion(self, poses: Poses, position: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """The motion (3,) m of one step; `speed` (3,) m is the largest on each axis."""


def make_skill(task: Task, clearance: float, tip: float) -> Skill:
    """The skill for a task. Raises ValueError for one that it cannot do.

    `clearance`: height over a knob at which the fingertips cross, m; `tip`: their reach below gripper_link, m.
    """
    if task.scene == "pushing":
        return PressLever(clearance, tip)
    if task.handling.thing:
        return Transfer(task, tip)
    raise ValueError(f"task = {task.name!r}: the scripted operator presses levers, or needs handling.thing")


class PressLever:
    """Go over the knob of "lever", then straight down through it."""

    gripper, steadiness = STAY, 1.0
    _ALIGNED, _LOST = 0.005, 0.014  # m, off the middle of the knob: start to press; start again
    _PRESS = 0.8  # share of the speed when pressing: gentle
    _LEVER = 0.04  # m, about the lever's travel

    def __init__(self, clearance: float, tip: float):
        self._clearance, self._reach = clearance, tip
        self._pressing = False

    def look(self, poses: Poses, position: np.ndarray, opening: float) -> None:
        pass

    def left(self, poses: Poses, progress: float, position: np.ndarray) -> float:
        gap = np.asarray(poses["lever"][0]) - self._tip(position)
        return float(np.linalg.norm(gap[:2]) + abs(gap[2]) + self._LEVER * (1 - progress))

    def motion(self, poses: Poses, position: np.ndarray, speed: np.ndarray) -> np.ndarray:
        gap = np.asarray(poses["lever"][0]) - self._tip(position)
        off, height = float(np.linalg.norm(gap[:2])), -float(gap[2])
        if off > self._LOST or height > 2 * self._clearance:
            self._pressing = False
        elif off < self._ALIGNED:
            self._pressing = True
        aside = 0.5 * gap[:2]
        if self._pressing:
            return np.array([*np.clip(aside, -speed[:2], speed[:2]), -self._PRESS * speed[2]])
        climb = np.clip(self._clearance - height, -speed[2], speed[2])
        if height < 0.4 * self._clearance:  # up first: the fingers must not catch the lever from its side
            aside = np.zeros(2)
        return np.array([*np.clip(aside, -speed[:2], speed[:2]), climb])

    def _tip(self, position: np.ndarray) -> np.ndarray:
        return np.asarray(position, float) - (0, 0, self._reach)


class Phase(enum.Enum):
    """What `Transfer` is about."""

    REACH = "over the thing, fingers open"
    DOWN = "down to it"
    GRIP = "close"
    CARRY = "up, and over the goal"
    LOWER = "down on the goal"
    RELEASE = "open"


class Transfer:
    """Bring the thing of `task.handling` to its goal: reach, grip, carry, lower, release; or only lift it.

    Each phase is entered for what is seen, so that it takes up the task wherever a policy has left it.
    """

    _HEIGHT = 0.004  # m, error of a height that is reached
    _NEAR = 0.022  # m, between the fingers
    _STEADINESS = {Phase.GRIP: 0.25, Phase.RELEASE: 0.25, Phase.DOWN: 0.4, Phase.LOWER: 0.4}
    _HAND = 0.05  # m, what opening or closing counts
    _GAIN = 0.4  # of a gap in one step: the arm trails what it is told

    def __init__(self, task: Task, tip: float):
        self._task, self._how, self._reach = task, task.handling, tip
        self._fixed = task.gripper == "fixed"
        self._opening, self._still = task.gripper_opening, 0
        self._phase = Phase.CARRY if self._fixed else Phase.REACH
        self._looked = False

    @property
    def gripper(self) -> float:
        wide = self._opening > self._task.gripper_opening - 0.05
        if self._fixed or self._phase not in (Phase.REACH, Phase.GRIP, Phase.RELEASE):
            return STAY
        return CLOSE if self._phase is Phase.GRIP else STAY if wide else OPEN

    @property
    def steadiness(self) -> float:
        return self._STEADINESS.get(self._phase, 1.0)

    def look(self, poses: Poses, position: np.ndarray, opening: float) -> None:
        self._still = self._still + 1 if abs(opening - self._opening) < 0.01 else 0
        self._opening = opening
        if not self._looked and self._held(poses, position):
            self._phase = Phase.CARRY
        self._looked = True
        self._phase = self._next(poses, position)

    def left(self, poses: Poses, progress: float, position: np.ndarray) -> float:
        off, height = self._to_goal(poses)
        up = max(0.0, self._how.over - height)
        if not self._how.goal:
            bring = up
        elif off > 3 * self._how.precision:
            bring = off + up + self._how.over - self._how.release
        else:
            bring = abs(height - self._how.release)
        if self._held(poses, position):
            return bring
        share = self._opening / max(self._task.gripper_opening, 1e-6)
        if self._how.goal and bring < 2 * self._HEIGHT:  # it is there: let go
            return self._HAND * (1 - share)
        apart = self._to_thing(poses, position)
        hand = share if np.linalg.norm(apart) < self._NEAR else 2 - share
        return bring + float(np.linalg.norm(apart)) + self._HAND * (1 + hand)

    def motion(self, poses: Poses, position: np.ndarray, speed: np.ndarray) -> np.ndarray:
        if self._phase in (Phase.GRIP, Phase.RELEASE):
            return np.zeros(3)
        if self._phase in (Phase.REACH, Phase.DOWN):
            gap = self._to_thing(poses, position)
            wanted, low = self._how.approach * (self._phase is Phase.REACH), 0.7 * self._how.approach
        else:
            off, height = self._to_goal(poses)
            gap = np.append(self._goal(poses)[:2] - self._thing(poses)[:2], -height)
            wanted, low = self._how.release if self._phase is Phase.LOWER else self._how.over, 0.7 * self._how.over
        aside = np.clip(self._GAIN * gap[:2], -speed[:2], speed[:2])
        if self._phase in (Phase.REACH, Phase.CARRY) and -gap[2] < low:  # up first
            aside = np.zeros(2)
        down = self._phase in (Phase.DOWN, Phase.LOWER)
        rise = np.clip(self._GAIN * (wanted + gap[2]), -(0.8 if down else 1.0) * speed[2], speed[2])
        return np.append(aside, rise)

    def _next(self, poses: Poses, position: np.ndarray) -> Phase:
        """The phase after this one, or the same."""
        phase, precision = self._phase, self._how.precision
        if phase in (Phase.REACH, Phase.DOWN, Phase.GRIP):
            apart = self._to_thing(poses, position)
            off = float(np.linalg.norm(apart[:2]))
            if phase is Phase.GRIP:
                if self._still < 2 or self._opening > self._task.gripper_opening - 0.05:
                    return Phase.GRIP
                return Phase.CARRY if self._held(poses, position) else Phase.REACH
            if off > 3 * precision:
                return Phase.REACH
            if phase is Phase.DOWN:
                return Phase.GRIP if -apart[2] < self._HEIGHT else Phase.DOWN
            return Phase.DOWN if off < precision and self.gripper == STAY else Phase.REACH
        if phase is Phase.RELEASE:
            return Phase.REACH if self.gripper == STAY else Phase.RELEASE
        if not self._held(poses, position):
            return Phase.REACH
        off, height = self._to_goal(poses)
        if not self._how.goal or off > 3 * precision:
            return Phase.CARRY
        if phase is Phase.LOWER:
            return Phase.RELEASE if height < self._how.release + self._HEIGHT and not self._fixed else Phase.LOWER
        return Phase.LOWER if off < precision else Phase.CARRY

    def _held(self, poses: Poses, position: np.ndarray) -> bool:
        """As far as one can see: fingers neither open nor fully closed, and the thing between them."""
        between = 0.05 < self._opening < self._task.gripper_opening - 0.05
        return self._fixed or (between and float(np.linalg.norm(self._to_thing(poses, position))) < self._NEAR)

    def _thing(self, poses: Poses) -> np.ndarray:
        return np.asarray(poses[self._how.thing][0])

    def _goal(self, poses: Poses) -> np.ndarray:
        """Position of the goal; without one, of the table below the thing."""
        thing = self._thing(poses)
        return np.asarray(poses[self._how.goal][0]) if self._how.goal else np.append(thing[:2], self._task.table)

    def _to_thing(self, poses: Poses, position: np.ndarray) -> np.ndarray:
        """From the fingertips to where they grip, (3,) m."""
        return self._thing(poses) + (0, 0, self._how.grip + self._reach) - np.asarray(position, float)

    def _to_goal(self, poses: Poses) -> tuple[float, float]:
        """How far the thing is from the goal's axis, and its height over the goal; m."""
        gap = self._thing(poses) - self._goal(poses)
        return float(np.linalg.norm(gap[:2])), float(gap[2])
