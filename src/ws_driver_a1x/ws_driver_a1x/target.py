"""The locked target: a tool pose that only commands move, each within every limit, and the joints that reach it."""

from __future__ import annotations

import math

import mink
import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.options import RelayOptions

IK_ITERATIONS = 6  # a step of 3 cm converges in three
CLIPPED = 1e-4  # m; a shorter loss is not counted
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
        self._allowance, self._time = self._options.max_burst, now

    def place(self, position: np.ndarray) -> None:
        """The target is at (3,) m from now on, turned as it was; for who knows that it was led there."""
        self.position = np.array(position, float)
        self.joints = self._solve(self.position, self.rotation)[1]

    def move(self, linear: np.ndarray, angular: np.ndarray, measured: np.ndarray, now: float) -> str:
        """Apply one step: `linear` (3,) m/s and `angular` (3,) rad/s for one command period.

        `measured`: position (3,) m of the tool. Returns "" and moves, or why not and leaves the target.
        """
        duration = self._granted(now)
        step = shortened(linear, self._options.max_linear_speed) * duration
        rotation = self._turned(shortened(angular, self._options.max_angular_speed) * duration)
        reason = ""
        for slide in SLIDES:
            position = self._inside(self.position + step * slide, measured)
            reason, joints = self._solve(position, rotation)
            if not reason:
                asked = self.position + np.multiply(linear, self._options.command_period)
                self.clipped += bool(np.max(np.abs(position - asked)) > CLIPPED)
                self.position, self.rotation, self.joints = position, rotation, joints
                return ""
            if not np.any(step):
                break
        return reason

    def _granted(self, now: float) -> float:
        """Seconds of motion for this command: a period, less when commands come faster than they should."""
        self._allowance = min(self._options.max_burst, self._allowance + max(0.0, now - self._time))
        self._time = max(now, self._time)
        duration = min(self._options.command_period, self._allowance)
        self._allowance -= duration
        return duration

    def _turned(self, turn: np.ndarray) -> np.ndarray:
        if not np.any(turn):
            return self.rotation
        return (mink.SO3.exp(turn) @ mink.SO3.from_matrix(self.rotation)).normalize().as_matrix()

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


def shortened(vector: np.ndarray, length: float) -> np.ndarray:
    """`vector` (3,), no longer than `length`; finite for every finite input."""
    vector = np.clip(np.asarray(vector, float), -1e6, 1e6)  # the square of a huge number would overflow
    norm = math.hypot(*vector)
    return vector if norm <= length else vector * (length / norm)
