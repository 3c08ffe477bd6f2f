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

from dataclasses import dataclass

import numpy as np

from ws_node.options import option
from ws_policy.skills import Poses, make_skill
from ws_rollouts.task import Task


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


class ScriptedOperator:
    """See the module. Call `begin` for each episode, then `act` once a step.

    A node that knows newer positions than a step does calls `advance` once a step and `action` at will.
    Raises ValueError for a task it cannot do.
    """

    _WAVER = 0.8  # AR(1) coefficient of the hand's noise

    def __init__(self, task: Task, options: OperatorOptions | None = None, seed: int = 0):
        self.options = options or OperatorOptions()
        if self.options.shortest > self.options.longest or self.options.slowest > self.options.fastest:
            raise ValueError("shortest and slowest must not be above longest and fastest")
        self._scale = np.asarray(task.action_scale, float)
        self._task = task
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

    def act(self, poses: Poses, progress: float, position: np.ndarray, opening: float = 0.0) -> np.ndarray | None:
        """Once a step: the action (A,) float32 it commands, or None with hands off.

        `poses` and `progress` (0 .. 1) as in TaskState; `position` (3,) m of gripper_link in base_link and `opening`
        of the gripper (0 closed .. 1 open) as in ServoState.
        """
        self.advance(poses, progress, position, opening)
        return self.action(poses, position)

    def advance(self, poses: Poses, progress: float, position: np.ndarray, opening: float = 0.0) -> None:
        """Once a step: the hand wavers on, and the rule is applied."""
        self._look(poses, position, opening)
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
                self._look(poses, position, opening)

    def action(self, poses: Poses, position: np.ndarray) -> np.ndarray | None:
        """The action (A,) float32 for these positions, or None with hands off."""
        if not self.driving:
            return None
        motion = self._skill.motion(poses, position, self._speed * self._scale) / self._scale
        moved = np.clip(motion + self._skill.steadiness * self._noise, -1.0, 1.0)
        return np.append(moved, self._skill.gripper).astype(np.float32)

    def _look(self, poses: Poses, position: np.ndarray, opening: float) -> None:
        if self._active:
            self._skill.look(poses, position, opening)

    def _take(self) -> None:
        self._skill = make_skill(self._task, self.options.clearance, self.options.tip)
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
