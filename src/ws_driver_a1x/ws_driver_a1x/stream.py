"""Streams joint positions to a goal within limits of speed, acceleration and jerk (ruckig, time-optimal)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ruckig import InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory


class JointStream:
    """A point that moves on its own clock. Arrays (n,) rad, rad/s, rad/s2; limits hold for every sample."""

    def __init__(self, acceleration: float, jerk: float, joints: int = 6):
        self._planner = Ruckig(joints)
        self._input = InputParameter(joints)
        self._input.max_acceleration = [acceleration] * joints
        self._input.max_jerk = [jerk] * joints
        self._input.target_velocity = self._input.target_acceleration = [0.0] * joints
        self._input.synchronization = Synchronization.Time
        self._trajectory: Trajectory | None = None
        self._time = 0.0
        self.start(np.zeros(joints))

    def start(self, joints: np.ndarray) -> None:
        """Stand still at `joints`."""
        self._trajectory = None
        self.position = np.array(joints, float)
        self.velocity = np.zeros_like(self.position)
        self.acceleration = np.zeros_like(self.position)
        self.goal = self.position.copy()

    def aim(self, joints: np.ndarray, speed: Sequence[float]) -> bool:
        """Head for `joints` from the present motion; False leaves the old course as it was."""
        self._input.max_velocity = list(speed)
        self._input.current_position = self.position.tolist()
        self._input.current_velocity = self.velocity.tolist()
        self._input.current_acceleration = self.acceleration.tolist()
        self._input.target_position = np.asarray(joints, float).tolist()
        trajectory = Trajectory(len(self.position))
        try:
            result = self._planner.calculate(self._input, trajectory)
        except RuckigError:
            return False
        if result not in (Result.Working, Result.Finished):
            return False
        self._trajectory, self._time = trajectory, 0.0
        self.goal = np.array(joints, float)
        return True

    def advance(self, duration: float) -> np.ndarray:
        """Move on by `duration` s; the position then, (n,)."""
        if self._trajectory is not None:
            self._time += duration
            self.position, self.velocity, self.acceleration = map(np.array, self._trajectory.at_time(self._time))
            if self._time >= self._trajectory.duration:
                self.start(self.goal)
        return self.position

    @property
    def done(self) -> bool:
        return self._trajectory is None

    def path(self, samples: int) -> np.ndarray:
        """The way still ahead, (samples, n)."""
        if self._trajectory is None:
            return np.tile(self.position, (samples, 1))
        times = np.linspace(self._time, self._trajectory.duration, samples)
        return np.array([self._trajectory.at_time(t)[0] for t in times])
