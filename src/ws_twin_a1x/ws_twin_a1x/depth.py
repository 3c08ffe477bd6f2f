"""What a stereo depth camera makes of exact distances: noise that grows with them, holes at edges and too near."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

NEAREST, FARTHEST = 0.12, 10.0  # m; a D435i measures nothing nearer, and nobody believes it farther away
JUMP, JUMP_SHARE = 0.02, 0.1  # m, and share of the distance: a larger step between neighbours is an edge
EDGE = 2  # px on either side of an edge where nothing is measured
BLUR = 1.5  # px, sigma: stereo matches windows, so neighbouring errors are alike


def measure(depth: np.ndarray, noise: float, holes: bool, seed: Sequence[int] = ()) -> np.ndarray:
    """(H, W) uint16 mm of the true (H, W) m; 0 where nothing is measured, and beyond `FARTHEST`.

    `noise`: standard deviation over the square of the distance, 1/m; `seed` decides it. `holes`: nothing is measured
    at edges and nearer than `NEAREST`.
    """
    seen = depth + noise * depth**2 * _correlated(depth.shape, np.random.default_rng(seed)) if noise else depth
    lost = seen > FARTHEST
    if holes:
        lost |= (depth < NEAREST) | _edges(depth)
    return np.where(lost, 0.0, np.clip(1000.0 * seen + 0.5, 0.0, 65535.0)).astype(np.uint16)


def _edges(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: within `EDGE` px of a jump."""
    block = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(depth, block), cv2.dilate(depth, block)
    jump = (high - low > JUMP + JUMP_SHARE * low).astype(np.uint8)
    return cv2.dilate(jump, block, iterations=EDGE - 1) > 0


def _correlated(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32 of variance 1, alike within a few px."""
    kernel = cv2.getGaussianKernel(2 * int(3 * BLUR + 0.5) + 1, BLUR, cv2.CV_32F)
    margin = len(kernel) // 2
    white = rng.standard_normal((shape[0] + 2 * margin, shape[1] + 2 * margin), np.float32)
    blurred = cv2.sepFilter2D(white, -1, kernel, kernel)[margin:-margin, margin:-margin]
    return blurred / float((kernel**2).sum())
