"""The arm that imagined rollouts move, and the lag that is found for it."""

import numpy as np
import pytest

from ws_driver_a1x.options import RelayOptions
from ws_rollouts.episode import STATE
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.scene.arm import FreeArm, FreeRelay, Lag, fit_lag

TASK = load_task("pushing")
HOME = np.array(TASK.reset_joints)


def walked(lag, steps=12, seed=0):
    """An arm that went some random steps from home, and its states."""
    arm, rng = FreeArm(TASK, lag), np.random.default_rng(seed)
    arm.reset(HOME, 0.0)
    actions = np.zeros((steps, TASK.action_size), np.float32)
    actions[:, :-1] = rng.uniform(-0.7, 0.7, (steps, 3))
    return arm, actions, np.stack([arm.state, *(arm.step(action, 0.0) for action in actions)])


def recorded(lag, seed):
    _, actions, states = walked(lag, seed=seed)
    episode = make_episode(len(actions), demonstration=True)
    episode.state, episode.action[:-1] = states, actions
    return episode, HOME


def test_the_same_actions_give_the_same_way():
    arm, actions, states = walked(Lag())
    arm.reset(HOME, 0.0)
    np.testing.assert_array_equal(states, np.stack([arm.state, *(arm.step(action, 0.0) for action in actions)]))
    assert np.linalg.norm(np.diff(states[:, STATE["position"]], axis=0), axis=1).max() > 0.001


def test_the_tool_goes_where_actions_lead_the_target():
    arm = FreeArm(TASK)
    arm.reset(HOME, 0.0)
    start, tool = arm.target, arm.state[STATE["position"]]
    forth = np.array([0.8, 0.0, -0.4, 0.0])
    for _ in range(3):
        arm.step(forth, 0.0)
    for _ in range(8):
        state = arm.step(np.zeros(4), 0.4)
    led = arm.target - start
    np.testing.assert_allclose(led, 3 * forth[:3] * TASK.action_scale, atol=1e-3)
    np.testing.assert_allclose(state[STATE["position"]] - tool, led, atol=3e-4)
    assert state[STATE["gripper"]] == pytest.approx(0.4) and np.abs(state[STATE["lag"]]).max() < 5e-4


def test_history_tells_where_the_arm_was():
    arm, _, states = walked(Lag())
    times = [moment for moment, _ in arm.history]
    assert np.allclose(np.diff(times), 0.02) and times[0] == 0.0
    position, _ = arm.kinematics.forward(arm.at(arm.time - 0.52))  # the driver knows the last tick
    np.testing.assert_allclose(position, states[-6, STATE["position"]], atol=1e-5)
    np.testing.assert_array_equal(arm.at(-1.0), HOME)
    np.testing.assert_array_equal(arm.at(99.0), arm.joints)


@pytest.mark.parametrize("lag", [Lag(0.0, 0.1), Lag(0.06, 0.02), Lag(0.04, 0.06)])
def test_the_lag_of_episodes_is_found(lag):
    assert fit_lag(TASK, [recorded(lag, seed) for seed in range(2)]) == lag


def test_without_episodes_the_lag_is_the_usual_one():
    assert fit_lag(TASK, []) == Lag()


def test_a_relay_resumed_in_a_motion_goes_on_at_that_speed_to_that_target():
    relay = FreeRelay(RelayOptions(), TASK)
    joints = HOME
    start = relay.kinematics.forward(joints)[0]
    goal = start + (0.0, 0.015, 0.0)
    velocity = np.linalg.solve(relay.kinematics.jacobian(joints), [0.0, 0.05, 0.0, 0.0, 0.0, 0.0])
    relay.on_feedback(joints, velocity, np.zeros(6), 0.0)
    relay.resume(joints, velocity, goal)
    np.testing.assert_allclose(relay.state().target, goal, atol=1e-9)
    relay.tick(0.0)
    moved = relay.kinematics.forward(relay.tick(0.02).position)[0] - start
    assert 0.0005 < moved[1] < 0.003 and np.abs(moved[[0, 2]]).max() < 3e-4
    relay.lead(goal, shift=np.full(6, 0.001))
    np.testing.assert_allclose(relay.state().target, goal, atol=1e-9)
