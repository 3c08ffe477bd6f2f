"""Which bags are taken, which episodes wait, and why others are left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_rollouts.bag import serialised, write_episode
from ws_rollouts.task import load_task
from ws_rollouts.testing import begin_bag, make_episode
from ws_world_model.intake import Intake

TASK = load_task("pushing")


def bag(folder, number, steps=14, **values):
    return str(write_episode(folder, make_episode(steps, episode_id=f"pushing_{number:04d}", seed=number, **values)))


def take_all(intake):
    taken = []
    while (one := intake.take()) is not None:
        taken.append(one)
    return taken


def test_the_newest_two_wait_and_are_released_when_newer_ones_come(tmp_path):
    intake = Intake(TASK)
    released = []
    for number in range(5):
        intake.offer(bag(tmp_path, number))
        released += [e.episode_id for t in take_all(intake) for e in t.released]
        assert not {e.episode_id for e in intake.held} & set(released)
    assert released == ["pushing_0000", "pushing_0001", "pushing_0002"]
    assert [e.episode_id for e in intake.held] == ["pushing_0003", "pushing_0004"]
    assert intake.trained == released


def test_a_restart_holds_out_nothing_that_was_trained_on(tmp_path):
    first = Intake(TASK)
    for number in range(4):
        first.offer(bag(tmp_path, number))
    take_all(first)
    again = Intake(TASK, trained=first.trained)
    assert again.offer_all(tmp_path) == 4
    taken = take_all(again)
    assert [t.new for t in taken] == [False, False, True, True]
    assert [e.episode_id for e in again.held] == [e.episode_id for e in first.held]
    assert again.trained == first.trained
    later = Intake(TASK, trained=[*first.trained, "pushing_0002", "pushing_0003"])
    later.offer_all(tmp_path)
    take_all(later)
    assert not later.held, "the weights have seen all of them"


def test_nothing_is_taken_twice(tmp_path):
    intake = Intake(TASK)
    uri = bag(tmp_path, 1)
    assert intake.offer(uri) and not intake.offer(uri)
    assert intake.offer_all(tmp_path) == 0
    copy = write_episode(tmp_path / "other", make_episode(14, episode_id="pushing_0001", seed=1))
    assert intake.offer(str(copy))
    assert [t.episode is None for t in take_all(intake)] == [False, True]
    assert intake.episodes == 1 and not intake.rejected


def test_short_episodes_measure_nothing_and_are_trained_on(tmp_path):
    intake = Intake(TASK, shortest=12)
    intake.offer(bag(tmp_path, 1, steps=5))
    assert len(take_all(intake)[0].released) == 1 and not intake.held


def test_successful_demonstrations_are_counted(tmp_path):
    intake = Intake(TASK)
    for number, values in enumerate(({"demonstration": True}, {"demonstration": True, "outcome": "timeout"}, {})):
        intake.offer(bag(tmp_path, number, **values))
    take_all(intake)
    assert (intake.demonstrations, intake.episodes) == (1, 3)


def not_finite(episode):
    episode.state[3, 2] = np.nan
    return serialised(episode)


def backwards(episode):
    episode.stamp[5] = episode.stamp[3]
    return serialised(episode)


def one_eyed(episode):
    return [part for part in serialised(episode) if "wrist" not in part[0]]


def a_step_less(episode):
    return [p for i, p in enumerate(serialised(episode)) if i != 8]


@pytest.mark.parametrize(("values", "parts", "reason"), [
    ({}, not_finite, "numbers not finite"),
    ({}, backwards, "stamps not monotonic"),
    ({}, one_eyed, "a camera is missing"),
    ({}, a_step_less, "steps missing"),
    ({"task": "insertion"}, serialised, "another task"),
    ({"action_size": 7}, serialised, "another action size"),
    ({"size": 32}, serialised, "another image size"),
    ({}, None, "damaged or cut off"),
])
def test_bad_bags_are_left_out_with_a_counted_reason(tmp_path, values, parts, reason):
    episode = make_episode(10, episode_id="bad", **values)
    folder = begin_bag(tmp_path, episode, list((parts or serialised)(episode))).finish(
        {"episode_id": "bad", "task": episode.task, "outcome": "success", "source": "policy", "steps": "10",
         "interventions": "0"})
    if parts is None:
        file = next(folder.glob("*.mcap"))
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    intake = Intake(TASK)
    intake.offer(str(folder))
    intake.offer(bag(tmp_path, 1))
    bad, good = take_all(intake)
    assert bad.episode is None and str(folder) in bad.error and good.episode is not None
    assert intake.rejected == {reason: 1}


def test_a_folder_that_is_gone_or_no_bag_is_counted(tmp_path):
    intake = Intake(TASK)
    (tmp_path / "stray").mkdir()
    assert intake.offer_all(tmp_path) == 0 and intake.offer_all(tmp_path) == 0
    intake.offer(str(tmp_path / "gone"))
    assert take_all(intake)[0].error
    assert intake.rejected == {"not a bag": 2}


def test_imagined_rollouts_are_not_learnt_from(tmp_path):
    episode = make_episode(14, episode_id="imagined")
    episode.source[:] = 3
    intake = Intake(TASK)
    intake.offer(str(write_episode(tmp_path, episode)))
    assert "synthetic" in take_all(intake)[0].error and intake.rejected == {"synthetic": 1}


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    return [bag(folder, number, steps=2) for number in range(6)]


@settings(max_examples=25, deadline=None)
@given(order=st.lists(st.integers(0, 5), max_size=12), keep=st.integers(0, 3), trained=st.sets(st.integers(0, 5)))
def test_every_episode_is_held_out_or_released_once(bags, order, keep, trained):
    before = {f"pushing_{n:04d}" for n in trained}
    intake = Intake(TASK, keep, shortest=1, trained=before)
    released = []
    for number in order:
        intake.offer(bags[number])
        released += [e.episode_id for t in take_all(intake) for e in t.released]
        held = [e.episode_id for e in intake.held]
        assert len(held) <= keep and not set(held) & (set(released) | before)
    assert len(released) == len(set(released))
    assert set(released) | set(held if order else []) == {f"pushing_{n:04d}" for n in order}
