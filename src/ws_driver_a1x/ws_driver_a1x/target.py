"""The locked target: a tool pose that only commands move, each within every limit, and the joints that reach it."""

from __future__ import annotations

import math

import mink
import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.options import RelayOptions

IK_ITERATIONS = 6  # a step of 3 cm converges in three
# What is tried when a step leads out of reach: the whole of it, then without one axis, so that the tool slides.
SLIDES = np.array([(1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)], float)


class LockedTarget:
    """Integrates delta commands from the last target, not from noisy feedback; frame base_link."""

    def __init__(self, kinematics: Kinematics, options: RelayOptions, low: np.ndarray, high: np.ndarray):
        """`low`, `high`: corners (3,) m of the box that gripper_link stays in."""
        self._kinematics, self._options = kinematics, options
        self._low, self._high = np.array(low, float), np.array(high, float)
        self._low[2] = max(self._low[2], options.floor)
        self.clipped = 0
        self.latch(np.zeros(6), 0.0)

    def latch(self, joints: np.ndarray, now: float, rotation: np.ndarray | None = None) -> None:
        """The target is where `joints` put the tool; `rotation` (3, 3) if given is kept from then on."""
        self.joints = self._kinematics.clip(joints)
        self.position, here = self._kinematics.forward(self.joints)
        self.rotation = here if rotation is None else rotation
        self._allowance, self._time = self._options.max_step, now

    def move(self, linear: np.ndarray, angular: np.ndarray, measured: np.ndarray, now: float) -> str:
        """Apply one step: `linear` (3,) m/s and `angular` (3,) rad/s for one command period.

        `measured`: position (3,) m of the tool. Returns "" and moves, or why not and leaves the target.
        """
        step = self._limited_step(linear, now)
        rotation = self._turned(angular)
        reason = ""
        for slide in SLIDES:
            position = self._inside(self.position + step * slide, measured)
            reason, joints = self._solve(position, rotation)
            if not reason:
                self._accept(position, rotation, joints, asked=self.position + np.multiply(linear, self._period))
                return ""
            if not np.any(step):
                break
        return reason

    @property
    def _period(self) -> float:
        return self._options.command_period

    def _limited_step(self, linear: np.ndarray, now: float) -> np.ndarray:
        # an allowance that refills with time keeps bunched or too frequent commands to the same mean speed
        self._allowance = min(self._options.max_step,
                              self._allowance + self._options.max_linear_speed * max(0.0, now - self._time))
        self._time = max(now, self._time)
        step = shortened(linear, self._options.max_linear_speed) * self._period
        step = shortened(step, self._allowance)
        self._allowance -= math.hypot(*step)
        return step

    def _turned(self, angular: np.ndarray) -> np.ndarray:
        if not np.any(angular):
            return self.rotation
        turn = mink.SO3.exp(shortened(angular, self._options.max_angular_speed) * self._period)
        return (turn @ mink.SO3.from_matrix(self.rotation)).normalize().as_matrix()

    def _inside(self, position: np.ndarray, measured: np.ndarray) -> np.ndarray:
        position = measured + shortened(position - measured, self._options.max_lead)
        # a target outside the box (the arm was enabled there) may come in, not go further out
        return np.clip(position, np.minimum(self._low, self.position), np.maximum(self._high, self.position))

    def _solve(self, position: np.ndarray, rotation: np.ndarray) -> tuple[str, np.ndarray]:
        joints, metres, radians = self._kinematics.solve(self.joints, position, rotation, IK_ITERATIONS)
        options = self._options
        if metres > options.ik_position_tolerance or radians > options.ik_rotation_tolerance:
            return "out of reach", joints
        if np.max(np.abs(joints - self.joints)) > options.ik_max_step:
            return "joints would jump", joints
        condition = self._kinematics.condition(joints)
        if condition > options.max_condition and condition > self._kinematics.condition(self.joints):
            return "near a singularity", joints
        return "", joints

    def _accept(self, position, rotation, joints, asked) -> None:
        self.clipped += bool(np.linalg.norm(position - asked) > 1e-6)
        self.position, self.rotation, self.joints = position, rotation, joints


def shortened(vector: np.ndarray, length: float) -> np.ndarray:
    """`vector` (3,), no longer than `length`; finite for every finite input."""
    vector = np.clip(np.asarray(vector, float), -1e6, 1e6)  # the square of a huge number would overflow
    norm = math.hypot(*vector)
    return vector if norm <= length else vector * (length / norm)
