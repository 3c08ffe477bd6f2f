"""How a thing stands now against how it stood before: a rigid motion on the table, by iterated closest points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ws_world_model.scene.points import merged

CELL = 0.006  # m, of the points that are compared
TURNS = (0.0, 0.35, -0.35, 0.7, -0.7)  # rad, first guesses
ROUNDS = 20
KEPT = 0.8  # share of the pairs, the nearest: each episode sees other sides
FITS = 0.004  # m, mean distance of those at which two things are the same one


@dataclass(frozen=True)
class Registered:
    """yaw rad about z, shift (2,) m: target = R(yaw) source + shift; residual: mean distance of the kept pairs, m."""

    yaw: float
    shift: np.ndarray
    residual: float

    @property
    def fits(self) -> bool:
        return self.residual < FITS


def register(source: np.ndarray, target: np.ndarray) -> Registered:
    """The motion in x, y and yaw that brings source (N, 3) m onto target (M, 3) m."""
    none = np.zeros((0, 3), np.uint8)
    source, target = (merged(points, np.zeros_like(points, np.uint8), CELL)[0] if len(points) else none
                      for points in (source, target))
    if len(source) < 10 or len(target) < 10:
        return Registered(0.0, np.zeros(2), np.inf)
    tree = cKDTree(target)
    found = [_descend(source, target, tree, turn) for turn in TURNS]
    return min(found, key=lambda each: each.residual)


def _descend(source: np.ndarray, target: np.ndarray, tree: cKDTree, yaw: float) -> Registered:
    shift = target[:, :2].mean(0) - _turned(source[:, :2].mean(0), yaw)
    residual = np.inf
    for _ in range(ROUNDS):
        placed = np.column_stack([_turned(source[:, :2], yaw) + shift, source[:, 2]])
        gaps, index = tree.query(placed)
        near = np.argsort(gaps)[: int(KEPT * len(gaps))]
        residual = float(gaps[near].mean())
        a, b = source[near, :2], target[index[near], :2]
        ma, mb = a.mean(0), b.mean(0)
        cross = (a - ma).T @ (b - mb)
        yaw = float(np.arctan2(cross[0, 1] - cross[1, 0], cross[0, 0] + cross[1, 1]))
        shift = mb - _turned(ma, yaw)
    return Registered(yaw, shift, residual)


def _turned(xy: np.ndarray, yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return xy @ np.array([[c, s], [-s, c]])
