"""Scenes are kept, moved and drawn as cameras would see them; what is of no use is refused for one of few reasons."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ws_driver_a1x.links import Links
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_rgbd
from ws_world_model.scene.donor import SceneError
from ws_world_model.scene.drawing import STILL, Drawer, Motion, Pose
from ws_world_model.scene.memory import SceneMemory, fingertip_reach
from ws_world_model.scene.shots import Unprojector
from ws_world_model.scene.testing import REACH, TOP, mount, pressed, see

TASK = load_task("pushing")
CENTER = np.array([0.28, 0.02])


@pytest.fixture(scope="module")
def success():
    return pressed(center=tuple(CENTER))


@pytest.fixture(scope="module")
def memory(success):
    memory = SceneMemory(TASK)
    memory.add(success)
    return memory


def changed(episode, **streams):
    """The episode with some fields of both views' streams as `edit(view, value)` has them."""
    return replace(episode, rgbd={view: replace(stream, **{name: edit(view, getattr(stream, name))
                                                           for name, edit in streams.items()})
                                  for view, stream in episode.rgbd.items()})


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_what_is_seen_is_measured_where_it_is(success):
    for shot in Unprojector().shots(success.rgbd):
        for seen in shot.views.values():
            z = seen.points[seen.depth > 0][:, 2]
            assert (np.abs(z - TASK.table) < 0.002).mean() > 0.3 and z.max() < TOP + 0.002 and z.min() > -0.043


def test_shots_pair_what_was_exposed_together(success):
    unprojector, (side, wrist) = Unprojector(), (success.rgbd[view] for view in ("side", "wrist"))
    assert len(unprojector.shots(success.rgbd)) == len(side)
    late = replace(wrist, stamp=wrist.stamp + 5_000_000_000)
    assert unprojector.shots({"side": side, "wrist": late}) == []
    empty = replace(wrist, **{name: getattr(wrist, name)[:0] for name in ("stamp", "color", "depth", "joints",
                                                                        "opening")})
    assert unprojector.shots({"side": side, "wrist": empty}) == []


def test_a_donor_is_one_thing_and_what_is_pressed_of_it(memory):
    donor, = memory.donors
    assert donor.part_groups == [0] and len(donor.groups) == 1
    assert np.linalg.norm(donor.centers[0] - CENTER) < 0.005
    body, = donor.bodies
    for view in VIEWS:
        patch = body.clouds[view].xyz
        assert len(patch) and np.linalg.norm(patch[:, :2] - CENTER, axis=1).max() < 0.02 and patch[:, 2].min() > 0.04
    assert body.top == pytest.approx(TOP, abs=0.003) and not donor.episode.rgbd
    assert np.abs(memory.plane - (TASK.table, 0, 0)).max() < 0.002 and memory.residual < 0.001
    assert fingertip_reach(memory.unprojector.links) == pytest.approx(REACH, abs=0.001)


def test_the_table_keeps_its_spots_and_nothing_of_the_thing(memory):
    for table in memory.maps.values():
        colors = table.picture.reshape(-1, 3).astype(int)
        assert ((colors[:, 2] > 200) & (colors[:, 0] < 60)).sum() > 20, "the blue spot"
        assert not ((colors[:, 0] > 180) & (colors[:, 1] > 180) & (colors[:, 2] < 140)).any(), "the box's top"


@pytest.mark.parametrize("motion", [STILL, Motion.about(CENTER, np.array([0.24, -0.03]), 0.4)], ids=["still", "moved"])
def test_drawn_frames_are_what_cameras_would_see(memory, success, motion):
    donor, drawer, links = memory.donors[0], Drawer(memory), memory.unprojector.links
    target, found = motion(np.array([*CENTER, 0.0]))[:2], {view: [] for view in VIEWS}
    for joints in success.rgbd["side"].joints[:6:2]:
        pose = Pose(*links.poses(joints, 0.0), 0.0)
        frames = drawer.draw(donor, [motion], 0, [(motion, 0.0)], pose)
        for view in VIEWS:
            rotation, position = memory.unprojector.camera(view, mount(view), pose.rotations, pose.positions)
            color, _ = see(rotation, position, TASK.table, target, motion.yaw)
            x, y, width, height = TASK.crop(view)
            crop = color[y : y + height, x : x + width]
            truth = np.stack([crop[(i * height) // 64][[(j * width) // 64 for j in range(64)]] for i in range(64)])
            found[view].append(psnr(frames[view], truth))
    assert all(np.mean(values) > 17 for values in found.values()), found


def test_motions_turn_about_what_they_bring_and_go_back():
    motion = Motion.about(np.array([0.3, 0.1]), np.array([0.25, -0.02]), 0.7)
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(motion.back(motion(points)), points)
    np.testing.assert_allclose(motion(np.array([0.3, 0.1, 0.2])), (0.25, -0.02, 0.2))
    np.testing.assert_allclose(motion.rotation, Rotation.from_euler("z", 0.7).as_matrix())


def turned(degrees):
    """The side camera hangs otherwise than its mount says."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    return lambda view, pose: pose @ turn if view == "side" else pose


def cut(episode, count, *views):
    """Only the first exposures of these views."""
    fields = ("stamp", "color", "depth", "joints", "opening")
    return replace(episode, rgbd={v: replace(s, **{n: getattr(s, n)[:count] for n in fields}) if v in views else s
                                  for v, s in episode.rgbd.items()})


def later(*views):
    return lambda view, stamp: stamp + 5_000_000_000 * (view in views)


UNFIT = {
    "none": ("no depth", lambda e: replace(e, rgbd={})),
    "one view": ("no depth", lambda e: replace(e, rgbd={"side": e.rgbd["side"]})),
    "zero": ("depth is all zero", lambda e: changed(e, depth=lambda _, z: np.zeros_like(z))),
    "zero in one view": ("depth is all zero", lambda e: changed(e, depth=lambda view, z: z * (view == "side"))),
    "noise": ("no table", lambda e: replace(e, rgbd=make_rgbd(e))),
    "far": ("no table", lambda e: changed(e, depth=lambda _, z: np.full_like(z, 9000))),
    "few": ("too few exposures with depth", lambda e: cut(e, 3, *VIEWS)),
    "few in one view": ("too few exposures with depth", lambda e: cut(e, 1, "wrist")),
    "none in one view": ("depth is all zero", lambda e: cut(e, 0, "wrist")),
    "views at other times": ("too few exposures with depth", lambda e: changed(e, stamp=later("wrist"))),
    "other times than steps": ("too few exposures with depth", lambda e: changed(e, stamp=later(*VIEWS))),
    "no success": ("no skill part", lambda e: replace(e, terminated=False, truncated=True)),
    "camera turned": ("a mount is off", lambda e: changed(e, mount=turned(5.0))),
    "no thing": ("no thing stands on the table", lambda e: pressed(box=False)),
    "thing elsewhere": ("nothing stands where it was done",
                        lambda e: replace(e, rgbd=pressed(center=(0.36, -0.1)).rgbd)),
}


@pytest.mark.parametrize(("reason", "spoil"), UNFIT.values(), ids=UNFIT)
def test_what_is_of_no_use_is_refused_for_one_of_few_reasons(success, reason, spoil):
    memory = SceneMemory(TASK)
    with pytest.raises(SceneError, match=reason) as error:
        memory.add(spoil(success))
    assert memory.refused == {error.value.reason: 1} and not memory.donors
    memory.add(success)
    assert len(memory.donors) == 1, "the next one is taken"


def test_a_mask_that_swallows_the_thing_leaves_none(success):
    links = Links()
    links.box_half = links.box_half + 0.15
    memory = SceneMemory(TASK, Unprojector(links))
    with pytest.raises(SceneError):
        memory.add(success)
    assert memory.refused.total() == 1


def test_a_grasp_without_a_grasp_is_refused(success):
    memory = SceneMemory(load_task("pick_place"))
    with pytest.raises(SceneError, match="no skill part: .*the gripper never closes"):
        memory.add(success)


def test_cameras_of_another_size_are_drawn_as_well(success):
    """Half as many pixels each way, and their lens, with crops that fit."""
    task = load_task("pushing", {"crop_side": [62, 5, 95, 95], "crop_wrist": [46, 0, 120, 120]})
    half = replace(success, rgbd={
        view: replace(s, color=np.ascontiguousarray(s.color[:, ::2, ::2]),
                      depth=np.ascontiguousarray(s.depth[:, ::2, ::2]), lens=s.lens / 2)
        for view, s in success.rgbd.items()})
    memory = SceneMemory(task)
    donor = memory.add(half)
    assert np.linalg.norm(donor.centers[0] - CENTER) < 0.01
    frames = Drawer(memory).draw(donor, [STILL], 0, [(STILL, 0.0)], pose_at_start(memory, success))
    for view in VIEWS:
        assert psnr(frames[view], success.frames[view][0]) > 17


def pose_at_start(memory, success):
    return Pose(*memory.unprojector.links.poses(success.rgbd["side"].joints[0], 0.0), 0.0)
