"""Rotation matrices to rotation vectors."""

from __future__ import annotations

import mujoco
import numpy as np


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle (3,) rad of a (3, 3) rotation, the angle in 0 .. pi."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation, float).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
