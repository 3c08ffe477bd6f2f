"""The vendor's joint tracker: follows streamed targets within speed, acceleration and jerk limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ruckig import ControlInterface, InputParameter, OutputParameter, Result, Ruckig, RuckigError, Synchronization

# Documented top speeds of the vendor's tracker, six joints and the gripper motor; rad/s.
RATED_SPEED = np.array([3.0, 3.0, 3.0, 5.0, 5.0, 5.0, 5.0])
_NUDGE = 1e-9  # rad
_LISTS = ("current_position", "current_velocity", "current_acceleration", "target_position", "max_velocity",
          "per_dof_control_interface")  # of ruckig's input; the rest never changes


@dataclass(frozen=True)
class TrackerState:
    """For `Tracker.restore`. A plan cannot be copied: it is made again from where it began."""

    position: np.ndarray
    velocity: np.ndarray
    moving: bool
    wanted: dict[str, list]  # the input now
    origin: dict[str, list] | None  # the input that the plan was made from; None: there is no plan yet
    periods: int  # since then


class Tracker:
    """Jerk-limited motion of `n` independent joints towards the last target; with no new target it stops there.

    Units rad, rad/s. The limits of acceleration and jerk are `RATED_SPEED` times the given ratios.
    """

    def __init__(self, position: np.ndarray, period: float, acceleration_ratio: float = 1.5, jerk_ratio: float = 1.5):
        n = len(position)
        self._otg = Ruckig(n, period)
        self._input, self._output = InputParameter(n), OutputParameter(n)
        self._input.synchronization = Synchronization.No
        self._input.max_velocity = RATED_SPEED[:n]
        self._input.max_acceleration = RATED_SPEED[:n] * acceleration_ratio
        self._input.max_jerk = RATED_SPEED[:n] * jerk_ratio
        self._origin: dict[str, list] | None = None
        self._periods = 0
        self.reset(position)

    def reset(self, position: np.ndarray) -> None:
        """Stand still at `position` (n,)."""
        n = len(position)
        self._input.current_position = position
        self._input.current_velocity = self._input.current_acceleration = np.zeros(n)
        self._input.target_velocity = self._input.target_acceleration = np.zeros(n)
        self.command(position, RATED_SPEED[:n])
        self.position, self.velocity = np.array(position, float), np.zeros(n)
        self._moving = False

    def command(self, position: np.ndarray, speed: np.ndarray) -> None:
        """New target (n,) and speed caps (n,), at most `RATED_SPEED`. A joint whose cap is zero stops."""
        speed = np.clip(speed, 0.0, RATED_SPEED[: len(speed)])
        stalled = speed < 1e-6
        self._input.target_position = position
        self._input.max_velocity = np.where(stalled, RATED_SPEED[: len(speed)], speed)
        self._input.per_dof_control_interface = [
            ControlInterface.Velocity if s else ControlInterface.Position for s in stalled
        ]
        self._moving = True

    def step(self) -> None:
        """Advance by one period; `position` and `velocity` (n,) are the result."""
        if not self._moving:
            return
        before = self._wanted()
        self._moving = self._update() == Result.Working
        if self._output.new_calculation:
            self._origin, self._periods = before, 0
        self._periods += 1
        self.position, self.velocity = np.array(self._output.new_position), np.array(self._output.new_velocity)

    def snapshot(self) -> TrackerState:
        """Everything that decides what follows."""
        return TrackerState(self.position, self.velocity, self._moving, self._wanted(), self._origin, self._periods)

    def restore(self, state: TrackerState) -> None:
        """Go on from there, bit for bit."""
        self._otg.reset()
        self._origin, self._periods = state.origin, state.periods
        if state.origin is not None:
            self._want(state.origin)
            for _ in range(state.periods):
                self._update()
        self._want(state.wanted)
        self.position, self.velocity, self._moving = state.position, state.velocity, state.moving

    def _update(self) -> Result:
        try:
            result = self._otg.update(self._input, self._output)
        except RuckigError:  # a distance between two kinds of profile, to the last bit: move off it
            self._input.current_position = np.array(self._input.current_position) + _NUDGE
            result = self._otg.update(self._input, self._output)
        if result not in (Result.Working, Result.Finished):
            raise RuntimeError(f"joint tracker: {result}")
        self._output.pass_to_input(self._input)
        return result

    def _wanted(self) -> dict[str, list]:
        return {name: getattr(self._input, name) for name in _LISTS}

    def _want(self, values: dict[str, list]) -> None:
        for name, value in values.items():
            setattr(self._input, name, value)
