"""A scripted operator for the twin: it demonstrates, and it intervenes by a stated, seeded rule.

It drives as a person with a SpaceMouse would: a speed of its own for each turn, and a hand that wavers.

When it demonstrates it drives from the first step to the last. Else it keeps its hands off and watches the
distance that is left. It has a reason to intervene at a step
- when that distance has not become smaller by `stall_gain` in the last `stall_steps` steps, or
- when it is more than `retreat` larger than the smallest so far (the arm goes away, or beyond).
For each reason it takes over with the chance `probability`; if it does not, the watch begins anew. It drives
for a number of steps drawn uniformly from `shortest` .. `longest`, or until the task is done, then hands back
and keeps its hands off for at least `refractory` steps. The rule and its numbers are the same for all modes;
`interventions` false, as in every evaluation, means none at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ws_node.options import option
from ws_rollouts.task import Task

Poses = Mapping[str, tuple[np.ndarray, np.ndarray]]  # name -> position (3,) m, quaternion wxyz (4,)


@dataclass(frozen=True)
class OperatorOptions:
    """The rule's numbers, and the hand's."""

    interventions: bool = option(True, "take over at all; demonstrations are given either way")
    stall_steps: int = option(10, "steps without progress that are a reason", low=1, high=1000)
    stall_gain: float = option(0.005, "progress that counts", unit="m", low=0.0, high=0.1)
    retreat: float = option(0.03, "going away by this much is a reason", unit="m", low=0.001, high=1.0)
    probability: float = option(1.0, "chance to take over, for each reason", low=0.0, high=1.0)
    shortest: int = option(10, "fewest steps it drives", low=1, high=1000)
    longest: int = option(25, "most steps it drives", low=1, high=1000)
    refractory: int = option(10, "steps hands off after it drove", low=0, high=1000)
    noise: float = option(0.15, "standard deviation of the hand, in full actions", low=0.0, high=1.0)
    slowest: float = option(0.4, "least speed of a turn, in full actions", low=0.05, high=1.0)
    fastest: float = option(0.8, "greatest speed of a turn, in full actions", low=0.05, high=1.0)
    clearance: float = option(0.025, "height over the knob at which it crosses", unit="m", low=0.005, high=0.1)
    tip: float = option(0.078, "reach of the fingertips below gripper_link, tool down", unit="m", low=0.0, high=0.2)


class PressLever:
    """Go over the knob of "lever", then straight down through it. Pure geometry, metres, frame base_link."""

    _ALIGNED, _LOST = 0.005, 0.014  # m, off the middle of the knob: start to press; start again
    _PRESS = 0.8  # share of the speed when pressing: gentle
    _LEVER = 0.04  # m, about the lever's travel

    def __init__(self, options: OperatorOptions):
        self._options = options
        self._pressing = False

    def left(self, poses: Poses, progress: float, position: np.ndarray) -> float:
        """The distance that is left, m."""
        gap = np.asarray(poses["lever"][0]) - self._tip(position)
        return float(np.linalg.norm(gap[:2]) + abs(gap[2]) + self._LEVER * (1 - progress))

    def motion(self, poses: Poses, position: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """The motion (3,) m of one step; `speed` (3,) m is the largest on each axis."""
        gap = np.asarray(poses["lever"][0]) - self._tip(position)
        off, height = float(np.linalg.norm(gap[:2])), -float(gap[2])
        if off > self._LOST or height > 2 * self._options.clearance:
            self._pressing = False
        elif off < self._ALIGNED:
            self._pressing = True
        aside = 0.5 * gap[:2]
        if self._pressing:
            return np.array([*np.clip(aside, -speed[:2], speed[:2]), -self._PRESS * speed[2]])
        climb = np.clip(self._options.clearance - height, -speed[2], speed[2])
        if height < 0.4 * self._options.clearance:  # up first: the fingers must not catch the lever from its side
            aside = np.zeros(2)
        return np.array([*np.clip(aside, -speed[:2], speed[:2]), climb])

    def _tip(self, position: np.ndarray) -> np.ndarray:
        return np.asarray(position, float) - (0, 0, self._options.tip)


SKILLS = {"pushing": PressLever}


class ScriptedOperator:
    """See the module. Call `begin` for each episode, then `act` once a step.

    A node that knows newer positions than a step does calls `advance` once a step and `action` at will.
    Raises ValueError for a task it cannot do.
    """

    _WAVER = 0.8  # AR(1) coefficient of the hand's noise

    def __init__(self, task: Task, options: OperatorOptions | None = None, seed: int = 0):
        if task.scene not in SKILLS:
            raise ValueError(f"task = {task.name!r}: the scripted operator knows {', '.join(SKILLS)}")
        self.options = options or OperatorOptions()
        if self.options.shortest > self.options.longest or self.options.slowest > self.options.fastest:
            raise ValueError("shortest and slowest must not be above longest and fastest")
        self._scale = np.asarray(task.action_scale, float)
        self._skill_type = SKILLS[task.scene]
        self._rng = np.random.default_rng(seed)
        self._active = False
        self.begin(False)
        self.finish()

    @property
    def driving(self) -> bool:
        """Whether it holds the deadman."""
        return self._active and (self._demonstration or self._drives_for > 0)

    def begin(self, demonstration: bool) -> None:
        """An episode starts."""
        self._active = True
        self._demonstration = demonstration
        self._drives_for = 0
        self._hands_off = 0
        self._watch_anew()
        self._take()

    def finish(self) -> None:
        """The episode is over: hands off."""
        self._active = False
        self._demonstration = False
        self._drives_for = 0

    def act(self, poses: Poses, progress: float, position: np.ndarray) -> np.ndarray | None:
        """Once a step: the action (A,) float32 it commands, or None with hands off.

        `poses` and `progress` (0 .. 1) as in TaskState; `position` (3,) m of gripper_link in base_link.
        """
        self.advance(poses, progress, position)
        return self.action(poses, position)

    def advance(self, poses: Poses, progress: float, position: np.ndarray) -> None:
        """Once a step: the hand wavers on, and the rule is applied."""
        waver = self._rng.standard_normal(3) * np.sqrt(1 - self._WAVER**2)
        self._noise = self._WAVER * self._noise + self.options.noise * waver
        if not self._active or self._demonstration:
            return
        if self._drives_for > 0:
            self._drives_for -= 1
            if self._drives_for == 0:
                self._hands_off = self.options.refractory
                self._watch_anew()
        elif self._hands_off > 0:
            self._hands_off -= 1
        elif self.options.interventions and self._reason(self._skill.left(poses, progress, position)):
            self._watch_anew()
            if self._rng.random() < self.options.probability:
                self._drives_for = int(self._rng.integers(self.options.shortest, self.options.longest + 1))
                self._take()

    def action(self, poses: Poses, position: np.ndarray) -> np.ndarray | None:
        """The action (A,) float32 for these positions, or None with hands off."""
        if not self.driving:
            return None
        motion = self._skill.motion(poses, position, self._speed * self._scale) / self._scale
        return np.append(np.clip(motion + self._noise, -1.0, 1.0), 0.0).astype(np.float32)

    def _take(self) -> None:
        self._skill = self._skill_type(self.options)
        self._speed = self._rng.uniform(self.options.slowest, self.options.fastest)
        self._noise = np.zeros(3)

    def _watch_anew(self) -> None:
        self._best, self._stalled = np.inf, 0

    def _reason(self, left: float) -> bool:
        if left < self._best - self.options.stall_gain:
            self._best, self._stalled = left, 0
            return False
        self._stalled += 1
        return self._stalled >= self.options.stall_steps or left > self._best + self.options.retreat
