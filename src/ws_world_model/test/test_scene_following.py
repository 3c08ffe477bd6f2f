"""Where a thing in the hand is drawn: as the donor's hand held it, but for how this one found it and how it slips."""

from types import SimpleNamespace

import numpy as np
import pytest

from ws_rollouts.episode import STATE
from ws_world_model.scene.donor import LIFTED, Body, Donor
from ws_world_model.scene.drawing import Motion
from ws_world_model.scene.following import ALIGNS, Following
from ws_world_model.scene.parts import GRASP

TOOL, THING = np.array([0.28, 0.02, 0.10]), np.array([0.283, 0.021, 0.02])  # where the donor's hand closed, and on what
SHIFT = np.array([0.002, -0.001, -0.003])  # m, in the donor's hand
MOVED = Motion.about(THING[:2], np.array([0.31, -0.03]), 0.2)


def following(turn=0.1, motion=MOVED, slip=None):
    state = np.zeros((12, 13), np.float32)
    state[:, STATE["position"]] = TOOL
    body = Body(GRASP, {}, 4, 10, TOOL, 0.0, 0, turn, SHIFT, np.array([0.0, 1.0, 0.0]))
    donor = Donor(SimpleNamespace(state=state), [], np.arange(12), [{}], [THING[:2]], [0], [body])
    made = Following(donor, [motion], 0.078, slip)
    made.step = 4
    return made


def held(made, tool):
    motion, raised = made.bodies(tool)[0]
    return motion(THING) + (0.0, 0.0, raised), motion.yaw


def turned(xy, yaw):
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]])


def test_it_stays_where_the_fingers_found_it_but_for_where_they_close():
    made, gap = following(), np.array([0.004, 0.006, -0.003])
    tool = MOVED(TOOL) - gap  # that much beside where the donor's hand was
    place, yaw = held(made, tool)
    np.testing.assert_allclose(made.held, [gap[0], 0.0, gap[2]], atol=1e-12)
    np.testing.assert_allclose(place[:2], tool[:2] + made.held[:2] + SHIFT[:2] + turned((THING - TOOL)[:2], yaw),
                               atol=1e-9)
    assert place[2] == pytest.approx(THING[2] + SHIFT[2]), "as it stands on the table, but for how it slipped"
    lifted, _ = held(made, tool + (0.01, 0.0, 0.03))
    np.testing.assert_allclose(lifted - place, [0.01, 0.0, 0.03], atol=1e-9)


@pytest.mark.parametrize("half", [0.0, np.pi, -np.pi])
def test_fingers_take_a_part_of_its_turn_and_grip_it_turned_by_half_a_turn_as_well(half):
    _, yaw = held(following(motion=Motion.about(THING[:2], THING[:2], 0.3 + half)), TOOL)
    assert yaw == pytest.approx(0.1 + half + (1 - ALIGNS) * 0.3)


def test_where_no_turn_was_seen_it_lies_in_the_hand_as_it_lay():
    assert held(following(turn=None), MOVED(TOOL))[1] == pytest.approx(MOVED.yaw)


def test_it_slips_as_it_is_lifted():
    slip = np.array([0.002, -0.003, 0.05])
    made, still, tool = following(slip=slip), following(), MOVED(TOOL)
    for raised, share in ((0.0, 0.0), (LIFTED / 2, 0.5), (2 * LIFTED, 1.0)):
        at = tool + (0.0, 0.0, raised)
        yaw = held(made, at)[1] - held(still, at)[1]
        np.testing.assert_allclose([*(made.held - still.held)[:2], yaw], share * slip, atol=1e-9)


def test_let_go_it_stays():
    made = following()
    place, _ = held(made, MOVED(TOOL))
    made.step = 10
    np.testing.assert_array_equal(held(made, MOVED(TOOL) + 0.05)[0], place)
