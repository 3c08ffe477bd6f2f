"""The simulated cameras: what camera_info and TF say is what the pictures show."""

import mujoco
import numpy as np
import pytest

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task, task_names
from ws_twin_a1x.cameras import COLOR_OFFSET, HEIGHT, INTRINSICS, WIDTH, Cameras, add_camera, camera_link
from ws_twin_a1x.options import TwinOptions
from ws_twin_a1x.randomiser import CENTRE, DRAWN, FOCAL, LIGHT, MOUNT, TINT
from ws_twin_a1x.twin import Twin


def project(point):
    """Pixel (2,) of a point (3,) in the optical frame."""
    fx, fy, cx, cy = INTRINSICS
    return np.array([fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy])


def in_optical_frame(twin, view, point):
    """A point of base_link (3,) in the optical frame, by the published chain of frames."""
    parent, position, quat = camera_link(twin.model, view)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quat)
    rotation = rotation.reshape(3, 3)
    body = twin.data.body(parent)
    link = body.xmat.reshape(3, 3).T @ (point - body.xpos) - position
    x, y, z = rotation.T @ link - (0.0, COLOR_OFFSET, 0.0)
    return np.array([-y, -z, x])


@pytest.mark.parametrize("point", [(0.0, 0.0, 1.0), (0.3, -0.2, 0.9), (-0.25, 0.12, 0.6)])
def test_a_point_is_drawn_where_the_intrinsics_put_it(point):
    spec = mujoco.MjSpec()
    spec.visual.headlight.ambient = [1, 1, 1]
    add_camera(spec.worldbody, "side", (0.0, -COLOR_OFFSET, 0.0), (0.0, 0.0, 0.0))
    x, y, z = point
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.01, 0, 0], pos=[z, -x, -y], rgba=[1, 1, 1, 1],
                            group=2)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    cameras = Cameras(model, shadows=False)
    rows, columns = np.nonzero(cameras.render(data, "side")[..., 0] > 100)
    cameras.close()
    drawn = np.array([columns.mean(), rows.mean()]) + 0.5  # pixel centres
    assert np.abs(drawn - project(point)).max() < 0.6


@pytest.mark.parametrize("view", VIEWS)
def test_frames_agree_with_the_cameras(make_twin, view):
    twin = make_twin()
    camera = twin.data.camera(view)
    right, up, back = camera.xmat.reshape(3, 3).T
    point = camera.xpos + 0.1 * right - 0.2 * up - 0.5 * back
    assert np.allclose(in_optical_frame(twin, view, point), (0.1, 0.2, 0.5), atol=1e-9)


@pytest.mark.parametrize("name", task_names())
def test_what_matters_is_inside_the_crops(name):
    """Of the side view what is handled, its goal and the fingertips; of the wrist's the fingertips."""
    task = load_task(name)
    twin = Twin(task)
    things = [each for each in (task.handling.thing or "lever", task.handling.goal) if each]
    for world in range(30):
        twin.reset_world(world)
        poses, tip = twin.object_poses(), twin.data.geom("fingertip1").xpos
        for view, points in (("side", [*(poses[thing][0] for thing in things), tip]), ("wrist", [tip])):
            x, y, w, h = task.crop(view)
            for point in points:
                u, v = project(in_optical_frame(twin, view, point))
                assert x + 4 < u < x + w - 4 and y + 4 < v < y + h - 4, (world, view, point)
    twin.close()


@pytest.mark.parametrize("view", VIEWS)
def test_pictures_have_the_shape_and_show_what_moves(make_twin, task, view):
    twin = make_twin()
    first = twin.render(view)
    assert first.shape == (HEIGHT, WIDTH, 3) and first.dtype == np.uint8 and first.flags["C_CONTIGUOUS"]
    assert first.std() > 10
    twin.reset_world()
    assert np.any(first != twin.render(view))
    assert np.array_equal(twin.render(view), twin.render(view))


@pytest.mark.parametrize("view", VIEWS)
def test_a_crop_is_a_part_of_the_picture(make_twin, task, view):
    twin = make_twin()
    x, y, width, height = task.crop(view)
    for world in range(3):
        twin.reset_world(world)
        whole, crop = twin.render(view)[y : y + height, x : x + width], twin.render(view, cropped=True)
        assert crop.shape == (height, width, 3) and crop.flags["C_CONTIGUOUS"]
        assert (whole != crop).mean() < 1e-3  # edges may be rounded differently


def test_domain_randomisation_is_by_seed_only_and_within_its_ranges(make_twin):
    plain, twin = make_twin(), make_twin(domain_randomisation=1.0)
    nominal = {name: getattr(plain.model, name).copy() for name in DRAWN}
    share = {"light_diffuse": LIGHT, "cam_intrinsic": np.array([FOCAL, FOCAL, np.inf, np.inf])}
    pictures = []
    for seed in (1, 2, 1):
        twin.reset_world(seed)
        pictures.append(twin.render("side"))
        change = {name: np.abs(getattr(twin.model, name) - values).max() for name, values in nominal.items()}
        assert all(value > 0 for value in change.values()), change
        assert change["cam_pos"] <= MOUNT and change["geom_rgba"] <= TINT
        for name, most in share.items():
            off = np.abs(getattr(twin.model, name) - nominal[name])
            assert np.all(off <= most * np.abs(nominal[name]) + 1e-9), name
        centre = twin.model.cam_intrinsic[:, 2:] - nominal["cam_intrinsic"][:, 2:]  # m on the sensor
        assert np.all(np.abs(centre) <= CENTRE * twin.model.cam_sensorsize[:, :1] / WIDTH + 1e-9)
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])


def test_the_published_mount_is_the_nominal_one_whatever_is_drawn(make_twin):
    plain, twin = make_twin(), make_twin(domain_randomisation=1.0)
    for view in VIEWS:
        for one, other in zip(plain.mounts[view], twin.mounts[view], strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name", task_names())
def test_every_colour_but_the_arms_is_drawn(name):
    """Of what can be seen."""
    twin = Twin(load_task(name), options=TwinOptions(domain_randomisation=1.0))
    before = twin.model.geom_rgba.copy()
    twin.reset_world(1)
    changed = (twin.model.geom_rgba != before).any(axis=1)
    arm = twin.model.body_rootid[twin.model.geom_bodyid] == twin.model.body("gripper_link").rootid[0]
    black = ~before[:, :3].any(axis=1)
    assert not changed[arm].any() and changed[~arm & ~black].all()
    twin.close()


def test_without_domain_randomisation_worlds_look_alike(make_twin):
    twin = make_twin()
    nominal = {name: getattr(twin.model, name).copy() for name in DRAWN}
    twin.reset_world(3)
    assert all(np.array_equal(getattr(twin.model, name), values) for name, values in nominal.items())


def test_shadows_change_the_picture(make_twin):
    assert np.any(make_twin().render("side") != make_twin(shadows=True).render("side"))
