"""Imagined rollouts in the learner: two queues, each rollout once, and what part of which loss they have."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ws_policy.networks import NetworkOptions
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.modes import MODES
from ws_ppl.replay import Batch, Replay, SyntheticReplay
from ws_ppl.sac import Sac, SacOptions, _tensors
from ws_ppl.schedule import ScheduleOptions
from ws_ppl.selection import SelectionOptions
from ws_ppl.synthetic import check_synthetic
from ws_rollouts.episode import DEMONSTRATION, SYNTHETIC
from ws_rollouts.task import load_task

SMALL = NetworkOptions(channels=8, features=16, hidden=32)
OPTIONS = LearnerOptions(
    batch_size=20, capacity=500, demonstrations=1, offline_steps=2, updates_per_step=10.0, training_starts=10,
    synthetic_capacity=500, synthetic_least=10, select_every=1,
)
NOW = {"warm_up_steps": 0, "warm_up_episodes": 0, "ramp_steps": 1}


@pytest.fixture
def imagine(make_episode):
    def make(name, length=10, success=True, version=1, tag=100):
        episode = make_episode(name, length, SYNTHETIC, success, tag)
        label = "success" if success else "failure"
        episode.notes.update(world_model_version=str(version), label=label, label_probability="0.95")
        return episode

    return make


@pytest.fixture
def make_learner(task, make_episode):
    """In mode `mode`, past its warm-up, with a demonstration and a rollout."""

    def make(mode="no_schedule", **schedule):
        options = MODES[mode].apply(ScheduleOptions(**{**NOW, **schedule}), SelectionOptions())
        learner = Learner(task, OPTIONS, SacOptions(bf16="off"), SMALL, 0, *options)
        learner.add(make_episode("demonstration", 20, DEMONSTRATION))
        learner.add(make_episode("rollout", 30, success=False))
        return learner

    return make


def test_successes_and_failures_have_queues_of_their_own(task, imagine):
    replay = SyntheticReplay(task, 100)
    replay.add(imagine("s", 9, True, tag=0))
    replay.add(imagine("f", 7, False, tag=100))
    assert (replay.size("positive"), replay.size("negative")) == (9, 7)
    batch = replay.sample({"positive": 30, "negative": 10}, 1, 0.9)
    assert np.all(batch.state[:30, 0] < 100) and np.all(batch.state[30:, 0] >= 100)
    assert not batch.real.any() and not batch.demo.any()


def test_a_flood_of_failures_leaves_the_successes_alone(task, imagine):
    replay = SyntheticReplay(task, 100)
    replay.add(imagine("s", 19, True))
    for k in range(20):
        replay.add(imagine(f"f{k}", 19, False))
    assert (replay.size("positive"), replay.size("negative")) == (19, 4 * 19)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.integers(1, 3)), max_size=12), st.integers(0, 4))
def test_queues_never_hold_more_than_fits_and_a_dropped_version_is_gone(task, imagine, made, dropped):
    replay = SyntheticReplay(task, 60)
    for k, (length, success, version) in enumerate(sorted(made, key=lambda each: each[2])):
        replay.add(imagine(str(k), length, success, version), moment=k)
        assert replay.size("positive") + replay.size("negative") <= 60
        assert replay.size("positive" if success else "negative") >= length, "the newest is there"
    replay.drop_versions(dropped)
    if dropped > 3:
        assert replay.size("positive") == replay.size("negative") == 0
    replay.drop_older(len(made))
    assert replay.size("positive") == replay.size("negative") == 0


def test_an_old_version_goes_wherever_it_stands(task, imagine):
    replay = SyntheticReplay(task, 100)
    for k, version in enumerate((2, 1, 2)):
        replay.add(imagine(str(k), 10 + k, version=version))
    replay.drop_versions(2)
    assert replay.size("positive") == 10 + 12


def test_one_that_has_no_room_at_all_is_an_error(task, imagine):
    with pytest.raises(ValueError, match="more than there is room for"):
        SyntheticReplay(task, 20).add(imagine("long", 30))


def test_an_imagined_rollout_enters_once(make_learner, imagine):
    learner = make_learner()
    assert learner.add_synthetic(imagine("a")) and not learner.add_synthetic(imagine("a"))
    assert learner.synthetic.size("positive") == 10
    assert "a" not in learner.episodes, "a checkpoint names real episodes only"


@pytest.mark.parametrize(("change", "message"), [
    ({"world_model_version": "1"}, "imagined by version 1, the newest is 3"),
    ({"world_model_version": "one"}, "do not make"),
    ({"label": "failure"}, "label 'failure' of a success"),
    ({"label": "maybe"}, "label 'maybe'"),
    ({"label_probability": "1.5"}, "must be in 0 .. 1"),
    ({"label_probability": "nan"}, "must be in 0 .. 1"),
])
def test_bad_notes_are_named(imagine, change, message):
    episode = imagine("x", version=3)
    check_synthetic(episode, 3)
    episode.notes.update(change)
    with pytest.raises(ValueError, match=message):
        check_synthetic(episode, 3)


def relocated(episode, **notes):
    episode.notes.update(kind="relocated", world_model_version="0", label="success")
    episode.notes.update(notes)
    return episode


def test_a_relocated_demonstration_does_not_grow_old(imagine):
    for newest in (0, 3, 100):
        check_synthetic(relocated(imagine("x")), newest)


@pytest.mark.parametrize(("success", "notes", "message"), [
    (True, {"world_model_version": "-1"}, "world_model_version = -1: must be 0 or more"),
    (True, {"label": "failure"}, "label 'failure' of a relocated demonstration"),
    (False, {}, "label 'success' of a timeout"),
    (True, {"label_probability": "2"}, "must be in 0 .. 1"),
    (True, {"kind": "perturbed"}, "imagined by version 0, the newest is 3"),
])
def test_what_is_wrong_with_a_relocated_demonstration_is_named(imagine, success, notes, message):
    with pytest.raises(ValueError, match=message):
        check_synthetic(relocated(imagine("x", success=success), **notes), 3)


def test_modes_without_a_world_model_relocate_nothing():
    assert {name for name, mode in MODES.items() if not mode.relocates} == {"hil_serl", "paper"}
    assert all(mode.imagines for mode in MODES.values() if mode.relocates)


def test_a_real_rollout_is_not_taken_for_an_imagined_one(make_episode, imagine):
    with pytest.raises(ValueError, match="not synthetic"):
        check_synthetic(make_episode("real", 5), 1)


def test_share_of_the_batch(make_learner, imagine, batches):
    learner = make_learner(rho_max=0.30)
    learner.trusted = True
    learner.add_synthetic(imagine("s", 20, True))
    learner.add_synthetic(imagine("f", 20, False))
    learner.step()
    batch = batches[-1]
    assert learner.rho == pytest.approx(0.3) and len(batch.real) == 20
    assert (~batch.real).sum() == 6 and batch.demo.sum() == 7
    np.testing.assert_allclose(batch.weight[batch.real], 1.0)


def test_weight_of_a_loss_beside_the_real_one(make_learner, imagine, batches):
    learner = make_learner("no_ppl", rho_max=0.30, use="loss_weight")
    learner.trusted = True
    learner.add_synthetic(imagine("s", 20, True))
    learner.step()
    batch = batches[-1]
    assert batch.real.sum() == 20 and (~batch.real).sum() == 6
    loss = np.random.default_rng(0).random(26)
    expected = loss[batch.real].mean() + 0.3 * loss[~batch.real].mean()
    assert (batch.weight * loss).mean() == pytest.approx(expected)


@pytest.mark.parametrize("mode", [name for name, mode in MODES.items() if mode.imagines])
def test_only_a_trusted_source_is_used(make_learner, imagine, batches, mode):
    learner = make_learner(mode, rho_max=0.9)
    learner.add_synthetic(imagine("s", 20, True))
    learner.add_synthetic(imagine("f", 20, False))
    for _ in range(2):
        learner.step()
    assert all(batch.real.all() for batch in batches)
    learner.trusted = True
    learner.schedule.entropy = -3.0  # of a policy that is sure
    for _ in range(3):
        learner.step()
    assert learner.rho > 0 and not batches[-1].real.all()
    learner.trusted = False
    assert learner.rho == 0, "at once"
    learner.step()
    assert batches[-1].real.all()


def test_hil_serl_never_uses_them(make_learner, imagine, batches):
    learner = make_learner("hil_serl")
    learner.trusted = True
    for _ in range(3):
        learner.step()
    assert learner.rho == 0 and all(batch.real.all() for batch in batches)
    assert learner.synthetic.mib_when_full < 1.0


def test_nothing_enters_before_there_is_enough(make_learner, imagine, batches):
    learner = make_learner()
    learner.trusted = True
    learner.add_synthetic(imagine("s", 9, True))
    learner.step()
    assert learner.rho == 0 and batches[-1].real.all()


def test_old_ones_are_forgotten(task, make_learner, imagine):
    learner = make_learner()
    learner.add_synthetic(imagine("s", 20))
    learner.learner_step += learner.options.synthetic_age
    learner.step()
    assert learner.synthetic.size("positive") == 20
    learner.step()
    assert learner.synthetic.size("positive") == 0


def test_values_that_are_no_numbers_are_an_error_of_the_update(make_learner, imagine):
    learner = make_learner()
    learner.add_synthetic(imagine("s", 20))
    with torch.no_grad():
        next(learner.agent.critic_target.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        learner.step()


@pytest.mark.parametrize("gripper", ["fixed", "learned"])
def test_imagined_transitions_teach_critics_but_not_the_actor(task, make_episode, imagine, gripper):
    task = load_task(task.name, {"gripper": gripper})
    agent = Sac(task, SacOptions(bf16="off", bc_weight=0.0), SMALL)
    replay, imagined = Replay(task, 100), SyntheticReplay(task, 100)
    replay.add(make_episode("r", 20))
    imagined.add(imagine("s", 20))
    more = imagined.sample({"positive": 8}, 1, 0.9)
    more.weight[:] = 0.0
    batch = Batch.join([replay.sample({"online": 8}, 1, 0.9), more])
    encoded, following = agent._encode(batch)
    data = _tensors(batch)
    losses = [agent._critic_loss(encoded, following, data)[0]]
    if gripper == "learned":
        losses.append(agent._gripper_loss(encoded, following, data))
    for loss in losses:
        gradient, = torch.autograd.grad(loss, encoded, retain_graph=True)
        assert gradient[:8].abs().sum() > 0 and gradient[8:].abs().sum() == 0, "weight 0 leaves no trace"
    data["weight"][:] = 1.0
    for index, _ in enumerate(losses):
        loss = agent._critic_loss(encoded, following, data)[0] if not index else agent._gripper_loss(
            encoded, following, data)
        assert torch.autograd.grad(loss, encoded, retain_graph=True)[0][8:].abs().sum() > 0
    seen = []
    agent._actor_loss = lambda states: seen.append(len(states)) or Sac._actor_loss(agent, states)
    agent.update(batch)
    assert seen == [8]
