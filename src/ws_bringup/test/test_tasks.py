"""Every task in lockstep: the operator does it, idle and random hands do not."""

import numpy as np
import pytest

from ws_bringup.lockstep import Env, ask, play
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import STATE
from ws_rollouts.task import load_task, task_names


@pytest.fixture
def make_env():
    envs = []

    def make(name, seed=0, **overrides):
        envs.append(Env(load_task(name, overrides), seed, pictures=False))  # nobody looks
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def operated(env, seed):
    """Acts for an operator that demonstrates."""
    operator = ScriptedOperator(env.task, seed=seed)
    operator.begin(True)
    return lambda seen: ask(operator, env, seen)


@pytest.mark.parametrize("name", task_names())
def test_the_operator_demonstrates(make_env, name):
    env = make_env(name)
    episode = play(env, operated(env, 1), "demonstration")
    assert episode.success and len(episode) > 10
    assert np.abs(episode.action).max() <= 1.0
    classes = set(episode.action[:, -1])
    assert classes == {0.0} if env.task.gripper == "fixed" else -1.0 in classes


@pytest.mark.parametrize("name", task_names())
def test_random_hands_do_not(make_env, name):
    env, rng = make_env(name, episode_steps=40), np.random.default_rng(0)
    episode = play(env, lambda _: np.append(rng.uniform(-1, 1, 3), rng.integers(-1, 2)).astype(np.float32), "random")
    assert episode.outcome == "timeout"


@pytest.mark.parametrize("name", [name for name in task_names() if load_task(name).gripper == "learned"])
def test_an_episode_starts_with_the_gripper_open(make_env, name):
    env = make_env(name)
    idle = np.zeros(env.task.action_size, np.float32)
    env.reset()
    for _ in range(12):
        env.step(np.append(idle[:-1], -1.0))
    assert env.step(idle)[0].state[STATE["gripper"]] < 0.1
    assert env.reset().state[STATE["gripper"]] == pytest.approx(env.task.gripper_opening, abs=0.02)


def test_the_peg_is_held_again_after_a_reset(make_env):
    env = make_env("insertion")
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(15):
        env.step(np.append(rng.uniform(-1, 1, 3), 0))
    for _ in range(2):
        tool = env.reset().state[STATE["position"]]
        assert np.linalg.norm(env.twin.object_poses()["peg"][0] - tool - (0, 0, -0.104)) < 0.002
