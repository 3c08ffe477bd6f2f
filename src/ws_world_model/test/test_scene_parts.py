"""What is done close to a thing, by the hand's way and the gripper alone."""

import numpy as np
import pytest

from ws_rollouts.episode import STATE
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.scene.parts import GRASP, PRESS, RELEASE, skill_parts

HERE, THERE, NEAR = (0.30, 0.10), (0.30, -0.07), (0.31, 0.08)
HIGH, LOW = 0.2, 0.1


def legs(*corners):
    """Positions from corner to corner in steps of 1 cm at most."""
    way = [np.array(corners[0], float)]
    for corner in corners[1:]:
        gap = np.array(corner) - way[-1]
        count = max(1, int(np.ceil(np.linalg.norm(gap) / 0.01)))
        way += [way[-1] + gap * (i + 1) / count for i in range(count)] if gap.any() else [way[-1]] * 4
    return np.array(way)


def episode_along(positions, grips=(), task="pick_place", **values):
    """An episode along positions (T + 1, 3); `grips`: first step, last step, class."""
    episode = make_episode(len(positions) - 1, task=task, demonstration=True, **values)
    episode.state[:] = 0.0
    episode.state[:, STATE["position"]] = positions
    episode.action[:, -1] = 0.0
    for first, last, kind in grips:
        episode.action[first : last + 1, -1] = kind
    return episode


def steps_at(positions, place, z=LOW):
    return np.flatnonzero(np.linalg.norm(positions - (*place, z), axis=1) < 1e-6)


def carried(goal, *more):
    """A way over HERE down to it, with a rest, and on to `goal`: positions, steps at rest here and there."""
    way = legs((0.25, 0.0, HIGH), (*HERE, HIGH), (*HERE, LOW), (*HERE, LOW), (*HERE, HIGH), (*goal, HIGH), (*goal, LOW),
               (*goal, LOW), *more)
    return way, steps_at(way, HERE), steps_at(way, goal)


def test_a_press_begins_where_the_hand_comes_near_and_ends_with_the_episode():
    way = legs((0.2, 0.0, HIGH), (*HERE, HIGH), (*HERE, LOW))
    part, = skill_parts(episode_along(way, task="pushing"), load_task("pushing"))
    assert part.events == {PRESS: len(way) - 1} and part.end == len(way) - 1
    aside = np.linalg.norm(way[:, :2] - HERE, axis=1)
    assert aside[part.start] <= 0.03 < aside[part.start - 1]
    np.testing.assert_allclose(part.place, (*HERE, LOW), atol=1e-6)


def test_a_grasp_alone_lasts_to_the_end():
    way, here, _ = carried(HERE)
    part, = skill_parts(episode_along(way, [(here[0], here[2], -1)]), load_task("sorting"))
    assert part.events == {GRASP: here[2] + 1} and part.end == len(way) - 1


def test_a_grasp_and_a_release_are_two_parts_with_a_way_between():
    way, here, there = carried(THERE, (*THERE, HIGH))
    episode = episode_along(way, [(here[0], here[2], -1), (there[0], there[2], 1)])
    first, second = skill_parts(episode, load_task("pick_place"))
    assert first.events == {GRASP: here[2] + 1} and second.events == {RELEASE: there[0]}
    assert 0 < first.start <= here[0] and here[2] < first.end < second.start <= there[0]
    assert second.end == len(way) - 1
    np.testing.assert_allclose((first.place, second.place), ((*HERE, LOW), (*THERE, LOW)), atol=1e-6)
    aside = np.linalg.norm(way[first.end : second.start, None, :2] - [HERE, THERE], axis=2)
    assert (aside > 0.03 - 1e-9).all(), "all steps near a thing belong to its part"


def test_a_release_hardly_away_is_one_part_with_the_grasp():
    way, here, there = carried(NEAR)
    part, = skill_parts(episode_along(way, [(here[0], here[2], -1), (there[0], there[2], 1)]), load_task("pick_place"))
    assert part.events == {GRASP: here[2] + 1, RELEASE: there[0]} and part.end == len(way) - 1


def test_of_several_grasps_the_one_that_led_to_the_release_counts():
    way, here, there = carried(THERE)
    grips = [(here[0] - 6, here[0] - 5, -1), (here[0] - 3, here[0] - 2, 1), (here[0], here[2], -1),
             (there[0], there[2], 1)]
    first, second = skill_parts(episode_along(way, grips), load_task("pick_place"))
    assert first.events == {GRASP: here[2] + 1} and second.events == {RELEASE: there[0]}


@pytest.mark.parametrize(("values", "task", "message"), [
    ({"outcome": "timeout"}, "pushing", "is no success"), ({"outcome": "failure"}, "pick_place", "is no success"),
    ({}, "pick_place", "the gripper never closes"),
])
def test_what_is_missing_is_said(values, task, message):
    episode = episode_along(carried(THERE)[0], **values)
    with pytest.raises(ValueError, match=f"{episode.episode_id}: {message}"):
        skill_parts(episode, load_task(task))
