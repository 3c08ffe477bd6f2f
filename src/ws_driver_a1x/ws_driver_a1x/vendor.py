"""The maker's wire: topic names, units and codes of the A1X's ROS 2 interface (HDAS and its joint tracker)."""

from __future__ import annotations

import math

FEEDBACK_ARM = "hdas/feedback_arm"  # JointState of 7: six joints rad, rad/s, Nm; then the gripper's motor, raw rad
FEEDBACK_GRIPPER = "hdas/feedback_gripper"  # JointState: position[0] is the stroke, 0 closed .. 100 open
TARGET_ARM = "motion_target/target_joint_state_arm"  # JointState: position rad, velocity = each joint's speed cap rad/s
TARGET_GRIPPER = "motion_target/target_position_gripper"  # JointState: position[0] is the stroke

STROKE_OPEN = 100.0  # mm between the fingers
RAW_OPEN = -2.83  # rad of the gripper's motor when open; 0 when closed
FINGER_TRAVEL = 0.05  # m of each finger

# What we may call on the function-frame service. 3 zeroes the whole arm and unlisted codes have locked arms for good.
ENABLE, DISABLE, CLEAR_ERROR = 1, 2, 4
_ALLOWED_CODES = frozenset((ENABLE, DISABLE, CLEAR_ERROR))


def function_frame_code(code: int) -> int:
    """`code` if it is one that we may call. Raises ValueError for every other."""
    if isinstance(code, bool) or code not in _ALLOWED_CODES:
        raise ValueError(f"function frame code {code!r}: must be one of {sorted(_ALLOWED_CODES)}")
    return int(code)


def opening_from_stroke(stroke: float) -> float:
    """Stroke 0..100 to opening 0 closed .. 1 open; out of range is clipped, NaN stays NaN."""
    return stroke if math.isnan(stroke) else min(1.0, max(0.0, stroke / STROKE_OPEN))


def opening_from_raw(raw: float) -> float:
    """The motor's raw rad (0 closed .. -2.83 open) to opening 0..1; out of range is clipped, NaN stays NaN."""
    return raw if math.isnan(raw) else min(1.0, max(0.0, raw / RAW_OPEN))


def fingers(opening: float) -> tuple[float, float]:
    """Opening 0..1 to the URDF's two finger joints, m."""
    return FINGER_TRAVEL * opening, -FINGER_TRAVEL * opening
