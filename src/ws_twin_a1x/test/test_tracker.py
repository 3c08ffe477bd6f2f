"""The joint tracker keeps its limits whatever it is told."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_twin_a1x.tracker import RATED_SPEED, Tracker

PERIOD = 0.005
JOINT = st.floats(-3.0, 3.0)


def run(tracker, steps):
    """Positions and velocities of `steps` periods: (steps + 1, n) each."""
    rows = [(tracker.position, tracker.velocity)]
    for _ in range(steps):
        tracker.step()
        rows.append((tracker.position, tracker.velocity))
    return (np.array(column) for column in zip(*rows, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.lists(JOINT, min_size=7, max_size=7), st.floats(0.05, 9.0)), min_size=1, max_size=5))
def test_speed_acceleration_and_jerk_stay_within_the_limits(commands):
    tracker = Tracker(np.zeros(7), PERIOD, 1.5, 15.0)
    positions, velocities = [np.zeros((1, 7))], [np.zeros((1, 7))]
    for target, speed in commands:
        tracker.command(np.array(target), np.full(7, speed))
        p, v = run(tracker, 40)
        positions.append(p[1:])
        velocities.append(v[1:])
    p, v = np.concatenate(positions), np.concatenate(velocities)
    acceleration = np.diff(v, axis=0) / PERIOD
    assert np.all(np.abs(v) <= RATED_SPEED * 1.001)
    assert np.all(np.abs(acceleration) <= 1.5 * RATED_SPEED * 1.001)
    assert np.all(np.abs(np.diff(acceleration, axis=0)) / PERIOD <= 15.0 * RATED_SPEED * 1.01)
    assert np.allclose(np.diff(p, axis=0), PERIOD * (v[1:] + v[:-1]) / 2, atol=1e-3)


def test_speed_caps_hold_and_the_target_is_reached_and_kept():
    tracker = Tracker(np.zeros(7), PERIOD)
    tracker.command(np.ones(7), np.full(7, 0.4))
    p, v = run(tracker, 1200)
    assert 0.39 < np.abs(v).max() <= 0.4 + 1e-9
    assert np.allclose(p[-1], 1.0) and np.allclose(v[-1], 0.0)
    tracker.step()
    assert np.array_equal(tracker.position, p[-1])


def test_a_zero_speed_vector_stalls():
    tracker = Tracker(np.zeros(7), PERIOD)
    tracker.command(np.ones(7), np.zeros(7))
    p, _ = run(tracker, 200)
    assert np.all(p == 0.0)


def test_a_joint_whose_cap_becomes_zero_comes_to_rest_short_of_the_target():
    tracker = Tracker(np.zeros(7), PERIOD)
    tracker.command(np.ones(7), np.ones(7))
    run(tracker, 80)
    tracker.command(np.ones(7), np.r_[0.0, np.ones(6)])
    p, v = run(tracker, 800)
    assert p[-1, 0] < 0.9 and v[-1, 0] == 0.0
    assert np.allclose(p[-1, 1:], 1.0)


def test_a_distance_at_which_the_planner_fails_is_moved_all_the_same():
    start = np.array([0.0] * 6 + [-0.1500000000000004])  # from here the acceleration limit is just reached
    tracker = Tracker(start, PERIOD, 1.5, 15.0)
    tracker.command(np.zeros(7), np.full(7, 5.0))
    p, _ = run(tracker, 400)
    assert np.allclose(p[-1], 0.0, atol=1e-12)
