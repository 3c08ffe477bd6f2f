"""Where the target went, and which steps are a detour."""

import numpy as np

from ws_rollouts.episode import HUMAN, POLICY, STATE
from ws_rollouts.paths import direct_steps, targets, taught
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode

TASK = load_task("pushing")
STEP = 0.6 * TASK.action_scale[0]  # m, of one action


def along(heights, grips=(), **values):
    """An episode that goes to these heights, in steps; `grips` are the steps in which the gripper closes."""
    episode = make_episode(len(heights) - 1, **{"demonstration": True, **values})
    episode.state[:] = 0.0
    episode.state[:, STATE["position"]] = np.column_stack([np.zeros((len(heights), 2)), np.array(heights) * STEP])
    episode.action[list(grips), -1] = -1.0
    return episode


def test_targets_are_where_actions_led():
    episode = along([2, 1, 0])
    episode.state[1:, STATE["lag"]] = (0.01, 0.0, 0.0)
    np.testing.assert_allclose(targets(episode), [(0.01, 0, STEP), (0.01, 0, 0)], atol=1e-6)


def test_a_straight_way_has_no_detour():
    assert direct_steps(along(range(10, -1, -1)), 0, 10, TASK).tolist() == list(range(10))


def test_a_hand_that_goes_up_again_before_it_goes_down_makes_a_detour():
    heights = [6, 5, 4, 3, 4, 5, 4, 3, 2, 1, 0]
    assert direct_steps(along(heights), 0, 10, TASK).tolist() == [0, 5, 6, 7, 8, 9]
    assert direct_steps(along(heights), 3, 10, TASK).tolist() == [3, 6, 7, 8, 9], "what was before does not count"


def test_a_hand_that_hovers_makes_a_detour():
    assert direct_steps(along([3, 2, 2, 2, 2, 1, 0]), 0, 6, TASK).tolist() == [0, 4, 5]


def test_a_hand_that_shoots_past_and_comes_back_lower_makes_a_detour():
    episode = along([5, 5, 5, 4.5, 4, 3, 2, 1, 0])
    aside = np.array([0, 1, 2, 1, 0, 0, 0, 0, 0]) * STEP
    episode.state[:, STATE["position"].start] = aside
    assert direct_steps(episode, 0, 8, TASK).tolist() == [0, 3, 4, 5, 6, 7]
    slanting = along(range(8, -1, -1))
    slanting.state[:, STATE["position"].start] = np.arange(9) * STEP
    assert direct_steps(slanting, 0, 8, TASK).tolist() == list(range(8))


def test_what_the_gripper_does_is_no_detour():
    assert direct_steps(along([3, 2, 2, 2, 2, 1, 0], grips=(2, 3)), 0, 6, TASK).tolist() == [0, 2, 3, 4, 5]


def test_only_steps_of_a_person_are_taught():
    heights = [6, 5, 4, 3, 4, 5, 4, 3, 2, 1, 0]
    assert np.flatnonzero(taught(along(heights), TASK)).tolist() == [0, 5, 6, 7, 8, 9]
    assert not taught(along(heights, outcome="failure"), TASK).any()
    helped = along(heights, demonstration=False, human=(4, 5, 6, 7, 8))
    assert set(helped.source) == {HUMAN, POLICY}
    assert np.flatnonzero(taught(helped, TASK)).tolist() == [4, 5, 6, 7, 8], "the policy made the loop"
