"""Counterfactual actions are legal and near the recorded ones; segments come from where they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws_rollouts.episode import STATE
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.counterfactuals import CounterfactualOptions, Segment, inside_workspace, perturb, sample_segment

UNIT = st.floats(-1, 1, width=32)
ACTIONS = st.integers(1, 12).flatmap(lambda t: arrays(np.float32, (t, 4), elements=UNIT))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def task():
    return load_task("pushing")


@settings(deadline=None, max_examples=60)
@given(ACTIONS, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_counterfactuals_are_legal_and_leave_gripper_and_idle_dimensions_alone(actions, seed, scale, noise):
    actions[:, 1] = 0
    actions[:, 3] = np.sign(actions[:, 3])
    changed, xi = perturb(actions, CounterfactualOptions(scale=scale, noise=noise), np.random.default_rng(seed))
    assert changed.shape == actions.shape and changed.dtype == np.float32 and xi.shape == (3,)
    assert np.abs(changed).max() <= 1
    assert (changed[:, 1] == 0).all() and xi[1] == 1
    np.testing.assert_array_equal(changed[:, 3], actions[:, 3])
    assert (np.abs(xi - 1) <= scale + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(ACTIONS, SEEDS)
def test_without_scale_and_noise_nothing_changes(actions, seed):
    changed, xi = perturb(actions, CounterfactualOptions(scale=0.0, noise=0.0), np.random.default_rng(seed))
    np.testing.assert_array_equal(changed, actions)
    np.testing.assert_array_equal(xi, 1)


def test_the_scale_is_one_number_per_dimension_and_trajectory():
    actions = np.full((10, 4), 0.5, np.float32)
    changed, xi = perturb(actions, CounterfactualOptions(noise=0.0), np.random.default_rng(0))
    np.testing.assert_allclose(changed[:, :3], np.broadcast_to(0.5 * xi, (10, 3)), rtol=1e-6)
    assert len(set(xi.tolist())) == 3


@pytest.mark.parametrize("actions", [np.zeros(4), np.zeros((3, 1)), np.full((3, 4), np.nan)])
def test_what_are_no_actions_is_refused(actions):
    with pytest.raises(ValueError, match="actions"):
        perturb(actions, CounterfactualOptions(), np.random.default_rng(0))


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 90))
def test_segments_lie_inside_their_episode(seed, steps):
    options = CounterfactualOptions()
    episode = make_episode(steps, size=4)
    segment = sample_segment([episode], [], options, np.random.default_rng(seed))
    assert segment.start >= 0 and segment.end <= steps
    assert min(options.min_length, steps) <= segment.length <= options.max_length
    assert segment.actions.shape == (segment.length, 4)


def test_half_of_the_starts_are_late_and_most_are_online():
    online, demo = make_episode(200, size=4), make_episode(200, size=4, demonstration=True)
    rng = np.random.default_rng(0)
    segments = [sample_segment([online], [demo], CounterfactualOptions(), rng) for _ in range(600)]
    assert 0.74 < np.mean([s.episode is online for s in segments]) < 0.86
    assert 0.5 < np.mean([s.start >= 200 - 36 for s in segments]) < 0.68  # half, and some of the uniform ones


def test_one_kind_of_episodes_is_enough_and_none_is_not():
    demo = make_episode(20, size=4, demonstration=True)
    options, rng = CounterfactualOptions(online_share=1.0), np.random.default_rng(0)
    assert sample_segment([], [demo], options, rng).episode is demo
    with pytest.raises(ValueError, match="no episode"):
        sample_segment([make_episode(0, size=4)], [], options, rng)


def still(task, position):
    """A segment of an arm that rests at `position` and of actions that are zero."""
    episode = make_episode(10, size=4)
    episode.state[:] = 0
    episode.state[:, STATE["position"]] = position
    episode.action[:] = 0
    return Segment(episode, 0, 10)


def test_recorded_actions_are_inside_and_walking_out_of_the_box_is_not(task):
    middle = (np.array(task.workspace_low) + task.workspace_high) / 2
    segment = still(task, middle)
    assert inside_workspace(segment, segment.actions, task)
    away = segment.actions.copy()
    away[:, 0] = 1.0  # 0.12 m, half the box is 0.115 m and one action is tolerated
    assert inside_workspace(segment, away, task)
    near_edge = still(task, middle + [0.03, 0, 0])
    assert not inside_workspace(near_edge, away, task)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_where_the_driver_held_the_target_back_the_recorded_actions_stay_inside(seed):
    task = load_task("pushing")
    segment = still(task, task.workspace_low)
    segment.episode.action[:, :3] = np.random.default_rng(seed).uniform(-1, 0, (11, 3))
    assert inside_workspace(segment, segment.actions, task)


def test_a_trusted_world_model_is_asked_further_away():
    options = CounterfactualOptions()
    assert options.widened(0.0) == options
    assert options.widened(0.5).noise == pytest.approx(0.275) and options.widened(1.0).noise == options.sure_noise
