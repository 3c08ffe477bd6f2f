"""The vendor's joint tracker: follows streamed targets within speed, acceleration and jerk limits."""

from __future__ import annotations

import numpy as np
from ruckig import ControlInterface, InputParameter, OutputParameter, Result, Ruckig, Synchronization

# Documented top speeds of the vendor's tracker, six joints and the gripper motor; rad/s.
RATED_SPEED = np.array([3.0, 3.0, 3.0, 5.0, 5.0, 5.0, 5.0])


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
        result = self._otg.update(self._input, self._output)
        if result not in (Result.Working, Result.Finished):
            raise RuntimeError(f"joint tracker: {result}")
        self._output.pass_to_input(self._input)
        self.position, self.velocity = np.array(self._output.new_position), np.array(self._output.new_velocity)
        self._moving = result == Result.Working
