"""Places a donor's things where an episode's own first exposure shows them, so that what comes after can be drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ws_rollouts.episode import VIEWS
from ws_rollouts.rgbd import RgbdStream
from ws_world_model.scene.donor import SAME, Donor, Held
from ws_world_model.scene.drawing import STILL, Motion
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.points import ALWAYS, Cloud
from ws_world_model.scene.registration import Registered, register
from ws_world_model.scene.shots import Shot
from ws_world_model.scene.visibility import seen_through

TRIED = 6  # donors that an episode is compared with, the newest
TURN = 0.002  # m for each rad: of donors that fit as well the one that stood about so, as light does not turn
FREE = 0.012  # m behind a donor's point that the start must show something for it not to be there: it is placed to a mm
INHERITS = 0.006  # m from a donor's point in which an own point shares its fate
OTHER = {"side": "wrist", "wrist": "side"}
NO_DEPTH, NO_THING, NO_FIT = "no depth at the start", "no thing at the start", "no donor fits"


Pairs = dict[int, tuple[int, Registered]]  # group of a donor -> the own thing that it is, and that one's motion to it


@dataclass(frozen=True)
class Placed:
    """A donor that also holds the episode's own points, and the motion of each of its groups to the episode's scene.

    residual: mean distance of what was compared, m.
    """

    donor: Donor
    motions: list[Motion]
    residual: float


@dataclass(frozen=True)
class Matched:
    """A first shot, the things in it, what the hand holds, and the donors that fit, the best one first."""

    shot: Shot
    own: list[dict[str, Cloud]]
    held: Held | None
    fits: list[tuple[Donor, Pairs]]

    def motion(self, group: int) -> Motion:
        """From where a group of the best donor stood to where it stands here. Raises KeyError for one that is not here.
        """
        return _inverse(self.fits[0][1][group][1])

    @property
    def residual(self) -> float:
        """Of the best donor, m."""
        return float(np.mean([found.residual for _, found in self.fits[0][1].values()]))


class Placer:
    """`refused`: episodes that nothing was placed for, by reason."""

    def __init__(self, memory: SceneMemory):
        self._memory = memory
        self.refused: Counter[str] = Counter()

    def place(self, episode_id: str, rgbd: dict[str, RgbdStream]) -> Placed | None:
        """By the first exposure of each view in `rgbd`; the episode itself is no donor."""
        found = self.match(episode_id, rgbd)
        if isinstance(found, str):
            self.refused[found] += 1
            return None
        memory, shot = self._memory, found.shot
        margin = max(memory.margin, FREE)
        donor, motions = _joined(found, lambda xyz: seen_through(xyz, [shot], margin))
        return Placed(_with_held(donor, found.held, shot), motions, found.residual)

    def match(self, episode_id: str, rgbd: dict[str, RgbdStream]) -> Matched | str:
        """The donors whose things stand at the start, or why there are none."""
        memory = self._memory
        if any(view not in rgbd or not len(rgbd[view]) or not rgbd[view].depth[0].any() for view in VIEWS):
            return NO_DEPTH
        shot = memory.unprojector.shot(memory.corrected(rgbd), dict.fromkeys(VIEWS, 0))
        own, held = memory.builder().things([shot])
        if not own:
            return NO_THING
        donors = [donor for donor in memory.donors if donor.episode.episode_id != episode_id][-TRIED:]
        fits: list[tuple[float, Donor, Pairs]] = []
        for donor in donors:
            pairs = _matched(donor, own)
            if pairs is not None:
                gaps = [found.residual + TURN * abs(found.yaw) for _, found in pairs.values()]
                fits.append((float(np.mean(gaps)), donor, pairs))
        if not fits:
            return NO_FIT
        return Matched(shot, own, held, [each[1:] for each in sorted(fits, key=lambda each: each[0])])


def _matched(donor: Donor, own: list[dict[str, Cloud]]) -> Pairs | None:
    """Group of the donor -> the own thing that it is, and the own thing's motion to it; None where one that moves has
    none."""
    pairs: Pairs = {}
    needed = list(dict.fromkeys(donor.part_groups))
    rest = [group for group in range(len(donor.groups)) if group not in needed]
    clouds = [Cloud.join(thing.values()) for thing in own]
    for group in needed + rest:
        aim = first_look(donor, group)
        free = [n for n in range(len(own)) if n not in [taken for taken, _ in pairs.values()]]
        found = [(n, register(clouds[n], aim, partly=True)) for n in free]
        fits = [each for each in found if each[1].fits]
        if fits:
            pairs[group] = min(fits, key=lambda each: each[1].residual)
        elif group in needed:
            return None
    return pairs


def first_look(donor: Donor, group: int) -> Cloud:
    """All points of a group as it stood at first."""
    clouds = [cloud[cloud.born == 0] for cloud in donor.groups[group].values()]
    clouds += [cloud for body in donor.bodies if body.group == group for cloud in body.clouds.values()]
    return Cloud.join(clouds)


def _joined(matched: Matched, free: Callable[[np.ndarray], np.ndarray]) -> tuple[Donor, list[Motion]]:
    """The best donor with the episode's own points before its own, and after those what other donors saw of its things.

    `free` says which points (N, 3) m of the episode's scene it looks through at the start.
    """
    (donor, pairs), *others = matched.fits
    own = matched.own
    groups, motions, bodies = [], [], [replace(body) for body in donor.bodies]
    for group, theirs in enumerate(donor.groups):
        if group not in pairs:  # not there, or not seen to be: it stays away
            groups.append({view: Cloud.join([]) for view in VIEWS})
            motions.append(STILL)
            continue
        number, found = pairs[group]
        there, back = _motion(found), _inverse(found)
        motions.append(back)
        mine = [body for body in bodies if body.group == group]
        fates = _Fates([theirs, *(body.clouds for body in mine)])
        first = fates.share({view: cloud.xyz.astype(float) for view, cloud in own[number].items()}, own[number], there)
        full = [_filled(*each, back, free) for each in zip(first, fates.parts, strict=True)]
        for other, same in others:
            group_of = next((g for g, (n, _) in same.items() if n == number), None)
            if group_of is not None:
                placed = _inverse(same[group_of][1])
                more = {view: cloud[cloud.born == 0] for view, cloud in other.groups[group_of].items()}
                more = fates.share({v: placed(cloud.xyz.astype(float)) for v, cloud in more.items()}, more, there)
                full = [_filled(*each, back, free) for each in zip(full, more, strict=True)]
        known = {view: Cloud.join(part[view] for part in first) for view in VIEWS}
        groups.append({view: _added(full[0][view], known[other]) for view, other in OTHER.items()})
        for body, clouds in zip(mine, full[1:], strict=True):
            body.clouds = clouds
    taken = {number for number, _ in pairs.values()}
    for number, thing in enumerate(own):  # what no donor knows stands still
        if number not in taken:
            groups.append({view: _added(thing[view], thing[other]) for view, other in OTHER.items()})
            motions.append(STILL)
    centers = donor.centers + [np.zeros(2)] * (len(groups) - len(donor.groups))
    return replace(donor, groups=groups, bodies=bodies, centers=centers), motions


class _Fates:
    """Parts of one thing, view -> Cloud each: the first stays, the others move with the hand."""

    def __init__(self, parts: list[dict[str, Cloud]]):
        self.parts = parts
        everything = Cloud.join(cloud for part in parts for cloud in part.values())
        self._tree = cKDTree(everything.xyz)
        of = np.concatenate([np.full(sum(map(len, part.values())), n) for n, part in enumerate(parts)])
        self._of, self._gone = np.append(of, 0), np.append(everything.gone, ALWAYS)

    def share(self, places: dict[str, np.ndarray], clouds: dict[str, Cloud], there: Motion) -> list[dict[str, Cloud]]:
        """Points of the episode's scene, by view (N, 3) m with colors, moved `there`, by the part that each belongs to:
        that of the nearest known point, whose end it shares."""
        out: list[dict[str, Cloud]] = [{} for _ in self.parts]
        for view, cloud in clouds.items():
            xyz = there(places[view])
            gap, nearest = self._tree.query(xyz, distance_upper_bound=INHERITS)
            part = np.where(np.isfinite(gap), self._of[nearest], 0)
            gone = np.where(np.isfinite(gap), self._gone[nearest], ALWAYS).astype(np.int16)
            for n, each in enumerate(out):
                chosen = part == n
                each[view] = Cloud.of(xyz[chosen], cloud.rgb[chosen])
                each[view].gone = gone[chosen]
        return out


def _motion(found: Registered) -> Motion:
    return Motion(float(found.shift[0]), float(found.shift[1]), found.yaw)


def _inverse(found: Registered) -> Motion:
    return Motion.about(found.shift, np.zeros(2), -found.yaw)


def _filled(first: dict[str, Cloud], more: dict[str, Cloud], back: Motion,
            free: Callable[[np.ndarray], np.ndarray]) -> dict[str, Cloud]:
    """What `more` has where `first` has nothing, but for what the start looks through, unless it comes later."""
    out = {}
    for view, cloud in more.items():
        if len(cloud):
            cloud = cloud[~free(back(cloud.xyz.astype(float))) | (cloud.born > 0)]
        out[view] = _added(first[view], cloud)
    return out


def _added(cloud: Cloud, more: Cloud) -> Cloud:
    if not len(cloud) or not len(more):
        return Cloud.join([cloud, more])
    far = ~np.isfinite(cKDTree(cloud.xyz).query(more.xyz, distance_upper_bound=SAME)[0])
    return Cloud.join([cloud, more[far | (more.born > 0)]])


def _with_held(donor: Donor, held: Held | None, shot: Shot) -> Donor:
    """What the hand holds from the start as this episode shows it, filled up by the donor's."""
    bodies = []
    for body in donor.bodies:
        if body.group is None and held is not None:
            own = {view: replace(cloud, xyz=(cloud.xyz - shot.tool + body.tool).astype(np.float32))
                   for view, cloud in held.clouds.items()}
            body = replace(body, clouds={view: _added(own[view], body.clouds[view]) for view in VIEWS})
        bodies.append(body)
    return replace(donor, bodies=bodies)
