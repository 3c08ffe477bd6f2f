"""Sets of colored points: merged in voxels, compared, split into connected things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

ALWAYS = np.iinfo(np.int16).max  # a moment that never comes
_BITS, _MIDDLE = 2**14, 2**13


@dataclass
class Cloud:
    """N points: xyz (N, 3) float32 m, rgb (N, 3) uint8, and the moments in between which each is there, (N,) int16.

    `born` is the first moment, `gone` the first after the last; moments count a donor's exposures.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    born: np.ndarray
    gone: np.ndarray

    @classmethod
    def of(cls, xyz: np.ndarray, rgb: np.ndarray, born: int = 0) -> Cloud:
        """Points that are there from `born` on."""
        count = len(xyz)
        return cls(np.ascontiguousarray(xyz, np.float32), np.ascontiguousarray(rgb, np.uint8),
                   np.full(count, born, np.int16), np.full(count, ALWAYS, np.int16))

    @classmethod
    def join(cls, clouds) -> Cloud:
        """All points of several."""
        clouds = list(clouds) or [cls.of(np.zeros((0, 3)), np.zeros((0, 3)))]
        return cls(*(np.concatenate([getattr(c, name) for c in clouds]) for name in ("xyz", "rgb", "born", "gone")))

    def __len__(self) -> int:
        return len(self.xyz)

    def __getitem__(self, chosen) -> Cloud:
        return Cloud(self.xyz[chosen], self.rgb[chosen], self.born[chosen], self.gone[chosen])


def keys(xyz: np.ndarray, size: float) -> np.ndarray:
    """One int64 for each point's voxel of `size` m."""
    return (np.floor(xyz / size).astype(np.int64) + _MIDDLE) @ np.array([_BITS * _BITS, _BITS, 1])


def merged(xyz: np.ndarray, rgb: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of points and colors in voxels of `size` m."""
    if not len(xyz):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    _, voxel, count = np.unique(keys(xyz, size), return_inverse=True, return_counts=True)
    voxel = voxel.ravel()

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(voxel, values[:, i], len(count)) for i in range(3)], axis=1) / count[:, None]

    return mean(xyz).astype(np.float32), mean(rgb.astype(np.float32)).round().astype(np.uint8)


def absent(xyz: np.ndarray, others: np.ndarray, size: float) -> np.ndarray:
    """Which points have none of `others` in their voxel of `size` m: (N,) bool."""
    return ~np.isin(keys(xyz, size), keys(others, size))


def connected(xyz: np.ndarray, size: float) -> np.ndarray:
    """A number for each point, the same for those that hang together through neighboring voxels of `size` m: (N,)."""
    if not len(xyz):
        return np.zeros(0, int)
    cell = np.floor((xyz - xyz.min(0)) / size).astype(int)
    grid = np.zeros(cell.max(0) + 1, bool)
    grid[tuple(cell.T)] = True
    labels, _ = ndimage.label(grid, np.ones((3, 3, 3)))
    return labels[tuple(cell.T)]


def middle(clouds: dict[str, Cloud], size: float) -> np.ndarray:
    """Middle of a thing's footprint in cells of `size` m, (2,) m, whatever parts of it were measured how often."""
    xy = np.concatenate([c.xyz[:, :2] for c in clouds.values()])
    cells = np.unique(np.floor(xy / size).astype(int), axis=0)
    return (cells.mean(0) + 0.5) * size


def share(clouds: dict[str, Cloud], within: float) -> None:
    """Give each of two views what only the other has seen: what has no point of its own `within` m."""
    own = dict(clouds)
    for view, other in (tuple(own), tuple(own)[::-1]):
        if not len(own[view]) or not len(own[other]):
            clouds[view] = Cloud.join(own.values())
            continue
        more = ~np.isfinite(cKDTree(own[view].xyz).query(own[other].xyz, distance_upper_bound=within)[0])
        clouds[view] = Cloud.join([own[view], own[other][more]])
