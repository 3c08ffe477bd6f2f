"""Compiled loops over pixels and points."""

from __future__ import annotations

import numpy as np
from numba import njit

NEAR = 0.02  # m, nothing nearer is drawn


@njit(cache=True)
def splat(points, colors, born, gone, moment, rotation, position, lens, radius, slope, key, depth,
          picture):  # pragma: no cover
    """Draw points into `picture` (S, S, 3) uint8 and `depth` (S, S) float32 m, in place, where they are nearer than
    `key` (S, S) float32 m, which may be `depth`. With a slope they count as so many m farther for each m from their
    middle: what is wide then hides nothing that lies beside it.

    points (N, 3) float32 m; colors (N, 3) uint8; drawn where born <= moment < gone, (N,) int16 each. rotation (3, 3)
    and position (3,) are the camera's pose in the points' frame, lens (4,) fx, fy, cx, cy px. A point is a square of
    `radius` m half-width, at least one pixel.
    """
    height, width = depth.shape
    fx, fy, cx, cy = lens
    for i in range(points.shape[0]):
        if born[i] > moment or gone[i] <= moment:
            continue
        x, y, z = points[i, 0] - position[0], points[i, 1] - position[1], points[i, 2] - position[2]
        deep = rotation[0, 2] * x + rotation[1, 2] * y + rotation[2, 2] * z
        if deep < NEAR:
            continue
        u = fx * (rotation[0, 0] * x + rotation[1, 0] * y + rotation[2, 0] * z) / deep + cx
        v = fy * (rotation[0, 1] * x + rotation[1, 1] * y + rotation[2, 1] * z) / deep + cy
        reach, wider = max(radius * fx / deep, 0.5), slope * deep / fx
        if u + reach < 0 or v + reach < 0 or u - reach > width - 1 or v - reach > height - 1:
            continue
        for row in range(max(0, int(np.ceil(v - reach))), min(height - 1, int(np.floor(v + reach))) + 1):
            for column in range(max(0, int(np.ceil(u - reach))), min(width - 1, int(np.floor(u + reach))) + 1):
                far = deep + wider * max(abs(row - v), abs(column - u))
                if far < key[row, column]:
                    key[row, column] = far
                    depth[row, column] = deep
                    picture[row, column, 0] = colors[i, 0]
                    picture[row, column, 1] = colors[i, 1]
                    picture[row, column, 2] = colors[i, 2]


@njit(cache=True)
def nearest_link(points, valid, link, center, half, margin, rotations, positions):  # pragma: no cover
    """Which link's box, grown by its margin, holds each point: (H, W) int8, -1 for none.

    points (H, W, 3) m, valid (H, W) bool; boxes: link (B,), center, half (B, 3), margin (B,) m; rotations (L, 3, 3) and
    positions (L, 3) of the links. Of several boxes the one whose inside is deepest counts.
    """
    out = np.full(valid.shape, -1, np.int8)
    for row in range(valid.shape[0]):
        for column in range(valid.shape[1]):
            if not valid[row, column]:
                continue
            best = 0.0
            for b in range(link.shape[0]):
                turn, place = rotations[link[b]], positions[link[b]]
                x = points[row, column, 0] - place[0]
                y = points[row, column, 1] - place[1]
                z = points[row, column, 2] - place[2]
                inside = 1e9
                for axis in range(3):
                    at = turn[0, axis] * x + turn[1, axis] * y + turn[2, axis] * z
                    inside = min(inside, half[b, axis] + margin[b] - abs(at - center[b, axis]))
                    if inside <= 0.0:
                        break
                if inside > best:
                    best = inside
                    out[row, column] = link[b]
    return out


@njit(cache=True)
def beyond(points, rotation, position, lens, depth):  # pragma: no cover
    """How much farther than each point (N, 3) a picture shows something there: (N,) float32 m, NaN where unknown.

    `depth` (H, W) m, 0 where nothing can be told.
    """
    height, width = depth.shape
    fx, fy, cx, cy = lens
    out = np.full(points.shape[0], np.nan, np.float32)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - position[0], points[i, 1] - position[1], points[i, 2] - position[2]
        deep = rotation[0, 2] * x + rotation[1, 2] * y + rotation[2, 2] * z
        if deep < NEAR:
            continue
        column = int(np.round(fx * (rotation[0, 0] * x + rotation[1, 0] * y + rotation[2, 0] * z) / deep + cx))
        row = int(np.round(fy * (rotation[0, 1] * x + rotation[1, 1] * y + rotation[2, 1] * z) / deep + cy))
        if 0 <= column < width and 0 <= row < height and depth[row, column] > 0.0:
            out[i] = depth[row, column] - deep
    return out
