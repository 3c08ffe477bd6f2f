"""How a thing stands now against how it stood before: a rigid motion on the table, by iterated closest points.

Besl and McKay 1992; points are compared with their colors, as flat things slide on their shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ws_world_model.scene.points import Cloud

TURNS = (0.0, 0.35, -0.35, 0.7, -0.7)  # rad, first guesses
FIRST, LAST = (400, 10), (2000, 40)  # points and rounds of each guess, and of the best
TARGETS = 20_000  # points compared with
KEPT = 0.8  # share of the pairs, the nearest: each episode sees other sides
COLOR = 5e-5  # m for each of 255 levels
FITS = 0.004  # m, mean distance of those at which two things are the same one
CELL, HIGHER, DIFFER = 0.006, 0.008, 0.08  # m, m and share: cells whose tops may differ by more in height
MOST_TURN, TURN_STEP = 0.8, 0.1  # rad, of a thing that fingers close on
SHIFTS, RISES = (-0.006, 0.0, 0.006), (0.0, 0.004)  # m, first guesses aside and in height
BEST = 4  # of all first guesses that are looked at closer
SEEN = 0.6  # share of what is seen near it that is the thing
LEAST = 30  # points


@dataclass(frozen=True)
class Registered:
    """yaw rad about z, shift (2,) m: target = R(yaw) source + shift; residual: mean distance of the kept pairs, m;
    differs: share of places that both saw at another height; rise: m, in height, where that is looked for."""

    yaw: float
    shift: np.ndarray
    residual: float
    differs: float = 0.0
    rise: float = 0.0

    @property
    def fits(self) -> bool:
        return self.residual < FITS and self.differs < DIFFER


def register(source: Cloud, target: Cloud, partly: bool = False) -> Registered:
    """The motion in x, y and yaw that brings source onto target. `partly`: source may lack what target has."""
    if min(len(source), len(target)) < LEAST:
        return Registered(0.0, np.zeros(2), np.inf)
    rng = np.random.default_rng(0)
    aim, tree = _features(target, TARGETS, rng)
    start, _ = _features(source, FIRST[0], rng)
    guesses = []
    for turn in TURNS:
        shift = aim[:, :2].mean(0) - turned(start[:, :2].mean(0), turn)
        guesses.append(_descend(start, aim, tree, Registered(turn, shift, np.inf), FIRST[1]))
    best = min(guesses, key=lambda each: each.residual)
    found = _descend(_features(source, LAST[0], rng)[0], aim, tree, best, LAST[1])
    return Registered(found.yaw, found.shift, found.residual, _differs(source, target, found, partly))


def in_hand(seen: Cloud, body: Cloud) -> Registered:
    """The motion about the tool from how `body` lay to how a part of it, beside other things, is seen in the hand."""
    if min(len(seen), len(body)) < LEAST:
        return Registered(0.0, np.zeros(2), np.inf)
    rng = np.random.default_rng(0)
    points, (aim, tree) = _features(seen, LAST[0], rng)[0], _features(body, TARGETS, rng)

    few = points[: FIRST[0]]

    def gap(start: Registered) -> float:
        gaps, _ = tree.query(_moved(few, start.yaw, start.shift, start.rise))
        return float(np.sort(gaps)[: int(SEEN * len(few))].mean())

    starts = [Registered(float(yaw), np.array([x, y]), np.inf, rise=z) for x in SHIFTS for y in SHIFTS for z in RISES
              for yaw in np.arange(-MOST_TURN, MOST_TURN + 1e-9, TURN_STEP)]
    found = [_descend(points, aim, tree, start, LAST[1], SEEN, True) for start in sorted(starts, key=gap)[:BEST]]
    back = min(found, key=lambda each: each.residual)
    return Registered(-back.yaw, -turned(back.shift, -back.yaw), back.residual, rise=-back.rise)


def turned(xy: np.ndarray, yaw: float) -> np.ndarray:
    """Points (..., 2) turned by `yaw` rad."""
    c, s = np.cos(yaw), np.sin(yaw)
    return xy @ np.array([[c, s], [-s, c]])


def _moved(points: np.ndarray, yaw: float, shift: np.ndarray, rise: float) -> np.ndarray:
    """Points (N, 3 and more) turned by `yaw` rad about z, then moved; what follows their places is left as it is."""
    return np.column_stack([turned(points[:, :2], yaw) + shift, points[:, 2] + rise, points[:, 3:]])


def _features(cloud: Cloud, count: int, rng: np.random.Generator) -> tuple[np.ndarray, cKDTree]:
    """Random points with their colors, (N, 6) m, and their tree."""
    chosen = rng.permutation(len(cloud))[:count]
    features = np.column_stack([cloud.xyz[chosen].astype(float), COLOR * cloud.rgb[chosen]])
    return features, cKDTree(features)


def _descend(source: np.ndarray, target: np.ndarray, tree: cKDTree, start: Registered, rounds: int,
             kept: float = KEPT, rises: bool = False) -> Registered:
    yaw, shift, residual, rise = start.yaw, start.shift, np.inf, start.rise
    for _ in range(rounds):
        gaps, index = tree.query(_moved(source, yaw, shift, rise))
        near = np.argsort(gaps)[: int(kept * len(gaps))]
        residual = float(gaps[near].mean())
        a, b = source[near, :2], target[index[near], :2]
        ma, mb = a.mean(0), b.mean(0)
        cross = (a - ma).T @ (b - mb)
        yaw = float(np.arctan2(cross[0, 1] - cross[1, 0], cross[0, 0] + cross[1, 1]))
        shift = mb - turned(ma, yaw)
        if rises:
            rise = float((target[index[near], 2] - source[near, 2]).mean())
    return Registered(yaw, shift, residual, rise=rise)


def _differs(source: Cloud, target: Cloud, found: Registered, partly: bool) -> float:
    """Share of the cells of both footprints whose highest points are at other heights, or `partly`, that of source at
    a greater one."""
    placed = _moved(source.xyz, found.yaw, found.shift, found.rise)
    low = np.minimum(placed[:, :2].min(0), target.xyz[:, :2].min(0))
    shape = (np.floor((np.maximum(placed[:, :2].max(0), target.xyz[:, :2].max(0)) - low) / CELL) + 1).astype(int)
    tops = []
    for points in (placed, target.xyz):
        cell = np.floor((points[:, :2] - low) / CELL).astype(int)
        top = np.full(shape[0] * shape[1], -np.inf)
        np.maximum.at(top, cell[:, 0] * shape[1] + cell[:, 1], points[:, 2])
        tops.append(top)
    both = np.isfinite(tops[0]) & np.isfinite(tops[1])
    above = tops[0][both] - tops[1][both]
    return float(((above if partly else np.abs(above)) > HIGHER).mean()) if both.any() else 1.0
