"""Whatever comes in, what goes out is finite, slow enough, inside the limits, and nothing while it must be nothing."""

import contextlib
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_driver_a1x.relay import FAULT, LOCKED, RESETTING, Refused

BOX_TOLERANCE = 0.002  # m

number = st.one_of(st.floats(-0.3, 0.3), st.sampled_from([0.0, 1e9, -1e9, 1e300, math.nan, math.inf, -math.inf]))
vector = st.one_of(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3), st.lists(number, max_size=5))
calm = st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3)
request = st.sampled_from(["enable", "hold", "reset", "estop", "clear_fault"])
ticks = st.integers(1, 25)
event = st.one_of(
    st.tuples(st.just("drive"), calm, st.integers(5, 100)), st.tuples(st.just("command"), calm, ticks),
    st.tuples(st.just("command"), vector, ticks), st.tuples(st.just("turn"), vector, ticks),
    st.tuples(st.just("gripper"), number, ticks), st.tuples(st.just("request"), request, ticks),
    st.tuples(st.just("silence"), st.just(None), ticks),
    st.tuples(st.just("bad feedback"), st.lists(number, max_size=7), ticks),
)


def apply(bench, kind: str, value) -> None:
    relay = bench.relay
    if kind == "command":
        relay.on_command(value, [0, 0, 0], bench.now)
    elif kind == "turn":
        relay.on_command([0, 0, 0], value, bench.now)
    elif kind == "gripper":
        relay.on_gripper_command(value, bench.now)
        relay.on_gripper(value)
    elif kind == "bad feedback":
        relay.on_feedback(value, value, value, bench.now)
    elif kind == "request":
        with contextlib.suppress(Refused):
            relay.reset(bench.task.reset_joints) if value == "reset" else getattr(relay, value)()


def check(bench, target, before, period: float) -> None:
    relay, options = bench.relay, bench.relay.options
    assert np.all(np.isfinite(target.position)) and target.position.shape == (6,)
    assert np.all(target.speed >= 0.1) and np.all(np.isfinite(target.speed))
    assert 0.0 <= target.gripper <= 100.0
    arm = relay.kinematics
    assert np.all(target.position >= arm.soft_lower - 1e-6) and np.all(target.position <= arm.soft_upper + 1e-6)
    if before is not None:
        limit = np.array(options.joint_speed) * min(period, options.max_tick)
        assert np.all(np.abs(target.position - before.position) <= limit + 1e-6)
    if relay.mode != RESETTING:
        tool = arm.forward(target.position)[0]
        low, high = np.maximum(bench.task.workspace_low, [-9, -9, options.floor]), bench.task.workspace_high
        assert np.all(tool >= low - BOX_TOLERANCE) and np.all(tool <= high + np.full(3, BOX_TOLERANCE))
    state = relay.state()
    for values in (state.position, state.rotation, state.velocity, state.target, [state.gripper]):
        assert np.all(np.isfinite(values))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(event, max_size=40), st.sampled_from([0.3, 0.05, 1.0]), st.sampled_from([0.01, 0.02, 0.2]),
       st.sampled_from([0.015, 0.05]))
def test_outputs_stay_inside_every_limit(bench, events, follow, period, lead):
    b = bench(follow=follow, max_lead=lead)
    before = None
    for kind, value, count in events:
        apply(b, kind, value)
        for i in range(count):
            if kind == "drive" and i % max(1, round(0.1 / period)) == 0:
                b.relay.on_command(value, [0, 0, 0], b.now)
            mode = b.relay.mode
            if mode in (LOCKED, FAULT) or kind == "request":
                before = None  # it may start anew from the measured place
            target = b.tick(feed=kind != "silence", period=period)
            if mode in (LOCKED, FAULT):
                assert target is None
            if target is not None:
                check(b, target, before, period)
            before = target


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(calm, min_size=1, max_size=30))
def test_without_commands_it_holds_within_a_quarter_second_and_then_stands_still(bench, commands):
    b = bench()
    for linear in commands:
        b.run(0.1, linear)
    b.run(0.16)
    assert b.relay.state().reason == "no fresh command"
    b.run(1.5)
    goal = b.targets[-1][1].position
    b.run(0.5)
    np.testing.assert_array_equal(b.targets[-1][1].position, goal)
    assert np.abs(b.velocity).max() < 1e-3
