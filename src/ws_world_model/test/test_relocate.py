"""Successes are carried out again elsewhere: where to, by which hand, and what counts as done."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import STATE, SYNTHETIC, VIEWS
from ws_rollouts.paths import targets
from ws_rollouts.task import load_task
from ws_world_model.proposals.relocate import Hand, Places, RelocateOptions, Relocation, moving, relocations
from ws_world_model.proposals.stage import Stage
from ws_world_model.scene.arm import FreeArm
from ws_world_model.scene.drawing import STILL, Motion
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.parts import GRASP, RELEASE
from ws_world_model.scene.testing import pressed
from ws_world_model.store import RELOCATED

TASK = load_task("pushing", {"scatter": [0.03, 0.02, 0.3]})
OPTIONS = RelocateOptions(margin=0.0)
CENTERS = ((0.26, 0.00), (0.29, 0.02), (0.27, -0.02))


@pytest.fixture(scope="module")
def memory():
    memory = SceneMemory(TASK)
    for number, center in enumerate(CENTERS):
        memory.add(pressed(number, center, yaw=0.1 * number, task=TASK))
    return memory


def stage(memory, task=TASK, seed=0):
    made = Stage(memory, FreeArm(task), OPTIONS, seed)
    made.prepare()
    return made


def goals(places, count=200):
    """Where the first thing is brought to: x, y and yaw."""
    found = []
    for number in range(count):
        donor, motions = places.draw(np.random.default_rng([5, number]))
        n = [each is donor for each in places.donors].index(True)
        group = moving(donor)[0]
        center = motions[group](np.array([*donor.centers[group], 0.0]))[:2]
        found.append([*center, places.yaws[0][n] + motions[group].yaw])
    return np.array(found)


def test_a_single_demonstration_is_moved_by_twice_the_scatter(memory):
    places = Places(TASK, memory.donors[:1], OPTIONS)
    away = goals(places) - [*memory.donors[0].centers[0], 0.0]
    limit = 2 * np.array(TASK.scatter)
    assert (np.abs(away) <= limit + 1e-9).all() and (np.abs(away).max(0) > 0.9 * limit).all()


def test_many_demonstrations_tell_the_range_better(memory):
    places = Places(TASK, memory.donors, OPTIONS)
    seen = np.column_stack([[d.centers[0] for d in memory.donors], places.yaws[0]])
    found = goals(places)
    half = np.array(TASK.scatter)
    assert (found <= seen.min(0) + 2 * half + 1e-9).all() and (found >= seen.max(0) - 2 * half - 1e-9).all()
    assert (np.ptp(found, axis=0) >= 2 * half * 0.9).all(), "never less than the task's scatter"
    np.testing.assert_allclose(places.yaws[0], [0.0, 0.1, 0.2], atol=np.radians(3))


def test_donors_farther_apart_than_the_scatter_allows_still_give_places(memory):
    narrow = load_task("pushing", {"scatter": [0.001, 0.001, 0.01]})
    found = goals(Places(narrow, memory.donors, OPTIONS), 20)
    assert np.isfinite(found).all() and np.ptp(found, axis=0).max() < 0.05


def test_half_of_the_places_are_turned_by_half_a_turn_where_things_lie_so(memory):
    both = load_task("pushing", {"scatter": list(TASK.scatter), "half_turns": True})
    yaws = goals(Places(both, memory.donors[:1], OPTIONS))[:, 2]
    turned = yaws > np.pi / 2
    assert 0.35 < turned.mean() < 0.65
    limit = 2 * TASK.scatter[2]
    assert (np.abs(np.where(turned, yaws - np.pi, yaws)) <= limit + 1e-9).all()


def test_the_same_seed_gives_the_same_relocations(memory):
    places = Places(TASK, memory.donors, OPTIONS)

    def first(*seed):
        return [(each.donor.episode.episode_id, each.motions, each.seed)
                for each in islice(relocations(places, seed), 6)]

    assert first(1, 2) == first(1, 2) != first(1, 3)
    assert len({str(each) for each in first(1, 2)}) == 6


def carry_out(relocation, most=200):
    """Targets (N, 3) that the hand leads to when the driver does as it is told, its steps and actions."""
    hand = Hand(relocation, TASK, OPTIONS)
    target, rows = np.array([0.215, 0.0, 0.235]), []
    while not hand.over:
        _, done = hand.act(target)
        target = target + done[:-1] * TASK.action_scale
        rows.append((target, hand.step, done))
        assert len(rows) < most, "it never ends"
    return tuple(np.array(each) for each in zip(*rows, strict=True))


def test_the_hand_goes_the_whole_way_of_each_part_elsewhere(memory):
    donor, motion = memory.donors[0], Motion.about(np.array(CENTERS[0]), np.array([0.30, 0.03]), -0.3)
    relocation = Relocation(donor, [motion], (0, 1))
    way, steps, actions = carry_out(relocation)
    part = donor.parts[0]
    assert (np.diff(steps) >= 0).all() and steps[-1] == part.end == len(donor.episode)
    wanted = motion(targets(donor.episode)[part.start : part.end])
    assert np.linalg.norm(way[None] - wanted[:, None], axis=2).min(axis=1).max() < 0.02
    assert np.abs(actions).max() <= 1.0 and (actions[:, -1] == 0).all()
    assert np.abs(way[-1] - wanted[-1]).max() <= TASK.action_scale[0]
    np.testing.assert_array_equal(way, carry_out(relocation)[0])
    assert not np.array_equal(way[:5], carry_out(replace(relocation, seed=(0, 2)))[0][:5]), "each hand is another"


def test_what_is_imitated_is_what_the_hand_means_not_how_it_wavers(memory):
    relocation, target = Relocation(memory.donors[0], [STILL], (0, 1)), np.array([0.215, 0.0, 0.235])
    hand, still = (Hand(relocation, TASK, replace(OPTIONS, noise=noise)) for noise in (0.3, 0.0))
    meant, done = hand.act(target)
    assert np.abs(meant - done)[:-1].max() > 0.02, "it wavers"
    np.testing.assert_array_equal(meant, still.act(target)[0])
    np.testing.assert_array_equal(*still.act(target))


def test_what_lies_elsewhere_in_the_hand_is_brought_to_where_the_donors_was(memory):
    donor = memory.donors[0]
    part = replace(donor.parts[0], events={GRASP: donor.parts[0].start, RELEASE: donor.parts[0].end - 1})
    relocation, held = Relocation(replace(donor, parts=[part]), [STILL], (0, 1)), np.array([0.003, -0.002, 0.0])
    steady = replace(OPTIONS, noise=0.0)
    hand, other, target = Hand(relocation, TASK, steady), Hand(relocation, TASK, steady), np.array([0.215, 0.0, 0.235])
    while hand.step <= part.start:  # the way there, and to where it closes
        meant, done = hand.act(target, held)
        np.testing.assert_array_equal(meant, other.act(target)[0])
        target = target + done[:-1] * TASK.action_scale
    gap = (hand.act(target, held)[0] - other.act(target)[0])[:-1] * TASK.action_scale
    np.testing.assert_allclose(gap, -held, atol=1e-6)


def test_the_hand_stays_in_the_workspace(memory):
    out = Motion(0.3, 0.2, 0.0)
    way, _, _ = carry_out(Relocation(memory.donors[0], [out], (0, 1)))
    slack = 0.02  # of the hand's noise
    assert (way > np.array(TASK.workspace_low) - slack).all() and (way < np.array(TASK.workspace_high) + slack).all()


def test_relocated_episodes_are_whole_and_survive_a_bag(memory, tmp_path):
    made = stage(memory)
    wanted = islice(relocations(Places(TASK, memory.donors, OPTIONS), (0,)), 6)
    outcomes = [made.play(each) for each in wanted]
    episodes = [each.episode for each in outcomes if each.episode is not None]
    assert made.counts["made"] == len(episodes) >= 4 and made.counts.total() == 6
    assert len({each.episode_id for each in episodes}) == len(episodes)
    episode = episodes[0]
    again = read_episode(Path(write_episode(tmp_path, episode)), TASK)
    for name in ("state", "action", "executed", "reward", "source", "stamp"):
        np.testing.assert_array_equal(getattr(again, name), getattr(episode, name), name)
    assert again.success and (again.source == SYNTHETIC).all() and again.reward.sum() == 1.0
    assert again.notes["kind"] == RELOCATED and again.notes["parent"] in {d.episode.episode_id for d in memory.donors}
    assert np.isfinite(json.loads(again.notes["motions"])).all() and len(json.loads(again.notes["seed"])) == 3
    for view in VIEWS:
        assert again.frames[view].shape == (len(again) + 1, 64, 64, 3)
        assert again.frames[view].astype(int).std(axis=0).max() > 5, "things come nearer or are pressed"


def test_actions_lead_where_the_states_say(memory):
    episode = next(each.episode for each in map(stage(memory).play, relocations(
        Places(TASK, memory.donors, OPTIONS), (1,))) if each.episode)
    led = targets(episode)
    np.testing.assert_allclose(np.diff(led, axis=0), episode.executed[2:] * TASK.action_scale, atol=1e-4)
    assert episode.action[-1].tolist() == [0.0] * 4 and len(episode) <= TASK.episode_steps


def test_the_same_seed_makes_the_same_episode(memory):
    relocation = next(relocations(Places(TASK, memory.donors, OPTIONS), (2,)))
    first, again = (stage(memory, seed=4).play(relocation).episode for _ in range(2))
    np.testing.assert_array_equal(first.state, again.state)
    assert all(np.array_equal(first.frames[view], again.frames[view]) for view in VIEWS)


@pytest.mark.parametrize(("relocation", "changes", "reason"), [
    (None, {}, "things in each other"),
    (Motion(0.3, 0.0, 0.0), {}, "did not arrive"),
    (Motion(0.02, 0.0, 0.0), {"episode_steps": 5}, "takes too long"),
    (STILL, {"workspace_low": [0.15, -0.15, 0.2]}, "did not arrive"),
])
def test_what_cannot_be_done_is_dropped_and_counted(memory, relocation, changes, reason):
    task = load_task("pushing", {"scatter": list(TASK.scatter), **changes})
    other = SceneMemory(task)
    other.__dict__.update({**memory.__dict__, "task": task})
    made = stage(other, task)
    outcome = made.play(relocation and Relocation(memory.donors[0], [relocation], (0, 1)))
    assert outcome.episode is None and outcome.reason == reason and made.counts == {reason: 1}


def test_it_arrives_only_where_the_donor_ended(memory):
    """The end is as deep as the donor's, not merely near it."""
    for outcome in map(stage(memory).play, islice(relocations(Places(TASK, memory.donors, OPTIONS), (3,)), 4)):
        if outcome.episode is not None:
            parent = next(d for d in memory.donors if d.episode.episode_id == outcome.episode.notes["parent"])
            deep = parent.episode.state[-1, STATE["position"]][2]
            assert outcome.episode.state[-1, STATE["position"]][2] < deep + 0.0015
