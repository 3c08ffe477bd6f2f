"""The safety relay: everything between a delta command and a joint target for the arm. Pure; time is passed in.

Order: freshness, finiteness and shape, step and rate, lead over the measured tool, box and floor, inverse kinematics
with its guards, soft joint limits, jerk-limited motion. It is locked until enabled.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.motion import ArmMotion, Refused
from ws_driver_a1x.options import RelayOptions
from ws_driver_a1x.rotations import rotation_vector
from ws_driver_a1x.target import LockedTarget
from ws_rollouts.episode import TOOL_DOWN
from ws_rollouts.task import Task

LOCKED, ACTIVE, HOLD, RESETTING, FAULT = range(5)  # as ServoState.MODE_*
MODE_NAMES = ("locked", "active", "hold", "resetting", "fault")


@dataclass(frozen=True)
class Target:
    """What to send: position (6,) rad, speed (6,) rad/s (each joint's cap, never zero), gripper 0..100."""

    position: np.ndarray
    speed: np.ndarray
    gripper: float


@dataclass(frozen=True)
class ServoSnapshot:
    """As ws_interfaces/ServoState. Before the first feedback all numbers are zero."""

    mode: int
    reason: str
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    rotation: np.ndarray = field(default_factory=lambda: np.zeros(3))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    target: np.ndarray = field(default_factory=lambda: np.zeros(3))
    gripper: float = 0.0
    accepted: int = 0
    rejected: int = 0
    clipped: int = 0


class Relay:
    """See the module. Joints (6,) rad; positions m in base_link; `now` s of any clock that never goes back."""

    def __init__(self, options: RelayOptions, task: Task, kinematics: Kinematics | None = None):
        self.options, self.task = options, task
        self.kinematics = kinematics or Kinematics(math.radians(options.soft_limit_margin))
        self.mode, self.reason = LOCKED, "not enabled"
        self.accepted = self.rejected = 0
        self._target = LockedTarget(self.kinematics, options, task.workspace_low, task.workspace_high)
        self._motion = ArmMotion(self.kinematics, options)
        self._joints = self._joint_velocity = self._effort = None
        self._feedback_time = self._command_time = self._now = -math.inf
        self._tick_time = math.inf  # the first tick moves nothing
        self._latched = False  # the target is where the arm is, or was led to from there
        self._held = ""  # why somebody had it hold: no commands until enable()
        self._same_frames = 0
        self._lag_since = self._reset_since = math.inf
        self._opening = task.gripper_opening
        self._gripper_target = self._gripper_wanted = task.gripper_opening
        self._gripper_time = -math.inf  # of the target's last change
        margin = math.radians(options.measured_margin)
        self._measured_range = self.kinematics.lower - margin, self.kinematics.upper + margin

    def copy(self) -> Relay:
        """One that goes on from here by itself, bit for bit; it shares the kinematics, which keep no state."""
        shared = (self.kinematics, self.options, self.task)
        return copy.deepcopy(self, {id(part): part for part in shared})

    # What comes in

    def on_feedback(self, position, velocity, effort, now: float) -> None:
        """Measured joints (6,), rad/s (6,), Nm (6,). Values that are not finite or not six are a latched fault."""
        self._now = max(self._now, now)
        arrays = [_six(a) for a in (position, velocity, effort)]
        if any(a is None for a in arrays):
            return self._fault("arm feedback is not six finite numbers")
        self._count_same(arrays)
        self._joints, self._joint_velocity, self._effort = arrays
        self._feedback_time = now
        low, high = self._measured_range
        if np.any(arrays[0] < low) or np.any(arrays[0] > high):
            self._fault(f"joint {int(np.argmax((arrays[0] < low) | (arrays[0] > high))) + 1} is outside its range")
        elif 0 < self.options.frozen_frames <= self._same_frames:
            self._fault("arm feedback is frozen")

    def on_gripper(self, opening: float) -> None:
        """Measured opening, 0 closed .. 1 open."""
        if math.isfinite(opening):
            self._opening = min(1.0, max(0.0, float(opening)))

    def on_command(self, linear, angular, now: float) -> None:
        """One step: m/s (3,) and rad/s (3,) for one command period. Counted as accepted or rejected."""
        self._now = max(self._now, now)
        linear, angular = _vector(linear, 3), _vector(angular, 3)
        listening = self.mode in (ACTIVE, HOLD) and not self._held and self._fresh(now)
        if linear is None or angular is None or not listening:
            self.rejected += 1
            return
        self._command_time = now
        if self.mode == HOLD:
            if not self._latched:
                self._latch(now)
            self.mode, self.reason = ACTIVE, ""
        self.reason = self._target.move(linear, angular, self.kinematics.forward(self._joints)[0], now)
        if self.reason or not self._motion.go_to_pose(self._target.position, self._target.rotation):
            self.rejected += 1
        else:
            self.accepted += 1

    def on_gripper_command(self, opening: float, now: float) -> None:
        """Wanted opening, 0 closed .. 1 open; taken only while commands are, and at most every `gripper_interval`."""
        self._now = max(self._now, now)
        if not math.isfinite(opening) or self.mode not in (ACTIVE, HOLD) or self._held:
            self.rejected += 1
        else:
            self._gripper_wanted = min(1.0, max(0.0, float(opening)))

    # Requests

    def enable(self) -> None:
        """Follow commands from here on. Raises Refused at fault or without fresh feedback."""
        if self.mode == FAULT:
            raise Refused(f"at fault: {self.reason}")
        if not self._fresh(self._now):
            raise Refused("no fresh arm feedback")
        self._held = ""
        if self.mode == LOCKED:
            self._gripper_target = self._gripper_wanted = self._opening
            self._latch(self._now)
            self._activate(self._now)

    def hold(self, reason: str = "asked to") -> None:
        """Keep the place and take no commands until enable()."""
        if self.mode in (ACTIVE, HOLD, RESETTING):
            self._hold(reason)
            self._held = reason

    def reset(self, joints) -> None:
        """Start the move to `joints` (6,). Raises Refused when not enabled, out of limits, or through the floor."""
        joints = _six(joints)
        if joints is None or np.max(np.abs(joints - self.kinematics.clip(joints))) > 1e-6:
            raise Refused("reset joints are outside the soft limits")
        if self.mode not in (ACTIVE, HOLD, RESETTING) or self._held:
            raise Refused(f"{MODE_NAMES[self.mode]}: {self._held or self.reason or 'enable first'}")
        if not self._fresh(self._now):
            raise Refused("no fresh arm feedback")
        if not self._latched:
            self._latch(self._now)
        self._motion.go_to_joints(joints, [self.options.reset_speed] * 6, self.options.floor)
        self._gripper_wanted = self.task.gripper_opening
        self.mode, self.reason = RESETTING, "moving to the reset joints"
        self._reset_since = self._now

    def estop(self) -> None:
        """Send nothing more; the arm keeps its place by itself. Latched until clear_fault()."""
        self._fault("e-stop")

    def clear_fault(self) -> None:
        """From fault to locked."""
        if self.mode == FAULT:
            self.mode, self.reason, self._same_frames = LOCKED, "fault cleared, not enabled", 0

    # What goes out

    def tick(self, now: float) -> Target | None:
        """The joint target for this moment; None: send nothing."""
        duration = min(max(0.0, now - self._tick_time), self.options.max_tick)
        self._tick_time, self._now = now, max(self._now, now)
        if self.mode in (LOCKED, FAULT):
            return None
        if not self._fresh(now):
            self._hold("arm feedback is stale")
            self._latched = False  # it may have been moved meanwhile
            return None
        if not self._latched:
            self._latch(now)
        if self._held:
            self.reason = self._held  # what came between is over
        self._watch(now)
        self._switch_gripper(now)
        position = self._motion.advance(duration)
        return Target(position.copy(), np.array(self.options.speed_cap), 100.0 * self._gripper_target)

    def state(self) -> ServoSnapshot:
        """What is known and done now; the rotation vector's axis is in base_link."""
        if self._joints is None:
            return ServoSnapshot(self.mode, "no arm feedback yet" if self.mode == LOCKED else self.reason)
        position, rotation = self.kinematics.forward(self._joints)
        velocity = self.kinematics.jacobian(self._joints)[:3] @ self._joint_velocity
        moving = self.mode in (ACTIVE, HOLD) and self._latched
        return ServoSnapshot(self.mode, self.reason, position, rotation_vector(rotation @ TOOL_DOWN.T), velocity,
                             self._target.position.copy() if moving else position.copy(), self._opening,
                             self.accepted, self.rejected, self.clipped)

    @property
    def measured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The last good feedback: joints, rad/s, Nm, (6,) each; None before the first."""
        return None if self._joints is None else (self._joints, self._joint_velocity, self._effort)

    @property
    def clipped(self) -> int:
        """Commands shortened by a limit since the start."""
        return self._target.clipped

    def ages(self, now: float) -> tuple[float, float]:
        """Age in s of the last command and of the last feedback; inf when there was none."""
        return now - self._command_time, now - self._feedback_time

    # How

    def _fresh(self, now: float) -> bool:
        return now - self._feedback_time <= self.options.feedback_timeout

    def _watch(self, now: float) -> None:
        lagging = np.max(np.abs(self._motion.position - self._joints)) > self.options.max_lag
        self._lag_since = min(self._lag_since, now) if lagging else math.inf
        if self.mode != HOLD and now - self._lag_since > self.options.max_lag_time:
            self._hold("blocked: joints do not follow")
        elif self._motion.off_path:
            self._hold("joints left the tool's path")
            self._latch(now)
        elif self.mode == ACTIVE and now - self._command_time > self.options.command_timeout:
            self._hold("no fresh command")
        elif self.mode == RESETTING:
            self._watch_reset(now)

    def _watch_reset(self, now: float) -> None:
        near = np.max(np.abs(self._motion.joint_goal - self._joints)) < self.options.reset_tolerance
        if self._motion.done and near and np.max(np.abs(self._joint_velocity)) < self.options.reset_settle_speed:
            self._target.latch(self._motion.joint_goal, now)
            self._activate(now)
        elif now - self._reset_since > self.options.reset_timeout:
            self._hold("reset took too long")

    def _switch_gripper(self, now: float) -> None:
        if self._gripper_wanted != self._gripper_target and now - self._gripper_time >= self.options.gripper_interval:
            self._gripper_target, self._gripper_time = self._gripper_wanted, now

    def _activate(self, now: float) -> None:
        self.mode, self.reason, self._command_time = ACTIVE, "", now

    def _hold(self, reason: str) -> None:
        if self.mode != HOLD:
            self.mode = HOLD
            self._gripper_wanted = self._gripper_target  # what still waits is over
            self._latch(self._now)
        self.reason = reason

    def _latch(self, now: float) -> None:
        """Make the measured joints the target, once."""
        keep = self._target.rotation if self._latched else None
        self._target.latch(self._joints, now, keep)
        if not self._latched:
            self._motion.start(self._joints)
        in_tool_space = self._motion.in_tool_space and not self._motion.off_path
        if not in_tool_space or not self._motion.go_to_pose(self._target.position, self._target.rotation):
            self._motion.go_to_joints(self._target.joints, self.options.joint_speed)
        self._latched = True

    def _fault(self, reason: str) -> None:
        if self.mode != FAULT:
            self.mode, self.reason = FAULT, reason
        self._latched, self._held = False, ""

    def _count_same(self, arrays) -> None:
        old = (self._joints, self._joint_velocity, self._effort)
        same = old[0] is not None and all(np.array_equal(a, b) for a, b in zip(arrays, old, strict=True))
        self._same_frames = self._same_frames + 1 if same else 0


def _six(values) -> np.ndarray | None:
    return _vector(values, 6)


def _vector(values, size: int) -> np.ndarray | None:
    try:
        array = np.array(values, float)
    except (TypeError, ValueError):
        return None
    return array if array.shape == (size,) and np.all(np.isfinite(array)) else None
