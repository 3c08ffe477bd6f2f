"""The skill parts of a success: what was done close to a thing, apart from the ways between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ws_rollouts.episode import STATE, Episode
from ws_rollouts.task import Task

REACH = 0.03  # m, in x and y from where it happens: a part begins and ends there
PRESS, GRASP, RELEASE = "press", "grasp", "release"
CLOSE, OPEN = -1.0, 1.0  # gripper classes of an action


@dataclass(frozen=True)
class Part:
    """Actions `start` .. `end - 1` of an episode, done about one place.

    events: kind -> step at which the fingers touched, had closed, or began to open; place (3,) m: of gripper_link at
    the first of them.
    """

    start: int
    end: int
    events: dict[str, int]
    place: np.ndarray


def skill_parts(episode: Episode, task: Task) -> list[Part]:
    """The parts of a successful episode in order; one that ends in contact, or a grasp and perhaps a release.

    Raises ValueError that says what is missing.
    """
    if not episode.success:
        raise ValueError(f"{episode.episode_id}: is no success")
    position = episode.state[:, STATE["position"]].astype(float)
    last = len(episode)
    if task.gripper == "fixed":
        return [Part(_enters(position, last), last, {PRESS: last}, position[last])]
    grip = episode.action[:-1, -1]
    closings, openings = _runs(grip, CLOSE), _runs(grip, OPEN)
    if not closings:
        raise ValueError(f"{episode.episode_id}: the gripper never closes")
    before = [run for run in closings if not openings or run[0] < openings[-1][0]] or closings
    grasp = before[-1]
    release = next((run for run in openings if run[0] > grasp[1]), None)
    left = np.flatnonzero(_aside(position, grasp[0]) > REACH)
    end = next((int(i) for i in left if i >= grasp[1]), last)
    first = Part(_enters(position, grasp[0]), end if release else last, {GRASP: grasp[1]}, position[grasp[0]])
    if release is None:
        return [first]
    start = _enters(position, release[0])
    if start <= first.end:  # hardly a way between
        return [Part(first.start, last, {**first.events, RELEASE: release[0]}, first.place)]
    return [first, Part(start, last, {RELEASE: release[0]}, position[release[0]])]


def _aside(position: np.ndarray, step: int) -> np.ndarray:
    return np.linalg.norm(position[:, :2] - position[step, :2], axis=1)


def _enters(position: np.ndarray, step: int) -> int:
    """The first step from which on the tool stays within `REACH` until `step`."""
    away = np.flatnonzero(_aside(position, step)[:step] > REACH)
    return int(away[-1]) + 1 if len(away) else 0


def _runs(grip: np.ndarray, kind: float) -> list[tuple[int, int]]:
    """First step of each run of this class, and the first after it."""
    inside = np.concatenate([[False], grip == kind, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
