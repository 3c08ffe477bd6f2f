"""By how much both mounts are wrong, from what the cameras saw before a thing was touched.

The table is level, a thing stands in one place wherever the hand is, and both cameras see the same one. What shows in
none of these stays as it was given: where the wrist camera hangs aside of the tool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ws_rollouts.episode import VIEWS
from ws_rollouts.rgbd import RgbdStream
from ws_world_model.scene.points import merged
from ws_world_model.scene.registration import COLOR, turned
from ws_world_model.scene.shots import Exposure, Shot
from ws_world_model.scene.table import HIGHEST, Region, fit_plane, height

STANDS = 0.008  # m over the table from which a point is a thing's
VOXEL = 0.002  # m
POINTS, ROUNDS, KEPT = 1500, 25, 0.7  # registered, rounds, and share of the pairs, the nearest
LEAST = 150  # points of a thing in a shot
LEAST_SHOTS, SHOTS = 3, 8  # needed, and looked at
CLOSER = 0.6  # of the distance between what both show, below which that counts: they never show quite the same
CELL, FLAT, LEAST_CELLS = 0.005, 0.004, 30  # m: of a grid, height within a cell that is level, and cells needed
NOISE, TURN = 0.0015, np.radians(3.0)  # m of a registration, and rad by which a mount may well be wrong
MOST_TURN = np.radians(4.0)  # from which on a camera was moved, and a person has to know
REACH, STEP, BOUND = 0.032, 0.004, 0.015  # m: of the first search, its step, and the gap from which on all are alike
LEVEL = 0.85  # cosine of a surface's slope
SWING = 0.01  # m, radius of a thing whose turn is not believed
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])


@dataclass(frozen=True)
class Correction:
    """mounts: view -> (4, 4), from the left to its mount; apart: m between the things as both views show them, before
    and after."""

    mounts: dict[str, np.ndarray]
    apart: tuple[float, float]

    def __str__(self) -> str:
        turns = [f"{view} camera by {np.degrees(_angle(mount)):.1f} deg" for view, mount in self.mounts.items()]
        return (f"mounts corrected, {', '.join(turns)}: things as both cameras see them are "
                f"{1000 * self.apart[1]:.1f} mm apart, {1000 * self.apart[0]:.1f} mm before")

    def apply(self, streams: dict[str, RgbdStream]) -> dict[str, RgbdStream]:
        """What was recorded, with corrected mounts."""
        return {view: replace(stream, mount=self.mounts[view] @ stream.mount) for view, stream in streams.items()}


@dataclass
class _Looks:
    """What one camera saw in S shots: rotation (3, 3) and position (3,) of the link it hangs on, and the points of
    things (N, 3) m in base_link with colors."""

    rotations: np.ndarray
    positions: np.ndarray
    clouds: list[tuple[np.ndarray, np.ndarray]]

    def moved(self, correction: np.ndarray) -> _Looks:
        """With `correction` (4, 4) from the left to the mount."""
        clouds = []
        for turn, place, (xyz, rgb) in zip(self.rotations, self.positions, self.clouds, strict=True):
            local = (xyz - place) @ turn
            clouds.append(((local @ correction[:3, :3].T + correction[:3, 3]) @ turn.T + place, rgb))
        return replace(self, clouds=clouds)

    @property
    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """All of it in voxels."""
        return merged(*(np.concatenate(each) for each in zip(*self.clouds, strict=True)), VOXEL)


def calibrate(shots: list[Shot], mounts: dict[str, np.ndarray], table: float, region: Region) -> Correction | None:
    """The correction that shots of untouched things tell, each in `mounts` and over a table at `table` m.

    None where they show too little, or what they tell would not be an error but another place.
    """
    if len(shots) < LEAST_SHOTS:
        return None
    shots = [shots[i] for i in np.unique(np.linspace(0, len(shots) - 1, SHOTS).astype(int))]
    try:
        corrections = {view: _levelled(shots, view, mounts[view], table) for view in VIEWS}
    except ValueError:
        return None
    given = {view: _looks(shots, view, mounts[view], np.eye(4), table, region) for view in VIEWS}
    looks = {view: _looks(shots, view, mounts[view], corrections[view], table, region) for view in VIEWS}
    if any(sum(len(xyz) for xyz, _ in each.clouds) < LEAST for each in looks.values()):
        return None
    before = _apart(given["side"].joined, given["wrist"].joined)
    yaw = _drift(looks["wrist"])
    looks["wrist"], corrections["wrist"] = _also(looks["wrist"], corrections["wrist"], yaw, np.zeros(3))
    lift = _lift(looks["side"].joined[0], looks["wrist"].joined[0])
    looks["wrist"], corrections["wrist"] = _also(looks["wrist"], corrections["wrist"], 0.0, np.array([0, 0, lift]))
    yaw, shift = _onto(looks["side"].joined, looks["wrist"].joined)
    looks["side"], corrections["side"] = _also(looks["side"], corrections["side"], yaw, np.array([*shift, 0.0]))
    after = _apart(looks["side"].joined, looks["wrist"].joined)
    wild = any(_angle(each) > MOST_TURN for each in corrections.values())
    return None if wild or after > CLOSER * before else Correction(corrections, (before, after))


def agreed(corrections: list[Correction]) -> Correction:
    """What several say together."""
    mounts = {}
    for view in VIEWS:
        each = np.array([correction.mounts[view] for correction in corrections])
        mounts[view] = np.eye(4)
        mounts[view][:3, :3] = Rotation.from_matrix(each[:, :3, :3]).mean().as_matrix()
        mounts[view][:3, 3] = np.median(each[:, :3, 3], axis=0)
    before, after = np.mean([correction.apart for correction in corrections], axis=0)
    return Correction(mounts, (float(before), float(after)))


def _parent(seen: Exposure, mount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rotation = seen.rotation @ mount[:3, :3].T
    return rotation, seen.position - rotation @ mount[:3, 3]


def _levelled(shots: list[Shot], view: str, mount: np.ndarray, table: float) -> np.ndarray:
    """The turn about the camera, and the lift of the side's, that make the plane level which it sees most of."""
    normals, ups, planes = [], [], []
    for shot in shots:
        seen = shot.views[view]
        rotation, _ = _parent(seen, mount)
        plane, _ = fit_plane(seen.points[seen.scene][::5])
        normal = np.array([-plane[1], -plane[2], 1.0])
        normals.append(rotation.T @ normal / np.linalg.norm(normal))
        ups.append(rotation[2])
        planes.append(plane)
    up, normal = np.mean(ups, axis=0), np.mean(normals, axis=0)
    axis = np.cross(normal, up)  # the least turn: none about the vertical
    correction = np.eye(4)
    correction[:3, :3] = Rotation.from_rotvec(axis * np.arctan2(np.linalg.norm(axis), normal @ up)
                                              / max(np.linalg.norm(axis), 1e-9)).as_matrix()
    correction[:3, 3] = mount[:3, 3] - correction[:3, :3] @ mount[:3, 3]
    if view == "side":
        camera = np.array([shot.views[view].position for shot in shots])
        over = [float(height(plane, at[None])[0]) for plane, at in zip(planes, camera, strict=True)]
        slopes = [np.linalg.norm([*plane[1:], 1.0]) for plane in planes]
        distance = np.median([(at[2] - z) / s for at, z, s in zip(camera, over, slopes, strict=True)])
        correction[2, 3] += table + distance - camera[0, 2]
    return correction


def _looks(shots: list[Shot], view: str, mount: np.ndarray, correction: np.ndarray, table: float,
           region: Region) -> _Looks:
    rotations, positions, clouds = [], [], []
    for shot in shots:
        seen = shot.views[view]
        rotation, position = _parent(seen, mount)
        level = seen.scene & _horizontal(seen.points, rotation @ correction[:3, :3] @ rotation.T)
        xyz, rgb = seen.points[level], seen.color[level]
        moved = ((xyz - position) @ rotation @ correction[:3, :3].T + correction[:3, 3]) @ rotation.T + position
        plane, _ = fit_plane(moved[::5])
        low = min(table, float(height(plane, moved.mean(0)[None])[0])) if view == "wrist" else table
        above = (moved[:, 2] > low + STANDS) & (moved[:, 2] < low + HIGHEST) & region.holds(moved)
        clouds.append(merged(moved[above], rgb[above], VOXEL))
        rotations.append(rotation)
        positions.append(position)
    return _Looks(np.array(rotations), np.array(positions), clouds)


def _horizontal(points: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of a surface that is level once it is turned; what both cameras see of a thing is its top."""
    smooth = cv2.blur(points, (3, 3))
    across = np.zeros_like(points)
    down = np.zeros_like(points)
    across[:, 2:-2] = smooth[:, 4:] - smooth[:, :-4]
    down[2:-2] = smooth[4:] - smooth[:-4]
    normal = np.cross(across, down) @ turn.T
    length = np.linalg.norm(normal, axis=-1)
    return (np.abs(normal[..., 2]) > LEVEL * length) & (length > 0) & (np.linalg.norm(across, axis=-1) < 0.03)


def _also(looks: _Looks, correction: np.ndarray, yaw: float, shift: np.ndarray) -> tuple[_Looks, np.ndarray]:
    """Turned by `yaw` about the vertical through the link, and shifted, (3,) m in base_link."""
    rotation = looks.rotations[0]
    more = np.eye(4)
    more[:3, :3] = rotation.T @ Rotation.from_euler("z", yaw).as_matrix() @ rotation
    more[:3, 3] = rotation.T @ shift
    return looks.moved(more), more @ correction


def _drift(looks: _Looks) -> float:
    """The turn about the vertical that a wrist camera lacks, rad.

    A thing that stands still moves as the hand does, by the turn of its way.
    """
    sizes = [len(xyz) for xyz, _ in looks.clouds]
    first = int(np.argmax(sizes))
    tools = looks.positions[:, :2]
    rows, values = [np.array([NOISE / TURN])], [np.zeros(1)]
    for number, size in enumerate(sizes):
        if number != first and size > LEAST:
            rows.append(QUARTER @ (tools[number] - tools[first]))
            values.append(_shifted(looks.clouds[number], looks.clouds[first]))
    ways, shifts = np.concatenate(rows), np.concatenate(values)
    return -float(ways @ shifts / (ways @ ways))


def _features(cloud: tuple[np.ndarray, np.ndarray], count: int | None = None) -> np.ndarray:
    xyz, rgb = cloud
    chosen = np.random.default_rng(0).permutation(len(xyz))[:count]
    return np.column_stack([xyz[chosen], COLOR * rgb[chosen].astype(float)])


def _shifted(source: tuple, target: tuple) -> np.ndarray:
    """(2,) m in x and y that bring one cloud onto another of the same thing."""
    points, aim = _features(source, POINTS), _features(target)
    tree, shift = cKDTree(aim), np.zeros(2)
    for _ in range(ROUNDS):
        gaps, index = tree.query(points + [*shift, 0, 0, 0, 0])
        near = np.argsort(gaps)[: int(KEPT * len(gaps))]
        shift = (aim[index[near], :2] - points[near, :2]).mean(0)
    return shift


def _onto(source: tuple, target: tuple) -> tuple[float, np.ndarray]:
    """Turn about the vertical through the origin, rad, and shift, (2,) m, that bring one cloud onto another."""
    points, aim = _features(source, POINTS), _features(target)
    tree = cKDTree(aim)

    def gaps(shift: tuple[float, float]) -> float:
        found, _ = tree.query(points[::3] + [*shift, 0, 0, 0, 0], distance_upper_bound=BOUND)
        return np.minimum(found, BOUND).mean()

    grid = np.arange(-REACH, REACH + 1e-9, STEP)
    shift = np.array(min(((x, y) for x in grid for y in grid), key=gaps))
    center, yaw = points[:, :2].mean(0), 0.0
    for _ in range(ROUNDS):
        moved = np.column_stack([turned(points[:, :2] - center, yaw) + center + shift, points[:, 2:]])
        found, index = tree.query(moved)
        near = np.argsort(found)[: int(KEPT * len(found))]
        a, b = points[near, :2] - center, aim[index[near], :2]
        ma, mb = a.mean(0), b.mean(0)
        cross = (a - ma).T @ (b - mb)
        stiff = len(near) * SWING**2  # as if the thing had been seen as it is, too
        yaw = float(np.arctan2(cross[0, 1] - cross[1, 0], cross[0, 0] + cross[1, 1] + stiff))
        shift = mb - turned(ma, yaw) - center
    return yaw, shift + center - turned(center, yaw)


def _lift(side: np.ndarray, wrist: np.ndarray) -> float:
    """By how much the wrist camera's things are lower than the side's where both see something level, m."""
    tops = []
    for xyz in (side, wrist):
        cell = np.floor(xyz[:, :2] / CELL).astype(int)
        known, index = np.unique(cell, axis=0, return_inverse=True)
        low, high = np.full(len(known), np.inf), np.full(len(known), -np.inf)
        np.minimum.at(low, index.ravel(), xyz[:, 2])
        np.maximum.at(high, index.ravel(), xyz[:, 2])
        tops.append({tuple(c): z for c, z, flat in zip(known.tolist(), high, high - low < FLAT, strict=True) if flat})
    common = [tops[0][cell] - tops[1][cell] for cell in tops[0].keys() & tops[1].keys()]
    return float(np.median(common)) if len(common) >= LEAST_CELLS else 0.0


def _apart(one: tuple, other: tuple) -> float:
    """Mean distance of the nearest pairs, m."""
    if min(len(one[0]), len(other[0])) < LEAST:
        return np.inf
    gaps, _ = cKDTree(_features(other)).query(_features(one, POINTS))
    return float(np.sort(gaps)[: int(KEPT * len(gaps))].mean())


def _angle(mount: np.ndarray) -> float:
    return float(np.linalg.norm(Rotation.from_matrix(mount[:3, :3]).as_rotvec()))
