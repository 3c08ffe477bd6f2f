"""What a closing hand takes along, by what is seen of its place and of the hand afterwards."""

import numpy as np
import pytest

from ws_world_model.scene.grasped import completed, in_the_air, left_behind, other_now, seen_before
from ws_world_model.scene.points import Cloud
from ws_world_model.scene.shots import Exposure, Shot
from ws_world_model.scene.testing import LENS, SIZE, mount, see

TABLE = 0.0
CENTER = np.array([0.28, 0.02])
EYE = np.eye(3)
DOWN = np.array([[0, -0.5, 0.866], [-1, 0, 0], [0, -0.866, -0.5]])  # of a camera that looks ahead and down


def shot(center, shift=(0.0, 0.0, 0.0), tool=(0.28, 0.02, 0.15), paint=None):
    """Both views of the box; it and the table are moved by `shift`, as is the tool."""
    views = {}
    for view, position in (("side", (0.08, -0.40, 0.27)), ("wrist", (0.20, 0.02, 0.25))):
        rotation = mount("side")[:3, :3] if view == "side" else DOWN
        at = np.array(position) - shift
        color, depth = see(rotation, at, TABLE, center)
        if paint is not None:
            color[:] = paint
        rows, columns = np.indices(SIZE, float)
        rays = np.stack([(columns - LENS[2]) / LENS[0], (rows - LENS[3]) / LENS[1], np.ones(SIZE)], -1)
        points = (depth[..., None] * rays) @ rotation.T + position
        views[view] = Exposure(color, depth.astype(np.float32), points.astype(np.float32),
                               np.full(SIZE, -1, np.int8), rotation, np.array(position), LENS)
    return Shot(0, views, np.array(tool) + shift, EYE, EYE[None], np.zeros((1, 3)), 0.0)


def seen_of(shot, view="side"):
    seen = shot.views[view]
    return Cloud.of(seen.points[seen.scene], seen.color[seen.scene])


def on_table(cloud):
    return np.abs(cloud.xyz[:, 2] - TABLE) < 1e-4


LIFTED = [(0.0, 0.0, 0.05), (0.01, 0.0, 0.06), (0.02, 0.01, 0.05), (0.03, 0.0, 0.07)]
TOOL = np.array([0.28, 0.02, 0.15])


def laid(points, tool):
    return points - tool + TOOL


def test_another_color_in_the_same_place_is_something_else():
    cloud = seen_of(shot(None))
    red = [shot(None, paint=(230, 20, 20))] * 2
    assert other_now(cloud, red).mean() > 0.95, "all of it is gray or a spot of another color"
    assert not other_now(cloud, [shot(None)] * 2).any()
    assert not other_now(cloud, [*red[:1], *[shot(None)] * 2]).any(), "most say that it is the same"


def test_what_was_painted_on_the_place_is_not_left_behind():
    cloud = seen_of(shot(None, paint=(230, 20, 20)))
    near = np.linalg.norm(cloud.xyz[:, :2] - CENTER, axis=1) < 0.02
    out = left_behind(cloud, cloud.xyz[near], [shot(None)] * 2)
    assert out[near].all() and not out[np.linalg.norm(cloud.xyz[:, :2] - CENTER, axis=1) > 0.03].any()


def test_sides_that_come_into_view_belong_to_what_went_and_the_table_does_not():
    seen = seen_of(shot(CENTER))
    box = ~on_table(seen)
    known = seen.xyz[box][seen.xyz[box][:, 2] > 0.055]
    found = seen_before(known, seen, [shot(None)] * 3)
    assert len(found) > 50 and not on_table(found).any()
    assert len(seen_before(known, seen, [shot(CENTER)] * 3)) == 0, "it is still there"


def test_a_thing_in_the_hand_is_seen_from_all_sides_that_the_cameras_see_there():
    seen = seen_of(shot(CENTER))
    top = seen[seen.xyz[:, 2] > 0.055]
    held = in_the_air({"side": top, "wrist": top}, laid, [shot(CENTER, shift) for shift in LIFTED])
    for view, cloud in held.items():
        assert len(cloud) > 300, view
        local = cloud.xyz - (*CENTER, 0.0)
        assert (np.abs(local[:, :2]) < (0.056, 0.036)).all() and local[:, 2].max() < 0.066, "where it lay"
    assert held["side"].xyz[:, 2].min() < 0.04, "its sides, as far as they are near to what is known"


def test_too_few_looks_at_the_hand_tell_nothing():
    top = seen_of(shot(CENTER))
    assert not any(map(len, in_the_air({"side": top, "wrist": top}, laid, [shot(CENTER)] * 2).values()))


@pytest.mark.parametrize(("later", "kept"), [([], True), ([shot(None)], False), ([shot(CENTER)], True)])
def test_what_was_seen_through_does_not_complete_a_thing(later, kept):
    seen = seen_of(shot(CENTER))
    box = seen[~on_table(seen)]
    left, right = box[box.xyz[:, 0] < CENTER[0]], box[box.xyz[:, 0] > CENTER[0] + 0.01]
    nothing = left[:0]
    whole = completed({"side": left, "wrist": nothing}, {"side": right, "wrist": nothing}, later,
                      lambda points, _: points)["side"]
    assert (len(whole) > len(left) + 0.8 * len(right)) == kept and len(whole) >= len(left)
