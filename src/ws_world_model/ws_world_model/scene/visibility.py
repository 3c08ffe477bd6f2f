"""What shots say about a place: that nothing is there, or that something still is."""

from __future__ import annotations

import numpy as np

from ws_world_model.scene.kernels import beyond
from ws_world_model.scene.shots import Shot

THERE = 0.002  # m, within which something is seen where a point is


def seen_through(xyz: np.ndarray, shots: list[Shot], margin: float) -> np.ndarray:
    """Whether any view of these shots shows something farther than by `margin` m where each point is: (N,) bool."""
    through = np.zeros(len(xyz), bool)
    for shot in shots:
        for seen in shot.views.values():
            left = np.flatnonzero(~through)
            through[left] = beyond(xyz[left], seen.rotation, seen.position, seen.lens, seen.nearest) > margin
    return through


def still_there(xyz: np.ndarray, shots: list[Shot]) -> np.ndarray:
    """Whether any view of these shots shows something just where each point is: (N,) bool."""
    there = np.zeros(len(xyz), bool)
    for shot in shots:
        for seen in shot.views.values():
            gap = beyond(xyz, seen.rotation, seen.position, seen.lens, seen.scene_depth)
            there |= np.abs(gap) < THERE
    return there
