"""Depth beside color: it measures what is there, and the options make it look like a D435i's."""

import cv2
import mujoco
import numpy as np
import pytest

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_twin_a1x.cameras import COLOR_OFFSET, HEIGHT, INTRINSICS, WIDTH
from ws_twin_a1x.depth import EDGE, measure
from ws_twin_a1x.twin import Twin


def points_in_base(twin, view, depth):
    """Where each pixel's surface is, (H, W, 3) m in base_link, by the published mount and lens."""
    fx, fy, cx, cy = INTRINSICS
    z = depth / 1000.0
    v, u = np.mgrid[:HEIGHT, :WIDTH]  # camera_info counts from the first pixel's middle
    left_up = np.stack([z, -(u - cx) / fx * z + COLOR_OFFSET, -(v - cy) / fy * z], axis=-1)  # in <view>_camera_link
    parent, position, quat = twin.mounts[view]
    rotation, body = np.zeros(9), twin.data.body(parent)
    mujoco.mju_quat2Mat(rotation, quat)
    return (left_up @ rotation.reshape(3, 3).T + position) @ body.xmat.reshape(3, 3).T + body.xpos


def seen_by_ray(twin, view, u, v):
    """(geom, distance along the optical axis in m) of what a pixel's centre shows."""
    fx, fy, cx, cy = INTRINSICS
    camera = twin.data.camera(view)
    ray = np.array([(u - cx) / fx, -(v - cy) / fy, -1.0])
    geom = np.zeros(1, np.int32)
    looks = np.array([0, 0, 1, 0, 0, 0], np.uint8)
    direction = camera.xmat.reshape(3, 3) @ ray
    distance = mujoco.mj_ray(twin.model, twin.data, camera.xpos, direction, looks, 1, -1, geom, None)
    return int(geom[0]), distance


@pytest.mark.parametrize("name", ["pushing", "sorting"])
@pytest.mark.parametrize("view", VIEWS)
def test_depth_is_the_distance_and_the_table_lies_where_it_is(name, view):
    task = load_task(name)
    twin = Twin(task)
    twin.reset_world(3)
    twin.command_arm(np.array(task.reset_joints) + [0.2, 0.1, -0.1, 0.1, 0.2, 0.3], [1.0] * 6)
    twin.step(0.5)
    _, depth = twin.render_rgbd(view)
    assert depth.shape == (HEIGHT, WIDTH) and depth.dtype == np.uint16
    height = points_in_base(twin, view, depth)[..., 2]
    boxes = on_table = 0
    for v in range(4, HEIGHT, 9):
        for u in range(4, WIDTH, 9):
            geom, distance = seen_by_ray(twin, view, u, v)
            block = depth[v - 1 : v + 2, u - 1 : u + 2].astype(int)
            if distance < 0 or np.ptp(block) > 20:  # at an edge a pixel may show either side
                continue
            if twin.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:  # round things are drawn with facets
                assert abs(depth[v, u] - 1000.0 * distance) < 1.0
                boxes += 1
            if geom == twin.model.geom("table").id:
                assert abs(height[v, u] - task.table) < 0.002
                on_table += 1
    assert on_table > 30 and boxes > on_table
    twin.close()


def test_the_picture_is_the_one_without_depth(make_twin):
    twin = make_twin()
    for view in VIEWS:
        assert np.array_equal(twin.render(view), twin.render_rgbd(view)[0])


def test_beyond_ten_metres_nothing_is_measured():
    far = np.full((8, 8), 10.5, np.float32)
    far[:, :4] = 2.0
    assert (measure(far, 0.0, False) == np.where(far > 10.0, 0, 2000)).all()


def test_noise_grows_with_the_square_of_distance_and_neighbours_err_alike():
    for metres in (0.3, 0.9):
        flat = np.full((240, 424), metres, np.float32)
        errors = measure(flat, 0.005, False, (1,)) / 1000.0 - metres
        assert np.std(errors) == pytest.approx(np.hypot(0.005 * metres**2, 0.001 / np.sqrt(12)), rel=0.05)
        assert abs(errors.mean()) < 0.1 * 0.005 * metres**2
    assert np.corrcoef(errors[:, 1:].ravel(), errors[:, :-1].ravel())[0, 1] > 0.7
    assert abs(np.corrcoef(errors[:, 12:].ravel(), errors[:, :-12].ravel())[0, 1]) < 0.1


def test_holes_are_at_edges_and_near_the_lens():
    step = np.full((40, 60), 0.8, np.float32)
    step[:, 30:] = 0.5
    step[:5, 30:] = 0.1
    hole = measure(step, 0.0, True) == 0
    assert hole[20, 30 - EDGE : 30 + EDGE].all() and not hole[20, : 30 - 2 * EDGE].any()
    assert not hole[20, 30 + 2 * EDGE :].any() and hole[:5, 30:].all()
    slope = np.tile(np.linspace(0.3, 1.2, 424, dtype=np.float32), (240, 1))
    assert (measure(slope, 0.0, True) > 0).all()


def test_a_d435i_in_the_twin(make_twin):
    """Holes and noise on a real scene; seed, world and time decide, and nothing else is drawn differently."""
    plain, twin, same = make_twin(3), make_twin(3, depth_noise=0.005, depth_holes=True), make_twin(
        3, depth_noise=0.005, depth_holes=True)
    for view in VIEWS:
        color, depth = twin.render_rgbd(view)
        exact, again = plain.render_rgbd(view), same.render_rgbd(view)
        assert np.array_equal(color, exact[0]) and np.array_equal(depth, again[1])
        assert np.array_equal(depth, twin.render_rgbd(view)[1])  # a second look is the same look
        seen = depth > 0
        assert 0.5 < seen.mean() < 0.999
        error = np.abs(depth.astype(float) - exact[1])[seen] / 1000.0
        bound = 5.5 * 0.005 * (exact[1][seen] / 1000.0) ** 2 + 0.0011
        assert (error <= bound).all() and error.max() > 0.0005
        edges = cv2.morphologyEx(exact[1].astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 250.0
        assert not seen[edges].any()
    state = twin.snapshot()
    twin.step(0.1)
    other = twin.render_rgbd("side")[1]
    twin.restart(9)
    assert not np.array_equal(other, twin.render_rgbd("side")[1])
    twin.restore(state)
    twin.step(0.1)
    assert np.array_equal(other, twin.render_rgbd("side")[1])
    for each in (plain, twin):
        each.reset_world()
    assert np.array_equal(plain.object_poses()["lever"][0], twin.object_poses()["lever"][0])
