"""Relocated successes: their things elsewhere, their skill parts with them, and a new way between.

After MimicGen (Mandlekar et al. 2023, arXiv 2310.17596) and DemoGen (Xue et al. 2025, arXiv 2502.16932).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from ws_node.options import option
from ws_rollouts.episode import STATE
from ws_rollouts.paths import direct_steps, targets
from ws_rollouts.task import Task
from ws_world_model.scene.donor import Donor
from ws_world_model.scene.drawing import Motion
from ws_world_model.scene.parts import GRASP, RELEASE, Part
from ws_world_model.scene.points import Cloud
from ws_world_model.scene.registration import register

NEAR_YAW = 0.25  # rad: donors that stood about so are preferred, as light and unseen sides do not turn with a thing
APART = 0.01  # m, least gap between things that are moved by themselves
TRIES = 20  # draws of places until the things are apart
WAVER = 0.8  # AR(1) coefficient of the hand's noise, as of the scripted operator
TWIST = 0.06  # rad, standard deviation of how a thing turns in the hand
ARRIVED = 0.001  # m short of where the donor ended that still counts
ASIDE, LEAST_ASIDE = 0.012, 0.003  # m beside it, where the task names no precision, and where it names less
PRESS_ON = 0.5  # of a full action, in the last direction, when the way is over and the arm still trails


@dataclass(frozen=True)
class RelocateOptions:
    """How far things are moved, and the hand that carries it out."""

    donors: int = option(20, "demonstrations that are moved, the first ones", low=1, high=1000)
    margin: float = option(0.05, "share by which the range of places is wider than the task's scatter", low=0.0,
                           high=1.0)
    slowest: float = option(0.4, "least speed of a way, in full actions", low=0.05, high=1.0)
    fastest: float = option(0.8, "greatest speed of a way, in full actions", low=0.05, high=1.0)
    noise: float = option(0.09, "standard deviation of the hand, in full actions", low=0.0, high=1.0)
    skill_noise: float = option(0.5, "share of it that is left in skill parts", low=0.0, high=1.0)
    slip: float = option(0.002, "standard deviation of where a thing lies in the hand that closed on it", unit="m",
                         low=0.0, high=0.02)


@dataclass(frozen=True)
class Relocation:
    """A donor, the motion of each of its groups, the seed of the hand, and x, y in m and yaw in rad by which what it
    carries slips."""

    donor: Donor
    motions: list[Motion]
    seed: tuple[int, ...]
    slip: np.ndarray = field(default_factory=lambda: np.zeros(3))


class Places:
    """Where each moving thing of the donors stood, and where else it might.

    A thing's range is every place that could lie in a range of the task's scatter which holds all places seen: with
    one demonstration twice as wide as with many. Where the task says that things lie turned by half a turn, too, half
    of the goals are.
    """

    def __init__(self, task: Task, donors: list[Donor], options: RelocateOptions):
        self._half = np.asarray(task.scatter) * (1.0 + options.margin)
        self._slip = np.array([options.slip, options.slip, TWIST if options.slip else 0.0])
        self._half_turns = task.half_turns
        self.donors = donors
        self.count = max(len(moving(donor)) for donor in donors)
        self.centers = [np.array([donor.centers[_nth(donor, n)] for donor in donors]) for n in range(self.count)]
        self.yaws = [_yaws(donors, n) for n in range(self.count)]  # against the first; 0 for what is not the same

    def draw(self, rng: np.random.Generator) -> tuple[Donor, list[Motion]]:
        """A donor and a motion for each of its groups. Raises ValueError where its things would not stand apart."""
        for _ in range(TRIES):
            goals = [self._goal(n, rng) for n in range(self.count)]
            half = np.pi * rng.integers(2) if self._half_turns else 0.0
            weight = np.exp(-(((self.yaws[0] - goals[0][2]) / NEAR_YAW) ** 2)) + 1e-6
            index = int(rng.choice(len(self.donors), p=weight / weight.sum()))
            donor = self.donors[index]
            own = {}
            for n, group in enumerate(moving(donor)):
                turn = goals[n][2] - self.yaws[n][index] + half
                own[group] = Motion.about(donor.centers[group], goals[n][:2], float(turn))
            motions = [own.get(g) or own[_nearest(donor, g, list(own))] for g in range(len(donor.groups))]
            if _apart(donor, motions):
                return donor, motions
        raise ValueError("things would stand in each other")

    def slip(self, rng: np.random.Generator) -> np.ndarray:
        """x, y in m and yaw in rad."""
        return self._slip * rng.standard_normal(3)

    def _goal(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """x, y, yaw."""
        seen = np.column_stack([self.centers[n], self.yaws[n]])
        low, high = seen.max(0) - 2 * self._half, seen.min(0) + 2 * self._half
        middle = (low + high) / 2  # a thing whose footprint was seen badly may have been farther off
        half = np.maximum((high - low) / 2, self._half)
        return rng.uniform(middle - half, middle + half)


class Hand:
    """Carries a relocation out, closed loop: ask it for the actions on each locked target.

    `step` is the donor's step that is being done, `opening` what the gripper was there, `part` the part's number;
    `over` says that no way is left.
    """

    def __init__(self, relocation: Relocation, task: Task, options: RelocateOptions):
        donor = relocation.donor
        self._options = options
        self._scale = np.asarray(task.action_scale)
        self._rng = np.random.default_rng(relocation.seed)
        self._speed = self._rng.uniform(options.slowest, options.fastest)
        self._noise = np.zeros(len(self._scale))
        path = targets(donor.episode)
        low, high = np.asarray(task.workspace_low), np.asarray(task.workspace_high)
        self._steps = [direct_steps(donor.episode, part.start, part.end, task) for part in donor.parts]
        self._ways = [np.clip(relocation.motions[group](path[steps]), low, high)
                      for steps, group in zip(self._steps, donor.part_groups, strict=True)]
        grasped = min((part.events[GRASP] for part in donor.parts if GRASP in part.events), default=np.inf)
        self._carries = [(steps > grasped) & (RELEASE in part.events)
                         for steps, part in zip(self._steps, donor.parts, strict=True)]
        self._grip = donor.episode.action[:, -1]
        self._openings = donor.episode.state[:, STATE["gripper"]][:, 0]
        self._donor, self.part, self._index = donor, 0, 0
        self._push = final_direction(donor.parts[-1], path) @ relocation.motions[donor.part_groups[-1]].rotation.T
        self.inside = False  # a skill part, not a way between
        self.opening = float(self._openings[0])

    @property
    def over(self) -> bool:
        return self.part == len(self._ways)

    @property
    def step(self) -> int:
        """0 before the first part."""
        if self.over:
            return len(self._donor.episode)
        if self._index:
            return int(self._steps[self.part][self._index - 1]) + 1
        return self._donor.parts[self.part - 1].end if self.part else 0

    def act(self, target: np.ndarray, held: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """What the hand means to do on the locked target (3,) m, and what it does, as it wavers: (A,) float32 each.

        What lies elsewhere in the hand than in the donor's, by `held` (3,) m, is brought to where the donor's was. The
        first is to be imitated: noise then leads off the way, but is not learned (DART, Laskey et al. 2017, arXiv
        1703.09327).
        """
        steady = self._options.skill_noise if self.inside else 1.0
        self._noise = WAVER * self._noise + np.sqrt(1 - WAVER**2) * self._options.noise * self._rng.standard_normal(
            len(self._scale))
        meant = np.zeros(len(self._scale) + 1, np.float32)
        if self.over:
            meant[:-1] = np.clip(PRESS_ON * self._push[: len(self._scale)], -1, 1)
            return meant, meant
        way, steps = self._ways[self.part], self._steps[self.part]
        goal = way[self._index] - held * self._carries[self.part][self._index]
        gap = (goal - target)[: len(self._scale)] / self._scale
        meant[:-1] = np.clip(gap, -self._speed, self._speed)
        if np.abs(gap).max() <= 1.0:
            self.inside = True
            meant[-1] = self._grip[steps[self._index]]
            self.opening = float(self._openings[steps[self._index] + 1])
            self._index += 1
            if self._index == len(way):
                self.part, self._index, self.inside = self.part + 1, 0, False
        done = meant.copy()
        done[:-1] = np.clip(meant[:-1] + steady * self._noise, -1, 1)
        return meant, done


def relocations(places: Places, seed: tuple[int, ...]) -> Iterator[Relocation | None]:
    """One after the other, without end; None for one whose things would not stand apart."""
    number = 0
    while True:
        number += 1
        rng = np.random.default_rng([*seed, number])
        try:
            yield Relocation(*places.draw(rng), (*seed, number, 1), places.slip(rng))
        except ValueError:
            yield None


def moving(donor: Donor) -> list[int]:
    """The groups that something is done to, in the order of the parts."""
    return list(dict.fromkeys(donor.part_groups))


def final_direction(part: Part, path: np.ndarray) -> np.ndarray:
    """Unit vector (3,) of the last motion of a part's targets, zeros where it rested."""
    way = path[part.end - 1] - path[max(part.start, part.end - 4)]
    length = np.linalg.norm(way)
    return way / length if length > 0.003 else np.zeros(3)


def arrived(donor: Donor, motion: Motion, tools: np.ndarray, task: Task) -> np.ndarray:
    """Whether tools (..., 3) m, or what they held, are where the donor's was at its end: (...) bool.

    As exactly as the task asks for; `motion`: of the thing that the last part is about.
    """
    gap = motion.back(tools) - donor.episode.state[-1, STATE["position"]]
    way = final_direction(donor.parts[-1], targets(donor.episode))
    along = gap @ way
    aside = np.linalg.norm(gap - along[..., None] * way, axis=-1)
    allowed = 2 * task.handling.precision if task.handling.thing else ASIDE
    return (along > -ARRIVED) & (aside < max(allowed, LEAST_ASIDE))


def _nth(donor: Donor, n: int) -> int:
    groups = moving(donor)
    return groups[min(n, len(groups) - 1)]


def _cloud(donor: Donor, n: int) -> Cloud:
    """All points of the n-th moving thing as it stood at first."""
    group = _nth(donor, n)
    clouds = [cloud[cloud.born == 0] for cloud in donor.groups[group].values()]
    clouds += [cloud for body in donor.bodies if body.group == group for cloud in body.clouds.values()]
    return Cloud.join(clouds)


def _yaws(donors: list[Donor], n: int) -> np.ndarray:
    """How the n-th moving thing of each donor is turned against the first's, (D,) rad."""
    first = _cloud(donors[0], n)
    found = [register(first, _cloud(donor, n)) for donor in donors[1:]]
    return np.array([0.0, *(each.yaw if each.fits else 0.0 for each in found)])


def _nearest(donor: Donor, group: int, others: list[int]) -> int:
    return min(others, key=lambda other: np.linalg.norm(donor.centers[group] - donor.centers[other]))


def _apart(donor: Donor, motions: list[Motion]) -> bool:
    """Whether things with motions of their own keep their distance on the table."""
    groups = moving(donor)
    if len(groups) < 2:  # as in most tasks, and its points are many
        return True
    feet = []
    for n, group in enumerate(groups):
        points = _cloud(donor, n).xyz[::11]
        feet.append(motions[group](points)[:, :2])
    trees = [cKDTree(each) for each in feet]
    return all(not trees[a].sparse_distance_matrix(trees[b], APART).nnz
               for a in range(len(trees)) for b in range(a))

