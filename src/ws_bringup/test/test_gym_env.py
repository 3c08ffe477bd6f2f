"""The Gymnasium environments: what the checker asks for, seeds, vectors, and the operator's hand in them."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ws_bringup.gym_env import env_id
from ws_rollouts.task import task_names


@pytest.fixture
def make():
    envs = []

    def made(name="pushing", **options):
        envs.append(gymnasium.make(env_id(name), **options))
        return envs[-1]

    yield made
    for env in envs:
        env.close()


def actions(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def test_ids():
    assert env_id("pick_place") == "worldsample/PickPlace-v0"
    assert {env_id(name) for name in task_names()} <= set(gymnasium.registry)


@pytest.mark.parametrize("name", task_names())
def test_the_checker_is_content(make, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(name, render_mode="rgb_array").unwrapped)


def test_the_same_seed_gives_the_same_episode(make):
    env = make("sorting", domain_randomisation=1.0)
    runs = []
    for _ in range(2):
        seen = [env.reset(seed=4)[0]]
        seen += [env.step(action)[0] for action in actions(env, 3)]
        seen.append(env.reset()[0])  # and so does the next world
        runs.append(seen)
        env.step(actions(env, 1)[0])
    for one, other in zip(*runs, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_without_a_seed_each_begins_in_another_world(make):
    seen = [make("sorting").reset()[0]["side"] for _ in range(2)]
    assert not np.array_equal(*seen)


def test_an_operator_demonstrates(make):
    env = make("sorting", operator="demonstrate")
    env.reset(seed=1)
    for _ in range(env.unwrapped.task.episode_steps):
        _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
        assert info["is_intervention"] and info["operator_action"].any()
        if terminated or truncated:
            break
    assert terminated and reward == 1.0 and info["success"]


def test_an_operator_intervenes_when_nothing_happens(make):
    env = make(operator="intervene")
    env.reset(seed=1)
    infos = [env.step(np.zeros(4, np.float32))[4] for _ in range(14)]
    assert not infos[0]["is_intervention"] and not infos[0]["operator_action"].any()
    assert infos[-1]["is_intervention"] and infos[-1]["operator_action"].any()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors(mode):
    envs = gymnasium.make_vec(env_id("insertion"), num_envs=2, vectorization_mode=mode)
    seen, _ = envs.reset(seed=3)
    assert seen["side"].shape == (2, 64, 64, 3) and not np.array_equal(seen["side"][0], seen["side"][1])
    _, reward, terminated, _, infos = envs.step(envs.action_space.sample())
    assert reward.shape == terminated.shape == (2,) and infos["operator_action"].shape == (2, 4)
    envs.close()


@pytest.mark.parametrize(("options", "reason"), [
    ({"operator": "ghost"}, "ghost"), ({"overrides": {"episode_steps": 0}}, "episode_steps = 0"),
    ({"domain_randomisation": 5.0}, "domain_randomisation = 5.0: must be in 0 .. 1"),
])
def test_what_is_unknown_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        gymnasium.make(env_id("pushing"), **options)


@pytest.mark.parametrize("action", [np.zeros(3), np.full(4, np.nan)])
def test_bad_actions_are_refused(make, action):
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(action)
