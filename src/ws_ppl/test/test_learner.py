"""The learner waits for what it needs, paces itself, learns, and goes on exactly where a checkpoint left it."""

import numpy as np
import pytest
import torch

from ws_policy.networks import NetworkOptions
from ws_policy.weights import WeightsError, arrays, load
from ws_ppl import checkpoint
from ws_ppl.cloning import clone
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.replay import Replay
from ws_ppl.sac import Sac, SacOptions
from ws_rollouts.episode import DEMONSTRATION, STATE
from ws_rollouts.task import load_task

SMALL = NetworkOptions(channels=8, features=16, hidden=32)
OPTIONS = LearnerOptions(
    batch_size=16, capacity=500, demonstrations=2, offline_steps=5, updates_per_step=1.0, training_starts=10
)


@pytest.fixture
def make_learner(task):
    def make(**changes):
        return Learner(task, LearnerOptions(**{**OPTIONS.__dict__, **changes}), SacOptions(bf16="off"), SMALL, seed=3)

    return make


def test_waits_for_demonstrations_then_for_rollouts(task, make_learner, make_episode):
    learner = make_learner()
    assert learner.state == "waiting" and "0 of 2" in learner.waiting_for
    for k in range(2):
        assert learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
        assert not learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))  # once only
    for _ in range(5):
        assert learner.waiting_for == "" and learner.state == "offline"
        learner.step()
    assert learner.state == "online" and learner.waiting_for == "rollouts"
    learner.add(make_episode("r", 12, success=False))
    steps = 0
    while not learner.waiting_for:
        learner.step()
        steps += 1
    assert steps == 12  # one update a real step


def test_offline_updates_keep_step_with_the_demonstrations(task, make_learner, make_episode):
    learner = make_learner(demonstrations=4, offline_steps=10)
    for k in range(4):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
        while not learner.waiting_for:
            learner.step()
            assert not learner.publish_due or learner.state == "online"
        assert learner.learner_step == (0, 0, 5, 10)[k]


def test_values_stay_within_the_bounds_of_the_return_and_imitation_is_learned(task, make_learner, make_episode):
    learner = make_learner(offline_steps=150)
    for k in range(4):
        episode = make_episode(f"d{k}", 10, DEMONSTRATION)
        episode.action[:-1, 0], episode.action[:-1, 1] = 0.8, -0.5
        learner.add(episode)
    for _ in range(150):
        last = learner.step()
    batch = learner.replay.sample({"demo": 16}, n_step=1, gamma=0.9)
    chosen = learner.agent.policy.act(torch.from_numpy(batch.maps), torch.from_numpy(batch.state), exploration=0.0)
    assert (chosen - torch.from_numpy(batch.action)).abs().max() < 0.2
    assert -0.5 < last["q_mean"] < 1.5


def test_the_deviation_comes_near_to_the_teachers_hand(task, make_learner, make_episode):
    learner = make_learner(offline_steps=300)
    rng = np.random.default_rng(0)
    for k in range(4):
        episode = make_episode(f"d{k}", 20, DEMONSTRATION)
        episode.action[:-1, :3] = (0.3, -0.2, 0.0) + rng.normal(0.0, 0.15, (20, 3))
        learner.add(episode)
    batch = learner.replay.sample({"demo": 16}, n_step=1, gamma=0.9)
    maps, state = torch.from_numpy(batch.maps), torch.from_numpy(batch.state)

    def spread(exploration=1.0):
        drawn = [learner.agent.policy.act(maps, state, exploration)[:, :3] for _ in range(50)]
        return torch.stack(drawn).std(0).mean().item()

    assert spread() > 0.4
    for _ in range(300):
        learner.step()
    assert 0.05 < spread() < 0.3
    assert spread(0.3) == pytest.approx(0.3 * spread(), rel=0.3) and spread(0.0) < 1e-6


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_average_of_the_policy_acts_and_is_published(task, make_episode, decay):
    learner = Learner(task, OPTIONS, SacOptions(bf16="off", policy_average=decay), SMALL)
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    agent = learner.agent

    def weights(module):
        return np.concatenate([values.ravel() for values in arrays(module).values()])

    assert np.array_equal(weights(agent.acting), weights(agent.policy))
    for _ in range(5):
        before = weights(agent.acting)
        learner.step()
        share = 1.0 - min(decay, learner.learner_step / (learner.learner_step + 9.0))
        np.testing.assert_allclose(weights(agent.acting), before + share * (weights(agent.policy) - before), atol=1e-6)
    assert np.array_equal(weights(agent.acting), weights(agent.policy)) == (decay == 0.0)
    published = load(learner.packet().data)
    np.testing.assert_array_equal(np.concatenate([published[name].ravel() for name in arrays(agent.acting)]),
                                  weights(agent.acting))


def test_values_of_actions_that_nobody_took_are_held_down(task, make_episode):
    def gap(weight):
        agent = Sac(task, SacOptions(bf16="off", conservative_weight=weight, earned_bound=False), SMALL, seed=1)
        replay = Replay(task, 100)
        episode = make_episode("d", 20, DEMONSTRATION)
        episode.action[:, :3] = 0.5
        replay.add(episode)
        for _ in range(100):
            batch = replay.sample({"demo": 32}, 3, 0.97)
            agent.update(batch, improve=False)
        away = batch.action.copy()
        away[:, :3] = -0.9
        agent.critic_target = agent.critic
        return (agent.values(batch.maps, batch.state, batch.action)
                - agent.values(batch.maps, batch.state, away)).mean()

    assert gap(0.5) > gap(0.0) + 0.1


def test_a_success_is_known_at_its_first_step_before_values_spread(task, make_episode):
    def first(bound):
        agent = Sac(task, SacOptions(bf16="off", conservative_weight=0.0, earned_bound=bound, tau=1e-4,
                                     learning_rate=3e-3), SMALL, seed=1)
        replay = Replay(task, 100)
        replay.add(make_episode("r", 20))
        for _ in range(150):
            agent.update(replay.sample({"online": 32}, 3, 0.97), improve=False)
        agent.critic_target = agent.critic
        start = replay.sample({"online": 100}, 3, 0.97)
        at = start.state[:, 0] == 0
        return agent.values(start.maps[at], start.state[at], start.action[at]).mean()

    assert first(True) > 0.45 > first(False)  # 0.97 ** 19 = 0.56


def test_the_actor_only_imitates_until_there_are_enough_real_steps(monkeypatch, make_learner, make_episode):
    learner = make_learner(improvement_starts=30)
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    update, improved = learner.agent.update, []

    def spied(batch, improve):
        improved.append(improve)
        return update(batch, improve)

    monkeypatch.setattr(learner.agent, "update", spied)
    for k in range(3):
        while not learner.waiting_for:
            learner.step()
        learner.add(make_episode(f"r{k}", 15, success=False))
    while not learner.waiting_for:
        learner.step()
    assert improved == [False] * 35 + [True] * 15  # 5 offline, then one for each of 30 real steps


def test_learned_gripper_has_a_head_that_learns(task, make_learner, make_episode):
    task = load_task(task.name, {"gripper": "learned"})
    agent = Sac(task, SacOptions(bf16="off"), SMALL)
    replay = Replay(task, 100)
    episode = make_episode("d", 20, DEMONSTRATION)
    episode.action[:10, -1], episode.action[10:20, -1] = 0, -1
    replay.add(episode)
    losses = [agent.update(replay.sample({"demo": 32}, 3, 0.97))["bc_loss"] for _ in range(60)]
    assert losses[-1] < losses[0]


def test_a_gripper_that_is_switched_costs_and_one_that_is_told_again_does_not(make_episode):
    """Over failures the values of the classes are their costs."""
    task = load_task("sorting")
    agent, replay = Sac(task, SacOptions(bf16="off", gripper_penalty=0.5, learning_rate=1e-2), SMALL), Replay(task, 100)
    episode = make_episode("r", 20, success=False)
    episode.state[:, STATE["gripper"]] = task.gripper_opening
    episode.action[:-1, -1] = [-1.0, 1.0] * 5 + [1.0] * 10
    replay.add(episode)
    batch = replay.sample({"online": 32}, 1, 0.9)
    batch.discount[:] = 0.0  # no bootstrap
    batch.maps[:] = batch.next_maps[:] = 0  # which step it is shows nowhere else
    for _ in range(60):
        agent.update(batch)
    with torch.no_grad():
        encoded = agent.policy.encoder(torch.from_numpy(batch.maps), torch.from_numpy(batch.state))
        values = agent.policy.gripper(encoded)
    early, late = batch.state[:, 0] < 9, batch.state[:, 0] > 11
    assert values[early, 0].max() < -0.3 and values[late, 2].abs().max() < 0.2


def test_a_loss_that_is_not_finite_is_an_error(task, make_learner, make_episode):
    learner = make_learner()
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    with torch.no_grad():
        next(learner.agent.critic.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        learner.step()


def test_resumed_learner_takes_the_very_same_next_step(tmp_path, task, make_learner, make_episode):
    episodes = [make_episode(f"d{k}", 10, DEMONSTRATION, tag=k) for k in range(2)] + [make_episode("r", 30, tag=9)]

    def started():
        learner = make_learner()
        for episode in episodes:
            learner.add(episode)
        return learner

    learner = started()
    for _ in range(8):
        learner.step()
    checkpoint.save(learner, tmp_path)
    expected = learner.step()
    again = started()
    checkpoint.restore(again, *checkpoint.read(tmp_path))
    assert again.learner_step == 8
    assert again.step() == pytest.approx(expected, abs=1e-6)


def test_a_broken_checkpoint_falls_back_to_the_previous_one(tmp_path, task, make_learner, make_episode):
    learner = make_learner()
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    for _ in range(2):
        learner.step()
        checkpoint.save(learner, tmp_path)
    path = tmp_path / checkpoint.CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    assert checkpoint.read(tmp_path)[1]["learner_step"] == 1
    (tmp_path / f"{checkpoint.CHECKPOINT}.previous").write_bytes(b"nonsense")
    with pytest.raises(WeightsError):
        checkpoint.read(tmp_path)


def test_weights_that_are_not_finite_never_become_a_checkpoint(tmp_path, make_learner):
    learner = make_learner()
    checkpoint.save(learner, tmp_path)
    with torch.no_grad():
        next(learner.agent.critic.parameters()).fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="critic.* is not finite"):
        checkpoint.save(learner, tmp_path)
    assert checkpoint.read(tmp_path) is not None and not (tmp_path / f"{checkpoint.CHECKPOINT}.previous").exists()


def test_another_architecture_is_refused(tmp_path, task, make_learner, make_episode):
    learner = make_learner()
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    learner.step()
    checkpoint.save(learner, tmp_path)
    other = Learner(task, OPTIONS, SacOptions(bf16="off"), NetworkOptions(channels=16, features=16, hidden=32))
    with pytest.raises(WeightsError, match="architecture"):
        checkpoint.restore(other, *checkpoint.read(tmp_path))


def test_cloning_needs_a_success(task, make_learner, make_episode):
    with pytest.raises(ValueError, match="no successful demonstration"):
        clone(task, [make_episode("f", 10, DEMONSTRATION, success=False)])
