"""Streams a point to a goal within limits of speed, acceleration and jerk (ruckig, time-optimal)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from ruckig import InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory


class Stream:
    """A point that moves on its own clock; arrays (n,). Its limits hold for every sample.

    `together`: all coordinates arrive at once. Otherwise each hurries alone, and then none ever overshoots.
    """

    def __init__(self, acceleration: Sequence[float], jerk: Sequence[float], together: bool):
        n = len(acceleration)
        self._planner, self._input = Ruckig(n), InputParameter(n)
        self._input.max_acceleration, self._input.max_jerk = list(acceleration), list(jerk)
        self._input.target_velocity = self._input.target_acceleration = [0.0] * n
        self._input.synchronization = Synchronization.Time if together else Synchronization.No
        self._limit = np.array(acceleration)
        self.start(np.zeros(n))

    def __deepcopy__(self, memo: dict) -> Stream:
        """Shares the planner, which keeps nothing between calls, and arrays and trajectory, which never change."""
        return copy.copy(self)

    def start(self, position: np.ndarray, velocity: np.ndarray | None = None,
              acceleration: np.ndarray | None = None) -> None:
        """Be at `position`, at rest or in the given motion."""
        self._trajectory, self._time = None, 0.0
        self.position = self.goal = np.array(position, float)
        still = np.zeros_like(self.position)
        self.velocity = still if velocity is None else np.array(velocity, float)
        self.acceleration = still if acceleration is None else np.clip(acceleration, -self._limit, self._limit)

    def plan(self, goal: np.ndarray, speed: Sequence[float]) -> Trajectory | None:
        """A way from the present motion to rest at `goal`; None where there is none."""
        self._input.max_velocity = list(speed)
        self._input.current_position = self.position.tolist()
        self._input.current_velocity = self.velocity.tolist()
        self._input.current_acceleration = self.acceleration.tolist()
        self._input.target_position = np.asarray(goal, float).tolist()
        trajectory = Trajectory(len(self.position))
        try:
            result = self._planner.calculate(self._input, trajectory)
        except RuckigError:
            return None
        return trajectory if result in (Result.Working, Result.Finished) else None

    def follow(self, trajectory: Trajectory, goal: np.ndarray) -> None:
        """Take the way that `plan` found to `goal`."""
        self._trajectory, self._time, self.goal = trajectory, 0.0, np.array(goal, float)

    def aim(self, goal: np.ndarray, speed: Sequence[float]) -> bool:
        """Plan and follow; False leaves the old course as it was."""
        trajectory = self.plan(goal, speed)
        if trajectory is not None:
            self.follow(trajectory, goal)
        return trajectory is not None

    def peek(self, duration: float) -> np.ndarray:
        """The position in `duration` s."""
        if self._trajectory is None:
            return self.position
        return np.array(self._trajectory.at_time(self._time + duration)[0])

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


def samples(trajectory: Trajectory, count: int) -> np.ndarray:
    """Positions along a trajectory, (count, n)."""
    return np.array([trajectory.at_time(t)[0] for t in np.linspace(0.0, trajectory.duration, count)])
