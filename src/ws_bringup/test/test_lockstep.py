"""Lockstep's delays are those of the graph: of one episode, different from episode to episode."""

import numpy as np
import pytest

from ws_bringup.lockstep import CAMERA_DELAY, CAMERA_RATE, TICK, Env
from ws_rollouts.task import load_task

TASK = load_task("insertion")
FORTH = np.array([0.5, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture
def env():
    env = Env(TASK, seed=1, pictures=False)
    yield env
    env.close()


def command_delay(env, monkeypatch):
    """Seconds from what is seen until the driver has the command."""
    taken, began, relay = [], env.twin.time, env.relay
    with monkeypatch.context() as patch:
        accept = relay.on_command
        patch.setattr(relay, "on_command", lambda *given: (taken.append(given[-1]), accept(*given)))
        env.step(FORTH)
    return taken[0] - began


def age(env):
    return env.twin.time - env.observe().stamps["side"] * 1e-9


def test_commands_and_frames_are_late_by_as_much_as_in_the_graph(env, monkeypatch):
    delays, ages = set(), []
    for _ in range(12):
        env.reset()
        of_episode = {round(command_delay(env, monkeypatch) / TICK) for _ in range(3)}
        assert len(of_episode) == 1, "both clocks are regular"
        delays |= of_episode
        ages.append(age(env))
    assert delays == {1, 2}
    assert min(ages) >= CAMERA_DELAY - 1e-6 and max(ages) < CAMERA_DELAY + 1 / CAMERA_RATE + 1e-6
    assert np.ptp(ages) > 0.5 / CAMERA_RATE, "no phase is kept from one episode to the next"


def test_an_episode_starts_the_same_however_long_the_last_one_was(env):
    starts = []
    for steps in (1, 5):
        env.reset(seed=4)
        for _ in range(steps):
            env.step(FORTH)
        starts.append((env.reset().state, env.twin.object_poses()))
    (state, poses), (other, others) = starts
    np.testing.assert_array_equal(state, other)
    for name, (position, _) in poses.items():
        np.testing.assert_array_equal(position, others[name][0])
