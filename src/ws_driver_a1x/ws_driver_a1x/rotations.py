"""Rotation matrices to fixed-axis roll, pitch, yaw."""

from __future__ import annotations

import math

import numpy as np


def rpy(rotation: np.ndarray) -> np.ndarray:
    """Fixed-axis XYZ angles (3,) rad of a (3, 3) rotation, as in URDF; roll is 0 at the singular pitch +-pi/2."""
    pitch = math.atan2(-rotation[2, 0], math.hypot(rotation[0, 0], rotation[1, 0]))
    if math.hypot(rotation[0, 0], rotation[1, 0]) < 1e-9:
        return np.array([0.0, pitch, math.atan2(-rotation[0, 1], rotation[1, 1])])
    return np.array([math.atan2(rotation[2, 1], rotation[2, 2]), pitch, math.atan2(rotation[1, 0], rotation[0, 0])])
