"""The table: its plane, what counts as standing on it, and what it looks like from above."""

from __future__ import annotations

import numpy as np

from ws_rollouts.task import Task

CELL = 0.002  # m, of the map
BESIDE = 0.20  # m, around the workspace in which things belong to the scene
BASE = 0.12  # m, around the robot's base in which nothing does
ABOVE = 0.004  # m over the plane from which something stands on it
HIGHEST = 0.30  # m


def fit_plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """z = a + b x + c y of the plane that most of points (N, 3) m lie on: (3,), and the rms of its residual in m.

    Raises ValueError when there are too few.
    """
    if len(points) < 500:
        raise ValueError(f"{len(points)} points measured around the workspace, 500 needed to find the table")
    z = points[:, 2]
    count, edges = np.histogram(z, np.arange(z.min() - 0.004, z.max() + 0.008, 0.004))
    middle = edges[int(np.argmax(count))] + 0.002
    chosen = np.abs(z - middle) < 0.02
    plane = np.array([middle, 0.0, 0.0])
    for width in (0.02, 0.01, 0.006):
        chosen = np.abs(z - height(plane, points)) < width
        inside = points[chosen].astype(float)
        design = np.column_stack([np.ones(len(inside)), inside[:, :2]])
        plane = np.linalg.lstsq(design, inside[:, 2], rcond=None)[0]
    residual = z[chosen] - height(plane, points[chosen])
    return plane, float(np.sqrt(np.mean(residual**2)))


def height(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The plane's z at points (..., 2 or 3)."""
    return plane[0] + points[..., 0] * plane[1] + points[..., 1] * plane[2]


class Region:
    """Where things of a task stand: around its workspace, not at the robot's base."""

    def __init__(self, task: Task):
        self.low = np.asarray(task.workspace_low[:2]) - BESIDE
        self.high = np.asarray(task.workspace_high[:2]) + BESIDE

    def holds(self, points: np.ndarray) -> np.ndarray:
        """(...,) bool of points (..., 3)."""
        x, y = points[..., 0], points[..., 1]
        inside = (x > self.low[0]) & (x < self.high[0]) & (y > self.low[1]) & (y < self.high[1])
        return inside & (x * x + y * y > BASE * BASE)


class TableMap:
    """Mean color of the table by place, as one camera sees it; RGB."""

    def __init__(self, region: Region):
        self._low = region.low
        self._shape = tuple(np.ceil((region.high - region.low) / CELL).astype(int))
        self._sum = np.zeros((self._shape[0] * self._shape[1], 3))
        self._count = np.zeros(self._shape[0] * self._shape[1])
        self._picture: np.ndarray | None = None

    def add(self, points: np.ndarray, colors: np.ndarray) -> None:
        """Points (N, 3) m on the table, with colors (N, 3) uint8."""
        cell = np.floor((points[:, :2] - self._low) / CELL).astype(int)
        inside = (cell >= 0).all(1) & (cell < self._shape).all(1)
        index = cell[inside, 0] * self._shape[1] + cell[inside, 1]
        size = len(self._count)
        for channel in range(3):
            self._sum[:, channel] += np.bincount(index, colors[inside, channel], size)
        self._count += np.bincount(index, minlength=size)
        self._picture = None

    @property
    def picture(self) -> np.ndarray:
        """(X, Y, 3) uint8, rows along x; where nothing was seen the mean of what was."""
        if self._picture is None:
            seen = self._count > 0
            mean = self._sum[seen].sum(0) / max(self._count.sum(), 1.0)
            colors = np.where(seen[:, None], self._sum / np.maximum(self._count, 1.0)[:, None], mean)
            self._picture = colors.round().astype(np.uint8).reshape(*self._shape, 3)
        return self._picture

    def homography(self, plane: np.ndarray, rotation: np.ndarray, position: np.ndarray,
                   matrix: np.ndarray) -> np.ndarray:
        """(3, 3): from pixels of the map, column and row, to those of a camera of this pose and matrix (3, 3)."""
        to_xy = np.array([[0.0, CELL, self._low[0] + CELL / 2], [CELL, 0.0, self._low[1] + CELL / 2], [0, 0, 1.0]])
        lift = np.array([[1.0, 0, 0], [0, 1.0, 0], [plane[1], plane[2], plane[0]]]) @ to_xy
        return matrix @ rotation.T @ (lift - np.outer(position, [0, 0, 1.0]))
