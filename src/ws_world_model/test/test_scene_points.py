"""Clouds, the loops over them, the table below them, and how one lies against another."""

import cv2
import numpy as np
import pytest

from ws_rollouts.task import load_task
from ws_world_model.scene.kernels import NEAR, beyond, nearest_link, splat
from ws_world_model.scene.points import ALWAYS, Cloud, absent, connected, merged
from ws_world_model.scene.registration import in_hand, register, turned
from ws_world_model.scene.table import Region, TableMap, fit_plane, height
from ws_world_model.scene.testing import box_cloud

TASK = load_task("pushing")
LENS = np.array([50.0, 50.0, 15.5, 15.5])
EYE, ORIGIN = np.eye(3), np.zeros(3)
GRAY = np.full((1, 3), 90, np.uint8)


def test_points_of_a_voxel_become_one_of_their_mean():
    xyz = np.array([[0.0101, 0, 0], [0.0109, 0, 0], [0.5, 0.5, -0.5]])
    points, colors = merged(xyz, np.array([[10, 0, 0], [30, 0, 0], [0, 0, 200]], np.uint8), 0.01)
    order = np.argsort(points[:, 0])
    np.testing.assert_allclose(points[order], [[0.0105, 0, 0], [0.5, 0.5, -0.5]], atol=1e-6)
    assert colors[order].tolist() == [[20, 0, 0], [0, 0, 200]]
    assert [len(part) for part in merged(np.zeros((0, 3)), np.zeros((0, 3)), 0.01)] == [0, 0]


def test_what_no_other_is_near_is_absent():
    xyz = np.array([[0.005, 0.005, 0.005], [0.105, 0.005, -0.005]])
    assert absent(xyz, xyz[:1] + 0.002, 0.01).tolist() == [False, True]
    assert absent(xyz, np.zeros((0, 3)), 0.01).all()


def test_what_hangs_together_has_one_number():
    line = np.column_stack([np.arange(0, 0.05, 0.002), np.zeros((25, 2))])
    found = connected(np.concatenate([line, line + (0, 0.03, 0)]), 0.004)
    assert len(set(found[:25])) == len(set(found[25:])) == 1 and found[0] != found[25]
    assert len(connected(np.zeros((0, 3)), 0.01)) == 0


def test_clouds_join_and_keep_their_moments():
    late = Cloud.of(np.ones((2, 3)), np.zeros((2, 3)), born=3)
    both = Cloud.join([Cloud.of(np.zeros((1, 3)), GRAY), late])
    assert len(both) == 3 and both.born.tolist() == [0, 3, 3] and (both.gone == ALWAYS).all()
    assert len(both[both.born == 3]) == 2 and len(Cloud.join([])) == 0


def drawn(xyz, moment=0, radius=0.0005, colors=None, born=0, gone=ALWAYS, slope=0.0):
    xyz = np.array(xyz, np.float32).reshape(-1, 3)
    colors = np.full(xyz.shape, 200, np.uint8) if colors is None else np.array(colors, np.uint8)
    picture, depth = np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 9.0, np.float32)
    count = len(xyz)
    splat(xyz, colors, np.full(count, born, np.int16), np.full(count, gone, np.int16), moment, EYE, ORIGIN, LENS,
          radius, slope, np.full_like(depth, np.inf) if slope else depth, depth, picture)
    return picture, depth


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearest_point_is_drawn(order):
    xyz, colors = np.array([[0, 0, 0.5], [0, 0, 0.3]]), np.array([[255, 0, 0], [0, 255, 0]])
    picture, depth = drawn(xyz[list(order)], colors=colors[list(order)])
    assert picture[15, 15].tolist() == [0, 255, 0] and depth[15, 15] == pytest.approx(0.3)


def test_a_point_is_drawn_where_a_pinhole_has_it_and_as_large():
    picture, _ = drawn([[0.05, -0.1, 1.0]])  # u = 18, v = 10.5
    rows, columns = np.nonzero(picture[..., 0])
    assert set(columns) == {18} and set(rows) <= {10, 11}
    wide, _ = drawn([[0.0, 0.0, 0.5]], radius=0.03)  # 3 px
    assert 36 <= np.count_nonzero(wide[..., 0]) <= 49


def test_a_wide_point_with_a_slope_leaves_to_others_what_lies_beside_it():
    """A peg of 2 cm over a board, whose points have gaps: in these the board is drawn, not the peg."""
    board, peg = np.array([[0.01, 0, 0.5], [0.03, 0, 0.5]]), np.array([[0.0, 0, 0.48]])
    colors = np.array([[9, 9, 9], [9, 9, 9], [200, 0, 0]])
    place = 16, 17  # 1.5 px beside the peg, half a pixel beside a point of the board
    assert drawn([*board, *peg], radius=0.02, colors=colors)[0][place].tolist() == [200, 0, 0]
    picture, depth = drawn([*board, *peg], radius=0.02, colors=colors, slope=20.0)
    assert picture[place].tolist() == [9, 9, 9] and depth[place] == pytest.approx(0.5)
    assert picture[15, 15].tolist() == [200, 0, 0] and depth[15, 15] == pytest.approx(0.48), "what it covers itself"


@pytest.mark.parametrize(("moment", "seen"), [(1, False), (2, True), (4, True), (5, False)])
def test_a_point_is_drawn_while_it_is_there(moment, seen):
    assert drawn([[0, 0, 0.5]], moment, born=2, gone=5)[0].any() == seen


@pytest.mark.parametrize("place", [(0, 0, -0.5), (0, 0, NEAR / 2), (1, 0, 0.5), (0, -1, 0.5), (0, 0, 0)])
def test_what_is_behind_the_camera_or_beside_the_picture_is_not_drawn(place):
    picture, depth = drawn([place])
    assert not picture.any() and (depth == 9.0).all()


def test_a_pixel_is_of_the_link_in_whose_box_it_is_deepest():
    points = np.array([[[0.0, 0, 0], [0.08, 0, 0], [0.104, 0, 0], [0.2, 0, 0], [0.0, 0, 0]]])
    valid = np.array([[True, True, True, True, False]])
    links = nearest_link(points, valid, np.array([0, 1]), np.array([[0.0, 0, 0], [0.01, 0, 0]]),
                         np.array([[0.05] * 3, [0.05] * 3]), np.array([0.0, 0.01]), np.stack([EYE, EYE]),
                         np.array([[0.0, 0, 0], [0.04, 0, 0]]))
    assert links.tolist() == [[0, 1, 1, -1, -1]]


def test_only_what_the_picture_shows_through_is_gone():
    depth = np.full((32, 32), 0.5, np.float32)
    depth[20:] = 0.0  # nothing is known there
    points = np.array([[0, 0, 0.4], [0, 0, 0.498], [0, 0, 0.7], [0, 0.1, 0.4], [1.0, 0, 0.4], [0, 0, -0.4]])
    assert (beyond(points, EYE, ORIGIN, LENS, depth) > 0.01).tolist() == [True, *[False] * 5]


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.02, -0.03)])
def test_the_table_is_found_below_things_and_noise(tilt):
    rng = np.random.default_rng(2)
    xy = rng.uniform((0.1, -0.3), (0.5, 0.3), (6000, 2))
    z = -0.04 + xy @ tilt + rng.normal(0, 0.001, len(xy))
    z[:1500] += rng.uniform(0.02, 0.2, 1500)
    plane, residual = fit_plane(np.column_stack([xy, z]))
    corners = np.array([[0.1, -0.3], [0.5, 0.3], [0.1, 0.3]])
    assert np.abs(height(plane, corners) - (-0.04 + corners @ tilt)).max() < 0.001
    assert 0.0005 < residual < 0.002
    with pytest.raises(ValueError, match="500 needed"):
        fit_plane(np.zeros((499, 3)))


def test_things_stand_around_the_workspace_but_not_at_the_base():
    region = Region(TASK)
    inside = np.array([[0.28, 0.0, 0.0], [0.45, -0.3, 0.9]])
    assert region.holds(inside).all()
    assert not region.holds(np.array([[0.05, 0.02, 0.0], [0.9, 0, 0], [0.3, 0.5, 0], [-0.3, 0.0, 0]])).any()


def test_a_spot_on_the_table_is_seen_where_a_pinhole_sees_it():
    region, plane = Region(TASK), np.array([-0.04, 0.02, -0.01])
    table, spot = TableMap(region), np.array([0.301, 0.053])
    grid = np.stack(np.meshgrid(*(np.arange(a, b, 0.001) for a, b in zip(region.low, region.high, strict=True)),
                                indexing="ij"), -1).reshape(-1, 2)
    colors = np.full((len(grid), 3), 60, np.uint8)
    colors[np.linalg.norm(grid - spot, axis=1) < 0.01] = (250, 30, 30)
    table.add(np.column_stack([grid, height(plane, grid)]), colors)
    matrix = np.array([[120.0, 0, 64], [0, 118.0, 60], [0, 0, 1]])
    turn, _ = np.linalg.qr(np.array([[0.9, -0.15, 0.38], [-0.41, -0.33, 0.85], [0, -0.93, -0.36]]))
    turn *= np.sign(np.diag(turn.T @ [[0.9, -0.15, 0.38], [-0.41, -0.33, 0.85], [0, -0.93, -0.36]]))
    position = np.array([0.08, -0.40, 0.27])
    picture = cv2.warpPerspective(table.picture, table.homography(plane, turn, position, matrix), (128, 120))
    rows, columns = np.nonzero(picture[..., 0] > 150)
    ray = turn.T @ (np.append(spot, height(plane, spot)) - position)
    wanted = (matrix @ (ray / ray[2]))[:2]
    assert len(rows) > 5 and np.abs((columns.mean(), rows.mean()) - wanted).max() < 0.7


def test_what_was_never_seen_of_the_table_has_its_mean_color():
    table = TableMap(Region(TASK))
    table.add(np.array([[0.3, 0.0, 0.0], [0.2, 0.0, 0.0], [9.0, 9.0, 0.0]]), np.array([[10] * 3, [30] * 3, [255] * 3]))
    values, count = np.unique(table.picture[..., 0], return_counts=True)
    assert values.tolist() == [10, 20, 30] and count.tolist()[::2] == [1, 1]


def angle(a, b):
    return abs((a - b + np.pi) % (2 * np.pi) - np.pi)


@pytest.mark.parametrize("yaw", [0.0, 0.2, -0.5, 0.8])
def test_a_known_motion_is_found(yaw):
    source, target = box_cloud((0.25, 0.0)), box_cloud((0.29, 0.04), yaw, every=0.0023)
    found = register(source, target)
    assert found.fits and angle(found.yaw, yaw) < np.radians(1.0)
    center = turned(np.array([0.25, 0.0]), found.yaw) + found.shift
    assert np.linalg.norm(center - (0.29, 0.04)) < 0.002


def test_a_part_of_a_thing_is_enough():
    source, target = box_cloud((0.25, 0.0)), box_cloud((0.27, -0.02), 0.3)
    part = source[source.xyz[:, 0] < 0.26]  # as one that is hidden in part
    found = register(part, target)
    assert found.fits and angle(found.yaw, 0.3) < np.radians(3.0)


@pytest.mark.parametrize("target", [
    box_cloud(size=0.6), Cloud.of(box_cloud().xyz + (0.0, 0.0, 0.05), box_cloud().rgb),
    Cloud.of(box_cloud().xyz + np.outer(np.sin(90 * box_cloud().xyz[:, 0]) > 0, (0.0, 0.0, 0.03)), box_cloud().rgb),
], ids=["smaller", "higher", "stepped"])
def test_other_things_do_not_fit(target):
    assert not register(box_cloud(), target).fits


def test_too_few_points_fit_nothing():
    few = box_cloud()[:10]
    assert not register(few, box_cloud()).fits and not in_hand(box_cloud(), few).fits


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.006, -0.004, -0.003)])
@pytest.mark.parametrize("yaw", [0.0, 0.3, -0.6])
def test_how_a_thing_moved_in_the_hand_is_found_beside_other_things(yaw, shift):
    lay, seen = box_cloud(), box_cloud(shift[:2], yaw)
    seen.xyz[:, 2] += shift[2]
    rng = np.random.default_rng(0)
    other = Cloud.of(rng.uniform((0.07, -0.05, 0), (0.1, 0.05, 0.06), (300, 3)), np.zeros((300, 3)))
    found = in_hand(Cloud.join([seen, other]), lay)
    assert found.fits and angle(found.yaw, yaw) < 0.04
    np.testing.assert_allclose([*found.shift, found.rise], shift, atol=0.0025)
