"""The links and boxes that mark the robot's own pixels are those of the twin, whose cameras see them."""

import numpy as np
import pytest

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.links import Links
from ws_driver_a1x.reset import reset_joints
from ws_rollouts.episode import VIEWS
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.task import load_task
from ws_twin_a1x.cameras import INTRINSICS, optical_mount
from ws_twin_a1x.twin import Twin
from ws_world_model.scene.shots import Unprojector

LINKS = [*(f"arm_link{i}" for i in range(1, 7)), "gripper_link", "gripper_finger_link1", "gripper_finger_link2"]
REACH = 0.078  # m, of the fingertips below gripper_link


@pytest.fixture(scope="module")
def links():
    return Links()


@pytest.fixture
def make_twin():
    twins = []

    def make(name):
        twins.append(Twin(load_task(name), seed=3))
        return twins[-1]

    yield make
    for twin in twins:
        twin.close()


def move(twin, joints, opening):
    """The arm stands at these joints, its fingers as far apart as 0 .. 1 says."""
    twin.command_gripper(100.0 * opening)
    twin.place_arm(joints)


def shot(links, twin):
    joints, opening = twin.arm_feedback()[0][:6], twin.gripper_feedback() / 100.0
    streams = {}
    for view in VIEWS:
        color, depth = twin.render_rgbd(view)
        streams[view] = RgbdStream(
            np.array([0]), color[None], depth[None], joints[None].astype(np.float32), np.array([opening], np.float32),
            np.array(INTRINSICS), optical_mount(twin.mounts[view]))
    return Unprojector(links).shot(streams, dict.fromkeys(VIEWS, 0))


def pixels_of(twin, view, bodies):
    """(H, W) bool: where the picture's depth changes when these bodies are not drawn."""
    model, before = twin.model, twin.render_rgbd(view)[1]
    mine = np.isin(model.geom_bodyid, [model.body(name).id for name in bodies])
    kept = model.geom_rgba.copy(), model.geom_matid.copy()
    model.geom_matid[mine], model.geom_rgba[mine, 3] = -1, 0.0
    behind = twin.render_rgbd(view)[1]
    model.geom_rgba[:], model.geom_matid[:] = kept
    return before != behind


def test_every_link_is_where_the_twin_has_it(links, make_twin):
    twin, rng = make_twin("pushing"), np.random.default_rng(1)
    for _ in range(20):
        joints, opening = rng.uniform(-1.0, 1.0, 6) + twin.arm_feedback()[0][:6], rng.uniform()
        move(twin, joints, opening)
        rotations, positions = links.poses(joints, twin.gripper_feedback() / 100.0)
        for name in LINKS:
            body, i = twin.data.body(name), links.index(name)
            assert np.abs(positions[i] - body.xpos).max() < 1e-6, name
            assert np.abs(rotations[i] - body.xmat.reshape(3, 3)).max() < 1e-6, name


@pytest.mark.parametrize("name", ["pushing", "pick_place", "insertion"])
def test_the_robots_pixels_are_marked(links, make_twin, name):
    twin, kinematics, rng = make_twin(name), Kinematics(), np.random.default_rng(0)
    for opening in (0.0, 0.6, 0.9):
        move(twin, reset_joints(kinematics, load_task(name), rng), opening)
        seen = shot(links, twin)
        for view in VIEWS:
            robot = pixels_of(twin, view, ["base_link", *LINKS])
            assert robot.sum() > 1000
            assert (seen.views[view].link[robot] >= 0).mean() > 0.99, (view, opening)


def test_a_thing_between_the_fingers_is_not_taken_for_the_robot(links, make_twin):
    twin, kinematics = make_twin("pick_place"), Kinematics()
    thing, _ = twin.object_poses()["eggplant"]
    home, turn = kinematics.forward(np.array(load_task("pick_place").reset_joints))
    joints, metres, _ = kinematics.solve(np.array(load_task("pick_place").reset_joints),
                                         np.array([*thing[:2], thing[2] + REACH]), turn, iterations=50)
    assert metres < 1e-3
    move(twin, joints, 0.6)
    seen = shot(links, twin)
    for view in VIEWS:
        pixels = pixels_of(twin, view, ["eggplant"])
        marked = (seen.views[view].link[pixels] >= 0).mean()
        assert pixels.sum() > 200 and marked < 0.1, view
