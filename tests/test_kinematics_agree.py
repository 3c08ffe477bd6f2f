"""The URDF that everybody sees and the MJCF that the twin runs describe the same robot."""

import mujoco
import numpy as np
import pytest

from ws_driver_a1x.kinematics import robot_description
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_twin_a1x.cameras import camera_link
from ws_twin_a1x.twin import build_model

ARM = [f"arm_joint{i}" for i in range(1, 7)]
FINGERS = ["gripper_finger_joint1", "gripper_finger_joint2"]
LINKS = [f"arm_link{i}" for i in range(1, 7)] + ["gripper_link", "gripper_finger_link1", "gripper_finger_link2"]


@pytest.fixture(scope="module")
def urdf():
    spec = mujoco.MjSpec.from_string(robot_description())
    spec.compiler.fusestatic = False  # keeps the links that hang on fixed joints
    return spec.compile()


@pytest.fixture(scope="module")
def mjcf():
    return build_model(load_task("pushing"))[1]


def placed(model, joints, opening):
    data = mujoco.MjData(model)
    for name, value in zip(ARM + FINGERS, [*joints, opening, -opening], strict=True):
        data.joint(name).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    return data


def angle_between(first, second):
    """Angle between two rotations given as (9,); rad, by the chord, which is exact where arccos is not."""
    return 2.0 * np.arcsin(np.linalg.norm(first - second) / np.sqrt(8.0))


def test_forward_kinematics_agree(urdf, mjcf):
    rng = np.random.default_rng(0)
    low, high = np.array([urdf.joint(name).range for name in ARM]).T
    for _ in range(200):
        joints, opening = rng.uniform(low, high), rng.uniform(0.0, 0.05)
        a, b = placed(urdf, joints, opening), placed(mjcf, joints, opening)
        for link in LINKS:
            assert np.linalg.norm(a.body(link).xpos - b.body(link).xpos) < 1e-6, link
            assert angle_between(a.body(link).xmat, b.body(link).xmat) < 1e-6, link


@pytest.mark.parametrize("joint", ARM + FINGERS)
def test_limits_and_axes_agree(urdf, mjcf, joint):
    assert np.allclose(urdf.joint(joint).range, mjcf.joint(joint).range)
    assert np.allclose(urdf.joint(joint).axis, mjcf.joint(joint).axis)


@pytest.mark.parametrize("link", LINKS)
def test_inertials_agree(urdf, mjcf, link):
    a, b = urdf.body(link), mjcf.body(link)
    assert a.mass[0] == pytest.approx(b.mass[0])
    assert np.allclose(a.ipos, b.ipos, atol=1e-9)
    assert np.allclose(np.sort(a.inertia), np.sort(b.inertia), rtol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_camera_mounts_agree(urdf, mjcf, view):
    parent, position, quat = camera_link(mjcf, view)
    mount = urdf.body(f"{view}_camera_link")
    assert urdf.body(mount.parentid[0]).name == parent
    assert np.allclose(mount.pos, position, atol=1e-4)
    assert abs(np.dot(mount.quat, quat)) == pytest.approx(1.0, abs=1e-6)
