"""What shots say about a place: that nothing is there, or that something still is."""

from __future__ import annotations

import cv2
import numpy as np

from ws_world_model.scene.kernels import beyond
from ws_world_model.scene.shots import Shot

THERE = 0.002  # m, within which something is seen where a point is


def seen_through(xyz: np.ndarray, shots: list[Shot], margin: float) -> np.ndarray:
    """Whether any view of these shots shows something farther than by `margin` m where each point is: (N,) bool."""
    through = np.zeros(len(xyz), bool)
    for shot in shots:
        for seen in shot.views.values():
            shown = cv2.erode(_scene(seen.link, seen.depth), np.ones((3, 3)))  # all around must be farther
            left = np.flatnonzero(~through)
            through[left] = beyond(xyz[left], seen.rotation, seen.position, seen.lens, shown) > margin
    return through


def still_there(xyz: np.ndarray, shots: list[Shot]) -> np.ndarray:
    """Whether any view of these shots shows something just where each point is: (N,) bool."""
    there = np.zeros(len(xyz), bool)
    for shot in shots:
        for seen in shot.views.values():
            gap = beyond(xyz, seen.rotation, seen.position, seen.lens, _scene(seen.link, seen.depth))
            there |= np.abs(gap) < THERE
    return there


def _scene(link: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) m without the robot's pixels, which hide what is behind."""
    return np.where(link >= 0, 0, depth).astype(np.float32)
