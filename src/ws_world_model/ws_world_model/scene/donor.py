"""What is kept of one success: its things as colored points, how they move, and the robot's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ws_rollouts.episode import STATE, VIEWS, Episode
from ws_world_model.scene.grasped import (
    LOOKS,
    completed,
    in_the_air,
    left_behind,
    moved_in_hand,
    seen_before,
    vanished,
)
from ws_world_model.scene.parts import GRASP, PRESS, RELEASE, Part
from ws_world_model.scene.points import Cloud, absent, connected, merged, middle, share
from ws_world_model.scene.registration import turned
from ws_world_model.scene.robot import Arm, Hand
from ws_world_model.scene.shots import Shot
from ws_world_model.scene.table import HIGHEST, Region, height
from ws_world_model.scene.visibility import seen_through

VOXEL = 0.001  # m, of points
SAME = 0.004  # m, within which one view's points stand for the other's: each camera sees its own light
GROWS = 0.008  # m from what is known of a thing in which something new, and what hangs on it, is taken for a part
LIFTED = 0.015  # m, by which a tool that has lifted its thing is higher
ROBOT_EDGE = 9  # px around the robot's own pixels that are not looked at
COARSE = 0.006  # m, of the voxels that connect a thing
LEAST = 30  # such voxels that make a thing
GAP = 0.012  # m, between things that count as one
STANDS = 0.025  # m over the table that a thing's lowest point is at most
FUSED = 10  # shots before the first part that a thing is made of
PATCH = 0.018  # m, radius of what a fingertip presses down
SINKS = 0.006  # m, below the fingertip's lowest place, that still goes down with it
HAND = np.array([[0.0, 0.17], [-0.06, 0.06], [-0.06, 0.06]])  # m in gripper_link, where something may be held
HELD = 1000  # measured points that make something held
STEADY = 0.6  # share of the shots in which a voxel of the hand is filled where something is held
BEYOND = 0.02  # m around a moving thing in which nothing new is taken for the scene


class SceneError(ValueError):
    """An episode that the scene memory cannot use; `reason` is one of few texts, to count."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass
class Body:
    """Points that move by the gripper from step `start` to step `end` of the donor; before and after they rest.

    kind: "press" (goes down with the fingertips, as far as they are below `top`, m) or "grasp" (goes with the tool).
    tool (3,) m: gripper_link when `clouds`, by view, are as they are. group: whose motion it shares; None: the hand's.
    turn rad, shift (3,) m: how it moved about the tool as fingers closed on it and lifted it; turn is None where that
    could not be seen. across (3,): unit vector along which they closed.
    """

    kind: str
    clouds: dict[str, Cloud]
    start: int
    end: int
    tool: np.ndarray
    top: float
    group: int | None
    turn: float | None = None
    shift: np.ndarray = field(default_factory=lambda: np.zeros(3))
    across: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass
class Donor:
    """One success. groups: things that move on their own, view -> Cloud each, at the places that they had.

    steps (M,): the donor's step at each of M shots, which the clouds' moments count; part_groups: the thing that each
    part is about; centers: (2,) m, of each group's footprint; arms, hands: the robot's pixels in each shot.
    """

    episode: Episode  # without what its depth cameras saw
    parts: list[Part]
    steps: np.ndarray
    groups: list[dict[str, Cloud]]
    centers: list[np.ndarray]
    part_groups: list[int]
    bodies: list[Body] = field(default_factory=list)
    start: np.ndarray | None = None  # joints (6,) rad in the first shot
    arms: list[Arm] = field(default_factory=list)
    hands: list[Hand] = field(default_factory=list)


class DonorBuilder:
    """Splits the shots of one success into things; `reach` m of the fingertips along the tool."""

    def __init__(self, plane: np.ndarray, margin: float, region: Region, reach: float, fixed: bool):
        self._plane, self._margin, self._region = plane, margin, region
        self._reach, self._fixed = reach, fixed

    def build(self, episode: Episode, parts: list[Part], shots: list[Shot]) -> Donor:
        """Raises SceneError where no thing stands where something was done."""
        steps = np.searchsorted(episode.stamp, [shot.stamp for shot in shots], "right") - 1
        before = [i for i in range(len(shots)) if steps[i] < parts[0].start] or [0]
        chosen = sorted({*np.linspace(0, len(before) - 1, FUSED).astype(int).tolist(), len(before) - 1})
        start = [shots[before[i]] for i in chosen]
        clouds, in_hand = self.things(start)
        if not clouds:
            raise SceneError("no thing stands on the table", episode.episode_id)
        donor = Donor(replace(episode, rgbd={}), parts, steps, clouds, [middle(c, COARSE) for c in clouds], [])
        self._assign(donor)
        if in_hand is not None:
            donor.bodies.append(Body(GRASP, in_hand.clouds, -1, len(episode) + 1, start[0].tool, 0.0, None))
        self._follow(donor, shots)
        for group in donor.groups:
            share(group, SAME)
        for body in donor.bodies:
            share(body.clouds, SAME)
        return donor

    # at the start

    def things(self, shots: list[Shot]) -> tuple[list[dict[str, Cloud]], Held | None]:
        """What stands apart on the table, view -> Cloud each, and what a closed hand holds from the start."""
        in_hand = self._in_hand(shots) if self._fixed else None
        own = {view: merged(*self._fused(view, shots, in_hand), VOXEL) for view in VIEWS}
        label = self._things(np.concatenate([own[v][0] for v in VIEWS]))
        split = np.split(label, [len(own[VIEWS[0]][0])])
        number = dict(zip(VIEWS, split, strict=True))
        return [{v: Cloud.of(own[v][0][number[v] == n], own[v][1][number[v] == n]) for v in VIEWS}
                for n in range(label.max(initial=-1) + 1)], in_hand

    def stands(self, shot: Shot, view: str) -> np.ndarray:
        """(H, W) bool: pixels of things, not of the robot, its surroundings, the table or the walls."""
        seen = shot.views[view]
        above = seen.points[..., 2] - height(self._plane, seen.points)
        robot = cv2.dilate((seen.link >= 0).astype(np.uint8), np.ones((ROBOT_EDGE, ROBOT_EDGE))) > 0
        return (seen.depth > 0) & ~robot & (above > self._margin) & (above < HIGHEST) & self._region.holds(seen.points)

    def cut(self, shot: Shot, view: str) -> tuple[np.ndarray, np.ndarray]:
        mask, seen = self.stands(shot, view), shot.views[view]
        return seen.points[mask], seen.color[mask]

    def _fused(self, view: str, shots: list[Shot], in_hand: Held | None) -> tuple[np.ndarray, np.ndarray]:
        xyz, rgb = [], []
        for shot in shots:
            points, colors = self.cut(shot, view)
            if in_hand is not None:
                keep = ~_within(_in_frame(points, shot), in_hand.box)
                points, colors = points[keep], colors[keep]
            xyz.append(points)
            rgb.append(colors)
        return np.concatenate(xyz), np.concatenate(rgb)

    def _in_hand(self, shots: list[Shot]) -> Held | None:
        """What a closed hand holds from the start: it floats, and stays with the hand; world points of shot 0."""
        found = {view: [] for view in VIEWS}  # points in gripper_link, colors, number of the shot
        for number, shot in enumerate(shots):
            for view, seen in shot.views.items():
                above = seen.points[..., 2] - height(self._plane, seen.points)
                mask = (seen.depth > 0) & (seen.link < 0) & (above > self._margin) & (above < HIGHEST)
                found[view].append((seen.points[mask], seen.color[mask], np.full(mask.sum(), number)))
        first = np.concatenate([rows[0][0] for rows in found.values()])
        pieces = connected(first, COARSE)
        low = np.unique(pieces[first[:, 2] - height(self._plane, first) < STANDS])
        floats = first[~np.isin(pieces, low) & _within(_in_frame(first, shots[0]), HAND)]
        if len(floats) < LEAST:
            return None
        box = _box(_in_frame(floats, shots[0]))
        for view, rows in found.items():
            local = [_in_frame(points, shots[int(number[0])]) if len(points) else points for points, _, number in rows]
            found[view] = [np.concatenate(part) for part in (local, *list(zip(*rows, strict=True))[1:])]
        # a thing on the table that the hand passes is at another place of the hand in each shot
        inside = {view: _within(local, box) for view, (local, _, _) in found.items()}
        found = {view: [part[inside[view]] for part in parts] for view, parts in found.items()}
        cells = np.concatenate([np.floor(local / COARSE).astype(int) for local, _, _ in found.values()])
        number = np.concatenate([number for _, _, number in found.values()])
        known, index = np.unique(cells, axis=0, return_inverse=True)
        pairs = np.unique(np.column_stack([index.ravel(), number]), axis=0)
        steady = (np.bincount(pairs[:, 0], minlength=len(known)) > STEADY * len(shots))[index.ravel()]
        if steady.sum() < HELD:
            return None
        at, clouds = 0, {}
        for view, (local, rgb, _) in found.items():
            keep = steady[at : at + len(local)]
            at += len(local)
            xyz, rgb = merged(local[keep], rgb[keep], VOXEL)
            clouds[view] = Cloud.of(xyz @ shots[0].turn.T + shots[0].tool, rgb)
        return Held(clouds, box)

    def _things(self, xyz: np.ndarray) -> np.ndarray:
        """The number of the thing that each point belongs to, -1 for none."""
        raw = connected(xyz, COARSE)
        label = np.full(len(xyz), -1)
        above = xyz[:, 2] - height(self._plane, xyz)
        kept = []
        for number in range(1, raw.max(initial=0) + 1):
            mine = raw == number
            cells = len(np.unique(np.floor(xyz[mine] / COARSE).astype(int), axis=0))
            if cells >= LEAST and above[mine].min() < STANDS:
                kept.append(mine)
        trees = [cKDTree(xyz[mine][::7, :2]) for mine in kept]
        names = list(range(len(kept)))  # those that touch or lie on each other are one
        for a in range(len(kept)):
            for b in range(a):
                if names[a] != names[b] and trees[a].sparse_distance_matrix(trees[b], GAP).nnz:
                    old, new = names[a], names[b]
                    names = [new if name == old else name for name in names]
        for name, mine in zip(names, kept, strict=True):
            label[mine] = sorted(set(names)).index(name)
        return label

    def _assign(self, donor: Donor) -> None:
        """Which thing each part is about: the one nearest to the fingertips there, or below them at a release."""
        trees = [cKDTree(np.concatenate([c.xyz for c in group.values()])) for group in donor.groups]
        flat = [cKDTree(np.concatenate([c.xyz for c in group.values()])[:, :2]) for group in donor.groups]
        for number, part in enumerate(donor.parts):
            tip = part.place - (0, 0, self._reach)
            gaps = [tree.query(tip)[0] for tree in trees]
            if RELEASE in part.events and number:
                gaps = [tree.query(tip[:2])[0] for tree in flat]
                if len(gaps) > 1:
                    gaps[donor.part_groups[0]] += 1.0 if min(
                        g for i, g in enumerate(gaps) if i != donor.part_groups[0]) < 0.05 else 0.0
            nearest = int(np.argmin(gaps))
            if gaps[nearest] > 0.06:
                raise SceneError("nothing stands where it was done",
                                 f"{donor.episode.episode_id}, {100 * gaps[nearest]:.0f} cm off")
            donor.part_groups.append(nearest)

    # during the parts

    def _follow(self, donor: Donor, shots: list[Shot]) -> None:
        """When each point goes, what comes, and what moves with the hand."""
        first = next((i for i, step in enumerate(donor.steps) if step >= donor.parts[0].start), len(shots))
        later = range(first, len(shots))
        for group in donor.groups:
            for cloud in group.values():
                self._carve(cloud, shots, later)
        for part, group in zip(donor.parts, donor.part_groups, strict=True):
            if GRASP in part.events:
                self._grasped(donor, shots, part, group)
            elif PRESS in part.events and not donor.bodies:
                self._pressed(donor, part, group)
        for moment in later:
            self._renew(donor, shots, moment)

    def _carve(self, cloud: Cloud, shots: list[Shot], moments) -> None:
        for moment in moments:
            left = np.flatnonzero(cloud.gone > moment)
            cloud.gone[left[seen_through(cloud.xyz[left], shots[moment : moment + 1], self._margin)]] = moment

    def _grasped(self, donor: Donor, shots: list[Shot], part: Part, number: int) -> None:
        """The thing in the hand is what vanished from its place once the fingers had come."""
        group, start = donor.groups[number], part.events[GRASP]
        release = next((p.events[RELEASE] for p in donor.parts if RELEASE in p.events), len(donor.episode) + 1)
        tool = donor.episode.state[min(start, len(donor.episode)), STATE["position"]].astype(float)
        held = [shot for shot, step in zip(shots, donor.steps, strict=True) if start < step < release]
        later = [shot for shot in held if shot.tool[2] > tool[2] + LIFTED]
        everything = np.concatenate([c.xyz for c in group.values()])
        lost = np.concatenate([_lost_after(c, donor.steps, part.start) for c in group.values()])
        chosen = vanished(everything, lost, tool - (0, 0, self._reach), later)
        if chosen is None:
            return
        at, clouds = 0, {}
        for view, cloud in group.items():
            mine = chosen[at : at + len(cloud)]
            at += len(cloud)
            clouds[view] = Cloud.of(cloud.xyz[mine], cloud.rgb[mine])
            group[view] = cloud[~mine]
        looks = (later or held)[:LOOKS]
        carried = [(shot.tool, *self.cut(shot, view)) for shot in looks for view in VIEWS]
        moved = moved_in_hand(clouds, tool, [(points - place, colors) for place, points, colors in carried])
        body = Body(GRASP, {}, start, release, tool, 0.0, number, across=shots[0].turn[:, 1])
        if moved is not None:
            body.turn, body.shift = moved.yaw, np.append(moved.shift, moved.rise)
        first, moment = np.searchsorted(donor.steps, (part.start, start)).tolist()
        air = in_the_air(clouds, partial(self._laid, body), later)
        known = np.concatenate([cloud.xyz for each in (clouds, air) for cloud in each.values()])
        for view in VIEWS:
            cuts = [self.cut(shot, view) for shot in shots[first:moment] or shots[:1]]
            more = Cloud.of(*merged(*(np.concatenate(each) for each in zip(*cuts, strict=True)), VOXEL))
            clouds[view] = Cloud.join([clouds[view], seen_before(known, more, later)])
        rest = completed(clouds, air, shots[:moment:3], lambda points, _: points)
        air = completed(air, clouds, later[::3], lambda points, shot: self._carried(body, points, shot.tool))
        for view in VIEWS:  # fingers move a thing by millimeters as they close
            rest[view].gone[:], air[view].born[:] = moment, moment
            body.clouds[view] = Cloud.join([rest[view], air[view]])
        taken = np.concatenate([cloud.xyz for cloud in body.clouds.values()])
        for view, cloud in group.items():
            group[view] = cloud[~left_behind(cloud, taken, later)]
        donor.bodies.append(body)

    def _pressed(self, donor: Donor, part: Part, number: int) -> None:
        """What lies under the place where the fingertips ended goes down with them."""
        group, low = donor.groups[number], part.place[2] - self._reach - SINKS
        clouds, tops, rest = {}, [], {}
        for view, cloud in group.items():
            aside = np.linalg.norm(cloud.xyz[:, :2] - part.place[:2], axis=1)
            mine = (aside < PATCH) & (cloud.xyz[:, 2] > low)
            clouds[view], rest[view] = Cloud.of(cloud.xyz[mine], cloud.rgb[mine]), cloud[~mine]
            tops.append(cloud.xyz[mine & (aside < 0.006), 2])
        tops = np.concatenate(tops)
        if len(tops) < 10:
            return
        group.update(rest)
        donor.bodies.append(Body(PRESS, clouds, part.start, len(donor.episode) + 1, part.place,
                                 float(np.percentile(tops, 95)), number))

    def _renew(self, donor: Donor, shots: list[Shot], moment: int) -> None:
        """Take what this shot shows for the first time into the thing nearest to it.

        It has been there from the start, unless an earlier shot saw through its place.
        """
        shot, step = shots[moment], int(donor.steps[moment])
        moving = [(body, cKDTree(np.concatenate([c.xyz for c in body.clouds.values()])[::4])) for body in donor.bodies]
        for view in VIEWS:
            points, colors = merged(*self.cut(shot, view), VOXEL)
            keep = np.ones(len(points), bool)
            for body, tree in moving:
                gaps, _ = tree.query(self._back(donor, body, step, shot.tool, points), distance_upper_bound=BEYOND)
                keep &= ~np.isfinite(gaps)
                if body.kind == PRESS:
                    aside = np.linalg.norm(points[:, :2] - body.tool[:2], axis=1)
                    keep &= (aside > PATCH + 0.003) | (points[:, 2] < body.tool[2] - self._reach - 2 * SINKS)
            points, colors = points[keep], colors[keep]
            if not len(points):
                continue
            trees = [cKDTree(group[view].xyz[::9]) if len(group[view]) > 9 else None for group in donor.groups]
            gaps = np.stack([np.full(len(points), np.inf) if tree is None else tree.query(points)[0] for tree in trees])
            nearest, piece = np.argmin(gaps, axis=0), connected(points, COARSE)
            for number, group in enumerate(donor.groups):
                cloud = group[view]
                mine = nearest == number
                mine &= np.isin(piece, piece[mine & (gaps[number] < GROWS)])
                there = cloud.xyz[cloud.gone > moment]
                mine[mine] = absent(points[mine], there, 2 * VOXEL)
                if mine.any():
                    more = Cloud.of(points[mine], colors[mine])
                    more.born[seen_through(more.xyz, shots[:moment], self._margin)] = moment
                    group[view] = Cloud.join([cloud, more])

    @staticmethod
    def _carried(body: Body, points: np.ndarray, tool: np.ndarray) -> np.ndarray:
        """Points (N, 3) m of a body's clouds with the tool at (3,) m."""
        local = points - body.tool
        local[:, :2] = turned(local[:, :2], body.turn or 0.0)
        return local + body.shift + tool

    @staticmethod
    def _laid(body: Body, points: np.ndarray, tool: np.ndarray) -> np.ndarray:
        """Points (N, 3) m of a thing in the hand, seen with the tool at (3,) m, where a body's clouds are."""
        local = points - tool - body.shift
        local[:, :2] = turned(local[:, :2], -(body.turn or 0.0))
        return local + body.tool

    def _back(self, donor: Donor, body: Body, step: int, tool: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) m seen at a step, with the tool at (3,) m, as they would be where a body's clouds are."""
        if body.kind == PRESS:
            return points + (0.0, 0.0, max(0.0, body.top - (tool[2] - self._reach)))
        if step < body.start:
            return points
        if step >= body.end:
            tool = donor.episode.state[min(body.end, len(donor.episode)), STATE["position"]]
        return self._laid(body, points, tool)


@dataclass
class Held:
    """What a closed hand holds from the start, by view, and the room that it takes."""

    clouds: dict[str, Cloud]  # where they are in the first shot
    box: np.ndarray  # (3, 2) m in gripper_link


def _lost_after(cloud: Cloud, steps: np.ndarray, start: int) -> np.ndarray:
    gone = cloud.gone < len(steps)
    lost = np.zeros(len(cloud), bool)
    lost[gone] = steps[cloud.gone[gone]] >= start
    return lost


def _in_frame(points: np.ndarray, shot: Shot) -> np.ndarray:
    return (points - shot.tool) @ shot.turn


def _within(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    return ((points > box[:, 0]) & (points < box[:, 1])).all(1)


def _box(points: np.ndarray) -> np.ndarray:
    """(3, 2): what holds points (N, 3), and a bit around."""
    return np.column_stack([points.min(0) - COARSE, points.max(0) + COARSE])
