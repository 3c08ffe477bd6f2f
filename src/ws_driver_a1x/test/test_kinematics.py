"""The URDF against the maker's published chain, and the inverse against the forward."""

import mink
import mujoco
import numpy as np
import pytest

from ws_driver_a1x.kinematics import Kinematics, robot_description
from ws_driver_a1x.rotations import rotation_vector
from ws_rollouts.episode import TOOL_DOWN

TOP_DOWN = np.array([0, 1.6, -1.3, 1.27, 0, 0])
# Modified Denavit-Hartenberg rows (alpha, a, d, offset) of the published joints, to within 1e-6 m.
BEND = np.radians(23.36838)
DH = [(0, 0, 0.1353, 0), (-np.pi / 2, 0, 0, np.pi), (0, 0.300, 0, -np.pi - BEND), (0, 0.1903105, 0, BEND),
      (np.pi / 2, 0.080, 0, np.pi / 2), (np.pi / 2, 0, 0.104153, 0)]
TOOL_AXES = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])  # gripper x = z6, y = x6, z = y6


@pytest.fixture(scope="module")
def arm():
    return Kinematics()


def chain(joints):
    pose = np.eye(4)
    for q, (alpha, a, d, offset) in zip(joints, DH, strict=True):
        c, s, ca, sa = np.cos(q + offset), np.sin(q + offset), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array([[c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca],
                                [0, 0, 0, 1]])
    return pose[:3, 3], pose[:3, :3] @ TOOL_AXES


def random_joints(arm, rng):
    return rng.uniform(arm.lower, arm.upper)


def test_forward_is_the_published_chain(arm):
    rng = np.random.default_rng(0)
    for _ in range(200):
        joints = random_joints(arm, rng)
        position, rotation = arm.forward(joints)
        expected_position, expected_rotation = chain(joints)
        np.testing.assert_allclose(position, expected_position, atol=2e-6)
        np.testing.assert_allclose(rotation, expected_rotation, atol=1e-6)


def test_joint_limits_are_the_published_ones(arm):
    np.testing.assert_allclose(arm.lower, [-2.8798, 0, -3.3161, -1.5708, -1.5708, -2.8798])
    np.testing.assert_allclose(arm.upper, [2.8798, 3.1416, 0, 1.5708, 1.5708, 2.8798])
    np.testing.assert_allclose(arm.soft_lower - arm.lower, np.radians(3))


def test_jacobian_is_the_derivative_of_forward(arm):
    rng = np.random.default_rng(1)
    joints = random_joints(arm, rng)
    for i, step in enumerate(1e-6 * np.eye(6)):
        moved = (arm.forward(joints + step)[0] - arm.forward(joints - step)[0]) / 2e-6
        np.testing.assert_allclose(arm.jacobian(joints)[:3, i], moved, atol=1e-8)


def test_solve_finds_steps_within_reach(arm):
    rng = np.random.default_rng(2)
    position, rotation = arm.forward(TOP_DOWN)
    for _ in range(50):
        wanted = position + rng.uniform(-0.03, 0.03, 3)
        joints, metres, radians = arm.solve(TOP_DOWN, wanted, rotation, iterations=5)
        assert metres < 1e-4 and radians < 1e-4
        np.testing.assert_allclose(arm.forward(joints)[0], wanted, atol=1.1e-4)


def test_solve_tells_when_out_of_reach_and_stays_inside_the_soft_limits(arm):
    joints, metres, _ = arm.solve(TOP_DOWN, np.array([2.0, 0, 0]), np.eye(3), iterations=30)
    assert metres > 0.5
    assert np.all(joints >= arm.soft_lower) and np.all(joints <= arm.soft_upper)


def test_links_chain_up_to_the_tool(arm):
    joints = random_joints(arm, np.random.default_rng(3))
    position, rotation = np.zeros(3), np.eye(3)
    for offset, (x, y, z, w) in zip(arm.link_offsets(), arm.link_turns(joints), strict=True):
        position = position + rotation @ offset
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, np.array([w, x, y, z]))
        rotation = rotation @ turn.reshape(3, 3)
    np.testing.assert_allclose(position + rotation @ [0.08165, 0, 0], arm.forward(joints)[0], atol=1e-12)
    np.testing.assert_allclose(rotation, arm.forward(joints)[1], atol=1e-12)


def test_robot_description_has_cameras_fingers_and_no_meshes():
    text = robot_description()
    assert "wrist_camera_link" in text and "side_camera_link" in text and "gripper_finger_joint2" in text
    assert "mesh" not in text and "wrist_camera" not in robot_description(False)


def test_rotation_vector_inverts_the_exponential():
    rng = np.random.default_rng(4)
    for length in (0.0, 1e-6, 0.3, 3.1):
        vector = rng.normal(size=3)
        vector *= length / np.linalg.norm(vector)
        np.testing.assert_allclose(rotation_vector(mink.SO3.exp(vector).as_matrix()), vector, atol=1e-9)


def test_the_tool_points_down_at_the_top_down_joints(arm):
    turn = rotation_vector(arm.forward([0, np.pi / 2, -1.3, 1.3, 0, 0])[1] @ TOOL_DOWN.T)
    np.testing.assert_allclose(turn, 0.0, atol=1e-9)
