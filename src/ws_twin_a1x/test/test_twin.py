"""The twin in lockstep: determinism, commands, feedback, and a task that can be done, but not blindly."""

import hashlib

import numpy as np
import pytest

from ws_rollouts.task import Task
from ws_twin_a1x.twin import GRIPPER_OPEN, TICK, Twin

FAST = [3.0] * 6


def trace(twin, task):
    """Hash of the states and pixels of a short run."""
    digest = hashlib.sha256()
    rng = np.random.default_rng(5)
    for _ in range(4):
        twin.command_arm(np.array(task.reset_joints) + rng.uniform(-0.1, 0.1, 6), FAST)
        twin.step(0.1)
        digest.update(twin.data.qpos.tobytes() + twin.data.qvel.tobytes())
        digest.update(twin.render("side").tobytes() + twin.render("wrist").tobytes())
    return digest.hexdigest()


def test_same_seed_and_commands_give_the_same_bits(make_twin, task):
    assert trace(make_twin(3), task) == trace(make_twin(3), task)
    assert trace(make_twin(3), task) != trace(make_twin(4), task)


def test_a_world_does_not_depend_on_what_was_before(make_twin, task):
    twin, other = make_twin(0), make_twin(1)
    other.command_arm(np.zeros(6), FAST)
    other.command_gripper(60.0)
    other.step(0.7)
    other.command_gripper(0.0)
    for t in (twin, other):
        t.reset_world(11)
        t.place_arm(np.array(task.reset_joints))
    assert trace(twin, task) == trace(other, task)


def test_reset_world_leaves_the_arm_and_moves_the_toaster(make_twin):
    twin = make_twin()
    twin.command_arm([0.3, 1.6, -1.2, 1.0, 0, 0], FAST)
    twin.step(0.4)
    before, place = twin.arm_feedback()[0], twin.object_poses()["toaster"][0]
    twin.reset_world()
    assert np.array_equal(before, twin.arm_feedback()[0])
    assert not np.allclose(place, twin.object_poses()["toaster"][0])
    assert twin.time == pytest.approx(0.4)


def test_the_lever_can_be_pressed_from_any_reset(make_twin, make_hand, task):
    twin = make_twin()
    hand = make_hand(twin)
    rng = np.random.default_rng(0)
    start = hand.position
    for world in range(12):
        twin.reset_world(world)
        twin.place_arm(hand.joints_at(start + rng.uniform(-1, 1, 3) * task.reset_jitter))
        assert not twin.success() and twin.progress() == 0.0
        assert hand.press(twin.object_poses()["lever"][0]), f"world {world}"
        assert twin.progress() == 1.0


def test_a_fixed_motion_seldom_succeeds(make_twin, make_hand, task):
    twin = make_twin()
    hand = make_hand(twin)
    wins = 0
    for world in range(30):
        twin.reset_world(world)
        twin.place_arm(np.array(task.reset_joints))
        wins += hand.press(np.array([0.28, 0.0, 0.091]), steps=30)
    assert wins / 30 < 0.4


def test_a_lever_let_go_half_way_comes_back_and_a_latched_one_stays(make_twin, make_hand, task):
    twin = make_twin()
    hand = make_hand(twin)
    knob = twin.object_poses()["lever"][0]
    assert hand.press(knob + [0, 0, 0.033]) is False  # ends 17 mm below the knob's top: not far enough
    assert 0.2 < twin.progress() < 0.8
    twin.place_arm(np.array(task.reset_joints))
    twin.step(1.0)
    assert twin.progress() < 0.02 and not twin.success()
    assert hand.press(knob)
    twin.place_arm(np.array(task.reset_joints))
    twin.step(1.0)
    assert twin.success()
    assert twin.object_poses()["lever"][0][2] < knob[2] - 0.03
    twin.reset_world()
    assert not twin.success() and twin.progress() == 0.0


def test_the_arm_reaches_and_holds_its_target(make_twin, task):
    twin = make_twin()
    target = np.array(task.reset_joints) + [0.2, -0.1, 0.15, 0.1, -0.3, 0.4]
    twin.command_arm(target, FAST)
    twin.step(3.0)
    position, velocity, effort = twin.arm_feedback()
    assert np.abs(position[:6] - target).max() < 1e-3
    assert np.abs(velocity).max() < 1e-3
    assert np.all(np.isfinite(effort))
    twin.step(2.0)  # no further command
    assert np.abs(twin.arm_feedback()[0][:6] - target).max() < 1e-3


def test_targets_beyond_the_joint_limits_stop_two_degrees_before_them(make_twin):
    twin = make_twin()
    twin.command_arm([5.0, 1.6, -1.3, 1.27, 0, 0], FAST)
    twin.step(4.0)
    assert twin.arm_feedback()[0][0] == pytest.approx(2.8798 - np.radians(2), abs=1e-3)


def test_joint3_offset_shifts_what_the_encoder_says_and_not_the_arm(make_twin, make_hand, task):
    true, biased = make_twin(), make_twin(joint3_offset=0.026)
    assert np.allclose(true.arm_feedback()[0], biased.arm_feedback()[0])
    assert np.linalg.norm(make_hand(true).position - make_hand(biased).position) > 0.003


def test_the_gripper_opens_to_its_stroke(make_twin):
    twin = make_twin()
    assert twin.gripper_feedback() == pytest.approx(0.0, abs=0.5)
    twin.command_gripper(100.0)
    twin.step(2.0)
    assert twin.gripper_feedback() == pytest.approx(100.0, abs=1.0)
    assert twin.arm_feedback()[0][6] == pytest.approx(GRIPPER_OPEN, abs=0.03)
    twin.command_gripper(250.0)
    twin.step(0.5)
    assert twin.gripper_feedback() <= 100.0


@pytest.mark.parametrize("position", [[np.nan] * 6, [0.0] * 5, [np.inf, 0, 0, 0, 0, 0], [[0.0] * 6]])
def test_bad_commands_are_refused_and_change_nothing(make_twin, position):
    twin = make_twin()
    before = twin.arm_feedback()[0]
    with pytest.raises(ValueError, match="position"):
        twin.command_arm(position, FAST)
    with pytest.raises(ValueError, match="speed"):
        twin.command_arm([0.0] * 6, position)
    with pytest.raises(ValueError, match="stroke"):
        twin.command_gripper(float("nan"))
    twin.step(0.2)
    assert np.allclose(before, twin.arm_feedback()[0], atol=1e-6)


def test_an_unknown_scene_names_the_known_ones():
    with pytest.raises(ValueError, match="'moon'.*pushing"):
        Twin(Task(scene="moon"))


def test_long_rough_commands_stay_finite(make_twin):
    twin = make_twin()
    rng = np.random.default_rng(1)
    for _ in range(40):
        twin.command_arm(rng.uniform(-3, 3, 6), FAST)
        twin.command_gripper(rng.uniform(0, 100))
        twin.step(0.25)
    assert np.all(np.isfinite(twin.data.qpos)) and np.abs(twin.data.qvel).max() < 20
    assert twin.data.warning.number.sum() == 0
    assert twin.time == pytest.approx(10.0, abs=TICK)
