"""Poses as (4, 4) matrices, from and to geometry_msgs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def pose_of(transform: Any) -> np.ndarray:
    """(4, 4) of a geometry_msgs/Transform. Raises ValueError when it is not finite or turns by nothing."""
    q, t = transform.rotation, transform.translation
    x, y, z, w = turn = np.array([q.x, q.y, q.z, q.w])
    pose = np.eye(4)
    pose[:3, 3] = t.x, t.y, t.z
    if not np.isfinite([*turn, *pose[:3, 3]]).all() or turn @ turn < 1e-6:
        raise ValueError("a transform is not finite or has no rotation")
    s = 2.0 / (turn @ turn)
    pose[:3, :3] -= s * np.array([[y * y + z * z, z * w - x * y, -x * z - y * w],
                                  [-x * y - z * w, x * x + z * z, x * w - y * z],
                                  [y * w - x * z, -y * z - x * w, x * x + y * y]])
    return pose


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """xyzw (4,), w not negative, of a rotation (3, 3): the eigenvector of Bar-Itzhack's matrix."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    lower = np.array([[a - e - i, 0, 0, 0], [b + d, e - a - i, 0, 0], [c + g, f + h, i - a - e, 0],
                      [h - f, c - g, d - b, a + e + i]])
    turn = np.linalg.eigh(lower, "L")[1][:, -1]
    return -turn if turn[3] < 0 else turn


def walk(links: Mapping[str, tuple[str, np.ndarray]], ancestor: str, frame: str) -> np.ndarray:
    """(4, 4) pose of `frame` in `ancestor`, by `links`: child -> parent, pose in that. ValueError without a chain."""
    pose, here = np.eye(4), frame
    for _ in range(len(links) + 1):
        if here == ancestor:
            return pose
        if here not in links:
            break
        here, step = links[here]
        pose = step @ pose
    raise ValueError(f"no chain of fixed frames from {ancestor} to {frame}")
