"""What the relay does in each mode and at each limit."""

import numpy as np
import pytest

from ws_driver_a1x.relay import ACTIVE, FAULT, HOLD, LOCKED, RESETTING, Refused
from ws_driver_a1x.reset import reset_joints

UP, SIDE = [0, 0, 0.1], [0, 0.1, 0]


def test_locked_sends_nothing_and_refuses_commands(bench):
    b = bench(enable=False)
    b.run(1.0, SIDE)
    assert b.targets == [] and b.relay.mode == LOCKED
    assert b.relay.state().rejected == 10
    with pytest.raises(Refused):
        b.relay.reset(b.task.reset_joints)


def test_enable_needs_feedback(bench):
    b = bench(enable=False)
    b.now += 1.0
    b.relay.tick(b.now)
    with pytest.raises(Refused, match="feedback"):
        b.relay.enable()
    b.feed()
    b.relay.enable()
    assert b.relay.mode == ACTIVE


def test_follows_delta_commands(bench):
    b = bench(max_lead=0.05)
    start = b.position
    b.run(0.5, SIDE)
    b.run(0.5, [0, 0, 0])
    np.testing.assert_allclose(b.position - start, [0, 0.05, 0], atol=0.003)
    assert b.relay.state().accepted == 10
    assert np.abs(b.relay.state().rotation).max() < 0.02


def test_first_target_is_the_measured_place(bench):
    b = bench()
    target = b.tick()
    np.testing.assert_allclose(target.position, b.task.reset_joints, atol=1e-6)
    assert np.all(target.speed > 0)


def test_stale_command_holds_and_the_next_command_goes_on_without_a_jump(bench):
    b = bench()
    b.run(1.0, SIDE)
    last = b.now
    while b.relay.mode != HOLD:
        b.tick()
    assert b.now - last <= 0.25
    b.run(1.0)
    held = b.joints
    b.run(1.0)
    np.testing.assert_allclose(b.joints, held, atol=1e-4)  # latched once: no creep
    before = b.targets[-1][1].position
    b.relay.on_command(SIDE, [0, 0, 0], b.now)
    assert b.relay.mode == ACTIVE
    np.testing.assert_allclose(b.tick().position, before, atol=0.002)


def test_explicit_hold_lasts_until_enable(bench):
    b = bench()
    b.relay.hold("operator")
    b.run(0.5, SIDE)
    assert b.relay.mode == HOLD and b.relay.state().reason == "operator"
    b.relay.enable()
    b.run(0.3, SIDE)
    assert b.relay.mode == ACTIVE


def test_stale_feedback_sends_nothing_and_recovers_from_where_the_arm_is(bench):
    b = bench()
    b.run(0.5, SIDE)
    sent = len(b.targets)
    b.run(1.0, SIDE, feed=False)
    assert all(t - b.targets[sent - 1][0] <= 0.26 for t, _ in b.targets[sent:])
    assert b.relay.mode == HOLD
    b.joints = b.joints + 0.05  # pushed meanwhile
    target = b.tick()
    np.testing.assert_allclose(target.position, b.joints, atol=0.05 * 0.5)
    assert b.relay.mode == HOLD


def test_who_asked_it_to_hold_is_not_forgotten_over_stale_feedback(bench):
    b = bench()
    b.run(0.2, SIDE)
    b.relay.hold("asked to hold")
    b.run(0.5, feed=False)
    assert "stale" in b.relay.state().reason
    b.run(0.2)
    assert (b.relay.mode, b.relay.state().reason) == (HOLD, "asked to hold")
    with pytest.raises(Refused, match="asked to hold"):
        b.relay.reset(b.task.reset_joints)


@pytest.mark.parametrize("bad", [[np.nan] * 6, [np.inf] * 6, [0.0] * 5, [], [0, 0, -4.0, 0, 0, 0], ["x"] * 6])
def test_bad_feedback_is_a_latched_fault(bench, bad):
    b = bench()
    b.tick()
    b.relay.on_feedback(bad, [0] * 6, [0] * 6, b.now)
    b.run(0.3, SIDE)
    assert b.relay.mode == FAULT and len(b.targets) == 1
    with pytest.raises(Refused, match="fault"):
        b.relay.enable()
    b.relay.clear_fault()
    assert b.relay.mode == LOCKED
    b.feed()
    b.relay.enable()
    assert b.tick() is not None


def test_joint3_zero_offset_of_a_real_arm_is_no_fault(bench):
    b = bench(enable=False)
    b.joints = np.array([0, -0.004, 0.026, 0, 0, 0])
    b.feed()
    b.relay.enable()
    b.run(1.0)
    assert b.relay.mode == HOLD
    assert b.joints[2] < -np.radians(2.9)


def test_frozen_feedback_is_a_fault_when_asked_for(bench):
    b = bench(frozen_frames=40)
    for _ in range(45):
        b.feed()
    assert b.relay.mode == FAULT and "frozen" in b.relay.reason


def test_estop_latches(bench):
    b = bench()
    b.relay.estop()
    assert b.tick() is None
    b.relay.hold("x")
    assert b.relay.mode == FAULT and b.relay.reason == "e-stop"
    b.relay.clear_fault()
    assert b.tick() is None and b.relay.mode == LOCKED


@pytest.mark.parametrize("linear", [[np.nan, 0, 0], [np.inf, 0, 0], [0, 0], [0] * 4, 3.0, None, "abc", [[0, 0, 0]]])
def test_malformed_commands_are_counted_and_change_nothing(bench, linear):
    b = bench()
    b.relay.on_command(linear, [0, 0, 0], b.now)
    b.relay.on_command([0, 0, 0], linear, b.now)
    assert b.relay.state().rejected == 2
    np.testing.assert_allclose(b.tick().position, b.task.reset_joints, atol=1e-6)


def test_huge_commands_move_no_further_than_one_step(bench):
    b = bench(max_lead=0.05)
    b.relay.on_command([0, 1e300, 0], [0, 0, 0], b.now)
    state = b.relay.state()
    np.testing.assert_allclose(state.target - state.position, [0, 0.015, 0], atol=1e-4)
    assert state.clipped == 1


def test_commands_in_a_bunch_add_up_to_no_more_than_the_speed_limit(bench):
    b = bench(max_lead=0.05)
    for _ in range(100):
        b.relay.on_command([0, 0.15, 0], [0, 0, 0], b.now)
    state = b.relay.state()
    assert np.linalg.norm(state.target - state.position) <= 0.15 * 0.2 + 1e-4


def test_target_never_leads_the_arm_by_more_than_the_limit(bench):
    b = bench(follow=0.0, max_lead=0.015)  # blocked
    b.run(0.25, SIDE)
    b.run(2.0, SIDE)
    state = b.relay.state()
    assert np.linalg.norm(state.target - state.position) <= 0.0151
    goal = b.relay.kinematics.forward(b.targets[-1][1].position)[0]
    assert np.linalg.norm(goal - state.position) <= 0.016


def test_box_and_floor_stop_the_tool(bench):
    b = bench(floor=0.2)
    b.run(4.0, [0, 0, -0.15])
    assert b.position[2] == pytest.approx(0.2, abs=0.002)
    b.run(6.0, [0, 0.15, 0])
    assert b.position[1] == pytest.approx(b.task.workspace_high[1], abs=0.002)


def test_out_of_reach_slides_along_instead_of_sticking(bench):
    b = bench()
    b.run(5.0, [0, 0, 0.1])
    assert b.relay.state().reason == "out of reach" or b.position[2] > 0.3
    y = b.position[1]
    b.run(1.0, [0, -0.05, 0.1])
    assert b.position[1] < y - 0.02


def test_turning_is_followed_and_limited(bench):
    b = bench()
    for _ in range(5):
        b.relay.on_command([0, 0, 0], [0, 0, 9.0], b.now)
        b.run(0.1)
    for _ in range(5):
        b.run(0.1, [0, 0, 0])
    assert b.relay.state().rotation[2] == pytest.approx(5 * 0.05, abs=0.005)


def test_reset_arrives_and_is_then_active(bench):
    b = bench(enable=False)
    b.joints = np.array([0.3, 1.2, -1.0, 1.0, 0.1, -0.2])
    b.feed()
    b.relay.enable()
    b.relay.on_gripper_command(1.0, b.now)
    b.relay.reset(b.task.reset_joints)
    assert b.relay.mode == RESETTING
    b.relay.on_command(SIDE, [0, 0, 0], b.now)
    assert b.relay.state().rejected == 1
    for _ in range(250):
        b.tick()
        if b.relay.mode != RESETTING:
            break
    assert b.relay.mode == ACTIVE
    np.testing.assert_allclose(b.joints, b.task.reset_joints, atol=0.03)
    positions = np.array([t.position for _, t in b.targets])
    assert np.abs(np.diff(positions, axis=0)).max() <= 0.6 * 0.02 + 1e-6
    assert b.targets[-1][1].gripper == 0.0  # the task's fixed opening


def test_blocked_reset_ends_in_hold(bench):
    b = bench(follow=0.0)
    b.relay.reset(np.array(b.task.reset_joints) + [1.0, 0, 0, 0, 0, 0])
    b.run(3.0)
    assert b.relay.mode == HOLD and "blocked" in b.relay.reason
    np.testing.assert_allclose(b.targets[-1][1].position, b.joints, atol=1e-3)


@pytest.mark.parametrize("joints", [[9.0] * 6, [np.nan] * 6, [0.0] * 5])
def test_reset_refuses_impossible_joints(bench, joints):
    with pytest.raises(Refused, match="soft limits"):
        bench().relay.reset(joints)


def test_reset_refuses_a_way_through_the_floor(bench):
    b = bench()
    before = b.tick().position
    with pytest.raises(Refused, match="floor"):
        b.relay.reset([0, 3.07, -0.13, 0.54, 0, 0])  # ends above it, passes at 0.051 m
    assert b.relay.mode == ACTIVE
    b.run(0.5)
    np.testing.assert_allclose(b.joints, before, atol=1e-6)


def test_reset_jitter_is_seeded_and_stays_around_the_reset_place(bench, kinematics):
    task = bench().task
    home, rotation = kinematics.forward(task.reset_joints)
    draws = [reset_joints(kinematics, task, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 1e-4
    for joints in draws:
        position, turned = kinematics.forward(joints)
        assert np.all(np.abs(position - home) <= np.array(task.reset_jitter) + 1e-3)
        np.testing.assert_allclose(turned, rotation, atol=0.01)


def test_gripper_commands_are_clipped_and_checked(bench):
    b = bench(gripper_interval=0.0)
    b.relay.on_gripper_command(0.25, b.now)
    assert b.tick().gripper == pytest.approx(25.0)
    for bad in (np.nan, np.inf):
        b.relay.on_gripper_command(bad, b.now)
    assert b.tick().gripper == pytest.approx(25.0)
    b.relay.on_gripper_command(7.0, b.now)
    assert b.tick().gripper == 100.0


def test_a_gripper_that_is_told_to_switch_all_the_time_switches_no_oftener_than_it_may(bench):
    b = bench(gripper_interval=0.6)
    for step in range(40):
        b.relay.on_gripper_command(step % 2, b.now)
        b.run(0.1, SIDE)
    targets = np.array([target.gripper for _, target in b.targets])
    times = np.array([time for time, _ in b.targets])[1:][np.diff(targets) != 0]
    assert len(times) >= 3 and np.diff(times).min() >= 0.6 - 1e-6


def test_the_newest_gripper_command_is_followed_when_it_may_be(bench):
    b = bench(gripper_interval=0.6)
    b.relay.on_gripper_command(1.0, b.now)
    assert b.tick().gripper == 100.0, "the first at once"
    for opening in (0.0, 0.5, 0.25):
        b.relay.on_gripper_command(opening, b.now)
        b.run(0.1, SIDE)
    assert b.targets[-1][1].gripper == 100.0
    b.run(0.5, SIDE)
    assert b.targets[-1][1].gripper == pytest.approx(25.0)
    b.relay.on_gripper_command(0.0, b.now)
    b.relay.on_gripper_command(0.25, b.now)
    b.run(1.0, SIDE)
    assert b.targets[-1][1].gripper == pytest.approx(25.0), "taken back in time"


def test_a_gripper_command_that_waits_is_dropped_by_a_hold(bench):
    b = bench(gripper_interval=0.6)
    b.relay.on_gripper_command(1.0, b.now)
    b.run(0.1, SIDE)
    b.relay.on_gripper_command(0.0, b.now)
    b.relay.hold("operator")
    b.run(1.0)
    assert b.targets[-1][1].gripper == 100.0
