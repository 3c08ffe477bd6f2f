"""Going back in time: bit for bit, any number of times; and cases whose truth is what the twin does."""

import hashlib

import numpy as np
import pytest

from ws_bringup.lockstep import Env
from ws_bringup.off_expert import OffExpertOptions, collect
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_world_model.counterfactuals import CounterfactualOptions

TASK = load_task("pushing", {"episode_steps": 12})


@pytest.fixture
def env():
    env = Env(TASK, seed=3)
    yield env
    env.close()


def run(env, actions):
    """Hash of everything that is seen."""
    digest = hashlib.sha256()
    for action in actions:
        seen, reward, terminated, truncated = env.step(action)
        digest.update(b"".join(seen.frames[view].tobytes() for view in VIEWS) + seen.state.tobytes())
        digest.update(repr((seen.stamps, reward, terminated, truncated, env.twin.time, *env.target)).encode())
    return digest.hexdigest()


def actions(count, seed):
    action = np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32)
    action[:, 2] = -abs(action[:, 2])  # down, into what stands there
    action[:, 3] = 0
    return action


def test_a_restored_environment_goes_on_bit_for_bit(env):
    env.reset()
    run(env, actions(4, 1))
    state, more = env.snapshot(), actions(5, 2)
    first = run(env, more)
    assert run(env, more) != first  # it has moved on
    env.reset()  # and to another world
    for _ in range(2):
        env.restore(state)
        assert run(env, more) == first


def test_what_is_drawn_after_a_restore_is_the_same(env):
    env.reset()
    state = env.snapshot()
    first = env.reset().state
    second = env.reset().state
    assert not np.array_equal(first, second)
    env.restore(state)
    assert np.array_equal(env.reset().state, first)


def test_a_snapshot_is_exact_between_two_ticks_of_the_driver(env):
    env.reset()
    env.step(actions(1, 4)[0])
    twin = env.twin
    twin.command_arm(np.array(TASK.reset_joints) + 0.1, np.full(6, 1.0))  # not yet planned by the tracker
    state = twin.snapshot()
    twin.step(0.05)
    after = twin.data.qpos.copy()
    twin.restore(state)
    twin.step(0.05)
    assert np.array_equal(twin.data.qpos, after)


def test_cases_are_what_the_twin_does():
    options = OffExpertOptions(segments=1, variants=2, push_chance=0.2)
    cases = collect(TASK, 2, 1, options, CounterfactualOptions(max_length=4, min_length=4))
    unchanged = collect(TASK, 1, 1, options, CounterfactualOptions(max_length=4, min_length=4, scale=0.0, noise=0.0))
    for case in (*cases, *unchanged):
        assert len(case) == len(case.state) == 4 and not case.success
        assert case.context.age.shape == (1, 5, 2)
    assert not np.array_equal(cases[0].actions, cases[1].actions)
    assert not np.array_equal(cases[0].state, cases[1].state)
    parent, start = unchanged[0].episode, unchanged[0].start
    assert np.array_equal(unchanged[0].state, parent.state[start + 1 : start + 5])
    for view in VIEWS:
        assert np.array_equal(unchanged[0].frames[view], parent.frames[view][start + 1 : start + 5])
