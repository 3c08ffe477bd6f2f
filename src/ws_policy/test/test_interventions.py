import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_policy.interventions import FAILURE, SUCCESS, Joystick, decide
from ws_rollouts.episode import DEMONSTRATION, HUMAN, POLICY
from ws_rollouts.task import load_task

TASK = load_task("pushing")
POLICY_ACTION = np.full(4, 0.25, np.float32)
ON, OFF = [1, 0, 0], [0, 0, 0]


def held(now=0.0, axes=(0.5, -0.5, 1.0, 0.0)):
    joystick = Joystick(TASK)
    joystick.offer(axes, ON, now)
    return joystick


def test_deadman_decides():
    joystick = held()
    assert joystick.action(0.1) == pytest.approx([0.5, -0.5, 1.0, 0.0])
    joystick.offer([1, 1, 1, 0], OFF, 0.2)
    assert joystick.action(0.2) is None


def test_stale_joy_is_hands_off():
    assert held().action(0.29) is not None
    assert held().action(0.31) is None


def test_axes_are_clipped_and_a_fixed_gripper_stays():
    assert held(axes=(9, -9, 0.5, 1.0)).action(0) == pytest.approx([1, -1, 0.5, 0])


@pytest.mark.parametrize("axes, buttons", [((np.nan, 0, 0, 0), ON), ((0, 0), ON), ((0, 0, 0, 0), [])])
def test_broken_joy_is_hands_off_and_counted(axes, buttons):
    joystick = held()
    assert joystick.offer(axes, buttons, 0.05) == ()
    assert joystick.action(0.05) is None and joystick.rejected == 1


def test_buttons_count_when_they_go_down():
    joystick = Joystick(TASK)
    assert joystick.offer([0] * 4, [0, 1, 0], 0.0) == ()  # held since before the start
    assert joystick.offer([0] * 4, [0, 0, 0], 0.1) == ()
    assert joystick.offer([0] * 4, [0, 1, 0], 0.2) == (SUCCESS,)
    assert joystick.offer([0] * 4, [0, 1, 1], 0.3) == (FAILURE,)


def test_sources():
    action = np.zeros(4, np.float32)
    assert decide(action, lambda: POLICY_ACTION, True)[1] == DEMONSTRATION
    with pytest.raises(ValueError, match="human"):
        decide(None, lambda: POLICY_ACTION, True)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(st.floats(-0.001, 0.001), st.booleans()), max_size=4), st.booleans())
def test_takeover_at_a_step_boundary_has_exactly_one_owner(events, held_before):
    """Deadman events within 1 ms of the boundary: flag and action always agree."""
    joystick = held() if held_before else Joystick(TASK)
    boundary, asked = 0.1, []
    for offset, down in sorted(events):
        if offset <= 0:
            joystick.offer([0.5, 0.5, 0.5, 0], ON if down else OFF, boundary + offset)
    action, source = decide(joystick.action(boundary), lambda: asked.append(1) or POLICY_ACTION, False)
    past = [down for offset, down in sorted(events) if offset <= 0]
    expected = past[-1] if past else held_before
    assert (source == HUMAN) == expected
    assert (source == POLICY) == bool(asked) == np.array_equal(action, POLICY_ACTION)
