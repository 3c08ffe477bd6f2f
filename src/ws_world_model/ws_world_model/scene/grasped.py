"""What a hand that closes takes along: what vanished from its place, and what is seen in the hand afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from ws_rollouts.episode import VIEWS
from ws_world_model.scene.points import Cloud, absent, connected, merged, share
from ws_world_model.scene.registration import Registered, in_hand
from ws_world_model.scene.shots import Exposure, Shot
from ws_world_model.scene.visibility import seen_through, still_there

CARRIED = 0.12  # m around the fingertips that a carried thing reaches
RIM = 0.0025  # m around what was carried away that went with it
VOXEL = 0.001  # m, of points
COARSE = 0.006  # m, of the voxels that connect a thing
LEAST = 100  # points that make a thing that went
FEW = 3  # shots of the thing in the air from which on they tell how it looks there
SAME = 0.003  # m, within which something is in the same place of the hand
STEADY = 0.6  # share of these in which it is, where something is held
BEYOND = 0.02  # m around a thing in which it is looked how it lies in the hand
LOOKS = 6  # shots in which that is done
SLIPS = 0.02  # m, at most, by which it moves in the hand
THERE = 0.004  # m, within which a shot shows what is at a point's place
OTHER = 40.0  # of 255, mean difference of colors from which it is something else
HIDES = 0.004  # m from what is seen in the hand in which nothing else of the thing is
BESIDE = 0.008  # m around what was taken in which things that stay are looked at again


def vanished(points: np.ndarray, lost: np.ndarray, tip: np.ndarray, later: list[Shot]) -> np.ndarray | None:
    """Which of a group's points (N, 3) went with the hand that closed at `tip` (3,): (N,) bool; None where too few did.

    `lost` (N,): seen through once the hand had come; `later`: shots with the thing in the air.
    """
    near = np.linalg.norm(points - tip, axis=1) < CARRIED
    if (lost & near).sum() < LEAST:
        return None
    lost = (_share_lost(cKDTree(points[::3]), (lost & near)[::3], points) > 0.5) & near
    if not lost.any():
        return None
    pieces = connected(points[lost], 0.004)  # of several the one in the hand
    mine = pieces == pieces[int(np.argmin(np.linalg.norm(points[lost] - tip, axis=1)))]
    chosen = np.isfinite(cKDTree(points[lost][mine]).query(points, distance_upper_bound=RIM)[0])
    chosen[chosen] = ~still_there(points[chosen], later)
    return chosen


def moved_in_hand(clouds: dict[str, Cloud], tool: np.ndarray,
                  seen: list[tuple[np.ndarray, np.ndarray]]) -> Registered | None:
    """How a thing moved about the tool as fingers closed on it and lifted it; None where that was not seen.

    clouds: as it lay with the tool at (3,) m; seen: points (N, 3) m about the tool and colors, of shots afterwards.
    """
    lay = Cloud.join(clouds.values())
    lay.xyz = (lay.xyz - tool).astype(np.float32)
    reach = np.linalg.norm(lay.xyz, axis=1).max(initial=0.0) + BEYOND
    low = lay.xyz[:, 2].min() - COARSE
    found = []
    for points, colors in seen:
        near = (np.linalg.norm(points, axis=1) < reach) & (points[:, 2] > low)
        found.append(Cloud.of(points[near], colors[near]))
    moved = in_hand(Cloud.join(found), lay)
    return moved if moved.fits and np.linalg.norm(moved.shift) < SLIPS else None


def in_the_air(clouds: dict[str, Cloud], back: Callable[[np.ndarray, np.ndarray], np.ndarray],
               later: list[Shot]) -> dict[str, Cloud]:
    """What is seen of the thing in the hand, at the place where it lay: `back` brings points (N, 3) m there that are
    seen with the tool at (3,) m."""
    nothing = {view: cloud[:0] for view, cloud in clouds.items()}
    if len(later) < FEW:
        return nothing
    points = np.concatenate([cloud.xyz for cloud in clouds.values()])
    known, room = cKDTree(points), np.stack([points.min(0) - BEYOND, points.max(0) + BEYOND])
    rows: dict[str, list[np.ndarray]] = {}
    for view in VIEWS:
        parts = []
        for number, shot in enumerate(later):
            seen = shot.views[view]
            place = back(seen.points[seen.scene].astype(float), shot.tool)
            near = np.flatnonzero(((place > room[0]) & (place < room[1])).all(axis=1))
            near = near[np.isfinite(known.query(place[near], distance_upper_bound=BEYOND)[0])]
            parts.append((place[near], seen.color[seen.scene][near], np.full(len(near), number)))
        rows[view] = [np.concatenate(each) for each in zip(*parts, strict=True)]
    places = np.concatenate([place for place, _, _ in rows.values()])
    numbers = np.concatenate([number for _, _, number in rows.values()])
    middles = merged(places, np.zeros_like(places, np.uint8), SAME)[0]
    filled = np.zeros(len(middles), int)  # in how many shots
    for number in np.unique(numbers):
        filled += np.isfinite(cKDTree(places[numbers == number]).query(middles, distance_upper_bound=SAME)[0])
    middles = middles[filled > STEADY * len(later)]
    if not len(middles):
        return nothing
    piece = connected(middles, COARSE)  # what hangs together with what is known of it
    held = cKDTree(middles[np.isin(piece, piece[known.query(middles)[0] < COARSE])])
    out = {}
    for view, (place, colors, _) in rows.items():
        mine = np.isfinite(held.query(place, distance_upper_bound=SAME)[0]) if held.n else np.zeros(len(place), bool)
        out[view] = Cloud.of(*merged(place[mine], colors[mine], VOXEL))
    return out


def completed(clouds: dict[str, Cloud], others: dict[str, Cloud], shots: list[Shot],
              back: Callable[[np.ndarray, Shot], np.ndarray]) -> dict[str, Cloud]:
    """Clouds, and of the others what lies beside them and through which none of the shots has seen.

    `back` brings points (N, 3) m to where they were in a shot.
    """
    own = np.concatenate([cloud.xyz for cloud in clouds.values()])
    out = {}
    for view, more in others.items():
        if len(own):
            more = more[~np.isfinite(cKDTree(own).query(more.xyz, distance_upper_bound=HIDES)[0])]
        for shot in shots:
            more = more[~seen_through(back(more.xyz, shot).astype(np.float32), [shot], THERE)]
        out[view] = Cloud.join([clouds[view], more])
    share(out, HIDES)
    return out


def seen_before(known: np.ndarray, seen: Cloud, later: list[Shot]) -> Cloud:
    """What of a cloud belongs to a thing (T, 3) that went: it lies at the thing, and is not there any more."""
    near = seen[np.isfinite(cKDTree(known).query(seen.xyz, distance_upper_bound=BESIDE)[0])]
    near = near[absent(near.xyz, known, 2 * VOXEL)]
    went = other_now(near, later)
    went[~went] = seen_through(near.xyz[~went], later[-LOOKS:], THERE)
    return near[went]


def left_behind(cloud: Cloud, taken: np.ndarray, later: list[Shot]) -> np.ndarray:
    """Which points of what stays are none, as after the thing (T, 3) was taken others are seen in their place."""
    near = np.flatnonzero(np.isfinite(cKDTree(taken).query(cloud.xyz, distance_upper_bound=BESIDE)[0]))
    out = np.zeros(len(cloud), bool)
    out[near] = other_now(cloud[near], later)
    return out


def other_now(cloud: Cloud, later: list[Shot]) -> np.ndarray:
    """In whose places something of another color is seen in most of the shots that see these: (N,) bool."""
    same, other = np.zeros(len(cloud), int), np.zeros(len(cloud), int)
    for shot in later:
        for seen in shot.views.values():
            there, difference = _compared(cloud.xyz, cloud.rgb, seen)
            same += there & (difference < OTHER)
            other += there & (difference >= OTHER)
    return other > same


def _compared(xyz: np.ndarray, rgb: np.ndarray, seen: Exposure) -> tuple[np.ndarray, np.ndarray]:
    """Whether an exposure shows something just where each point is, (N,) bool, and how its color differs, (N,)."""
    local = (xyz - seen.position) @ seen.rotation
    deep = np.maximum(local[:, 2], 1e-6)
    fx, fy, cx, cy = seen.lens
    column = np.round(fx * local[:, 0] / deep + cx).astype(int)
    row = np.round(fy * local[:, 1] / deep + cy).astype(int)
    height, width = seen.depth.shape
    inside = (local[:, 2] > 0.02) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    there = inside & seen.scene[row, column] & (np.abs(seen.depth[row, column] - deep) < THERE)
    return there, np.abs(seen.color[row, column].astype(float) - rgb).mean(1)


def _share_lost(tree: cKDTree, lost: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of each point's neighbors in the tree the share that is lost."""
    _, index = tree.query(points, k=8, distance_upper_bound=0.01)
    known = index < len(lost)
    return (np.append(lost, False)[index] & known).sum(1) / np.maximum(known.sum(1), 1)
