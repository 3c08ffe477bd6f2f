"""Imagined successes that are imitated: their pool, their share of a batch, and what they teach."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ws_policy.networks import NetworkOptions
from ws_ppl.imitation import ImitationPacing, Patience
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.replay import IMAGINED, Batch, ImitationReplay, Replay
from ws_ppl.sac import Sac, SacOptions, _tensors
from ws_ppl.schedule import ScheduleOptions
from ws_rollouts.episode import DEMONSTRATION, HUMAN, SYNTHETIC
from ws_rollouts.task import load_task

SMALL = NetworkOptions(channels=8, features=16, hidden=32)
OPTIONS = {"batch_size": 40, "capacity": 500, "demonstrations": 1, "offline_steps": 2, "updates_per_step": 10.0,
           "training_starts": 10, "imagined_capacity": 500, "synthetic_capacity": 500, "synthetic_least": 10}
IMMEDIATELY = ScheduleOptions(kind="constant", warm_up_steps=0, warm_up_episodes=0, ramp_steps=1)
SHARE, PRECISION, WON = st.floats(0, 0.9), st.floats(0, 1), st.integers(0, 10_000)


@pytest.fixture
def imagine(make_episode):
    """A relocated demonstration; its states carry numbers from `tag` on."""
    def make(name, length=10, success=True, tag=100):
        episode = make_episode(name, length, SYNTHETIC, success, tag)
        episode.notes.update(kind="relocated", world_model_version="0", label="success", label_probability="0.9")
        return episode

    return make


@pytest.fixture
def make_learner(task, make_episode):
    """With a demonstration; `online` with a rollout too."""

    def make(online=False, schedule=None, sac=None, **changes):
        learner = Learner(task, LearnerOptions(**{**OPTIONS, **changes}), SacOptions(bf16="off", **(sac or {})), SMALL,
                          0, schedule)
        learner.add(make_episode("demonstration", 20, DEMONSTRATION))
        if online:
            learner.add(make_episode("rollout", 30, success=False))
        return learner

    return make


def parts(batch):
    """Numbers of transitions: demonstrated, online, imitated and imagined, only imagined."""
    return ((batch.demo & batch.real).sum(), (~batch.demo & batch.real).sum(), (batch.demo & ~batch.real).sum(),
            (~batch.demo & ~batch.real).sum())


def test_what_is_in_the_pool_is_imitated_and_not_real(task, imagine):
    replay = ImitationReplay(task, 100)
    replay.add(imagine("a", 9))
    batch = replay.sample({IMAGINED: 200}, 3, 0.5)
    assert batch.demo.all() and not batch.real.any() and set(batch.state[:, 0]) == set(range(100, 109))
    np.testing.assert_allclose(batch.earned, 0.5 ** (108 - batch.state[:, 0]), err_msg="no luck: moved as it was shown")
    assert (replay.episodes, replay.taken, replay.size(IMAGINED)) == (1, 1, 9)


def test_the_oldest_make_room(task, imagine):
    replay = ImitationReplay(task, 50)
    for k in range(7):
        replay.add(imagine(str(k), 9 + k, tag=30 * k))
        assert replay.size(IMAGINED) + replay.episodes <= 50
    assert (replay.episodes, replay.taken) == (3, 7)
    assert replay.sample({IMAGINED: 300}, 1, 0.9).state[:, 0].min() == 4 * 30


@pytest.mark.parametrize(("length", "success", "message"), [
    (10, False, "x: a timeout: only successes are imitated"),
    (60, True, "x: 60 steps are more than there is room for"),
])
def test_what_cannot_be_imitated_is_refused_and_may_come_again(task, imagine, length, success, message):
    learner = Learner(task, LearnerOptions(**OPTIONS), SacOptions(bf16="off"), SMALL)
    learner.imagined = ImitationReplay(task, 50)
    with pytest.raises(ValueError, match=message):
        learner.add_imagined(imagine("x", length, success))
    assert learner.imagined.taken == 0 and learner.add_imagined(imagine("x"))


def test_frames_of_another_size_are_refused(make_learner, imagine):
    episode = imagine("x")
    episode.frames = {view: frames[:, :32, :32] for view, frames in episode.frames.items()}
    with pytest.raises(ValueError, match="x: frames .* of another size"):
        make_learner().add_imagined(episode)


def test_each_enters_once_and_no_checkpoint_names_it(make_learner, imagine):
    learner = make_learner()
    assert learner.add_imagined(imagine("a")) and not learner.add_imagined(imagine("a"))
    assert learner.imagined.episodes == 1 and learner.episodes == ["demonstration"]
    assert learner.demonstrations == 1 and learner.env_steps == 0


@pytest.mark.parametrize(("share", "offline", "online"), [
    (0.5, (20, 0, 20, 0), (10, 20, 10, 0)),
    (0.25, (30, 0, 10, 0), (15, 20, 5, 0)),
    (0.9, (4, 0, 36, 0), (2, 20, 18, 0)),
    (0.0, (40, 0, 0, 0), (20, 20, 0, 0)),
])
def test_the_imitated_part_of_a_batch_is_shared(make_learner, imagine, make_episode, batches, share, offline, online):
    learner = make_learner(imagined_share=share)
    learner.add_imagined(imagine("a", 20))
    learner.step()
    learner.add(make_episode("rollout", 30, success=False))
    learner.step()
    assert [parts(batch) for batch in batches] == [offline, online]
    assert all(batch.weight.sum() == pytest.approx(40) for batch in batches)
    for batch in batches:
        assert not batch.weight[batch.demo & ~batch.real].any() and len(set(batch.weight[batch.real])) == 1


def test_the_smallest_batch_is_never_imagined_alone(make_learner, imagine, batches):
    learner = make_learner(online=True, batch_size=4, imagined_share=0.9)
    learner.add_imagined(imagine("a"))
    learner.step()
    assert parts(batches[-1]) == (1, 2, 1, 0)


def test_pacing_of_what_the_critics_see_goes_on_beside_it(make_learner, imagine, batches):
    for use, expected in (("batch_share", (7, 14, 7, 12)), ("loss_weight", (10, 20, 10, 12))):
        learner = make_learner(True, ScheduleOptions(**{**IMMEDIATELY.__dict__, "use": use}))
        learner.trusted = True
        for name, success in (("s", True), ("f", False)):
            learner.add_synthetic(imagine(name, 20, success))
        learner.add_imagined(imagine("a", 20))
        learner.step()
        batch = batches[-1]
        assert parts(batch) == expected and learner.rho == pytest.approx(0.3)
        if use == "loss_weight":  # mean over the real ones, and 0.3 times the mean over the others
            assert batch.weight[batch.real].mean() * 30 / 52 == pytest.approx(1.0)
            assert batch.weight[~batch.demo & ~batch.real].sum() / 52 == pytest.approx(0.3)
        else:
            np.testing.assert_allclose(batch.weight[batch.real], 28 / 21)


def test_without_them_nothing_changes(make_learner, make_episode, batches):
    def learned(**changes):
        learner = make_learner(True, **changes)
        for _ in range(4):
            last = learner.step()
        return last, [each.state.tobytes() for each in batches[-4:]]

    assert learned() == learned(imagined_share=0.0) == learned(imagined_share=0.9, imagined_capacity=900)


@pytest.mark.parametrize("gripper", ["fixed", "learned"])
def test_critics_see_them_only_with_a_weight_and_imitation_does(task, make_episode, imagine, gripper):
    task = load_task(task.name, {"gripper": gripper})
    agent = Sac(task, SacOptions(bf16="off"), SMALL)
    replay, imagined = Replay(task, 100), ImitationReplay(task, 100)
    replay.add(make_episode("d", 20, DEMONSTRATION))
    imagined.add(imagine("s", 20))
    batch = Batch.join([replay.sample({"demo": 8}, 1, 0.9), imagined.sample({IMAGINED: 8}, 1, 0.9)])
    encoded, following = agent._encode(batch)
    data = _tensors(batch)

    def reaches(loss):
        gradient, = torch.autograd.grad(loss, encoded, retain_graph=True)
        return [bool(rows.abs().sum() > 0) for rows in (gradient[:8], gradient[8:])]

    def critics():
        losses = [agent._critic_loss(encoded, following, data)[0]]
        return losses + [agent._gripper_loss(encoded, following, data)] * (gripper == "learned")

    data["weight"][8:] = 0.0
    assert all(reaches(loss) == [True, False] for loss in critics())
    assert reaches(agent._bc_loss(encoded, data)) == [True, True]
    data["weight"][8:] = 0.5
    assert all(reaches(loss) == [True, True] for loss in critics())


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_an_imagined_transition_is_imitated_by_its_weight(task, make_episode, imagine, weight):
    agent = Sac(task, SacOptions(bf16="off", imagined_bc_weight=weight), SMALL)
    replay, imagined = Replay(task, 100), ImitationReplay(task, 100)
    replay.add(make_episode("d", 20, DEMONSTRATION))
    moved = imagine("s", 20)
    moved.action[:-1, 0] = 0.9
    imagined.add(moved)
    shown, drawn = replay.sample({"demo": 12}, 1, 0.9), imagined.sample({IMAGINED: 4}, 1, 0.9)

    def loss(batch):
        with torch.no_grad():
            return agent._bc_loss(agent._encode(batch)[0], _tensors(batch)).item()

    expected = (12 * loss(shown) + 4 * weight * (loss(drawn) if weight else 0.0)) / (12 + 4 * weight)
    assert loss(Batch.join([shown, drawn])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_critics_loss_of_real_transitions_keeps_its_scale(make_learner, imagine, batches, weight):
    """Equal errors everywhere give the same loss whatever part of the batch is imagined, and whatever that weighs."""
    learner = make_learner(online=True, sac={"imagined_critic_weight": weight})
    learner.add_imagined(imagine("a", 20))
    learner.step()
    batch = batches[-1]
    assert batch.weight.mean() == pytest.approx(1.0)
    assert batch.weight[batch.demo & ~batch.real] == pytest.approx(weight * batch.weight[batch.real][0])


def test_the_policy_does_in_moved_scenes_what_is_imagined_there(task, make_learner, imagine):
    learner = make_learner(offline_steps=120)
    moved = imagine("a", 20, tag=200)
    moved.action[:-1, 0] = 0.8
    learner.add_imagined(moved)
    for _ in range(120):
        learner.step()
    there, here = learner.imagined.sample({IMAGINED: 16}, 1, 0.9), learner.replay.sample({"demo": 16}, 1, 0.9)
    acts = [learner.agent.policy.act(torch.from_numpy(b.maps), torch.from_numpy(b.state), exploration=0.0)[:, 0].mean()
            for b in (there, here)]
    assert acts[0] > 0.6 and abs(acts[1]) < 0.2


def test_the_share_falls_as_rollouts_succeed_without_help(make_learner, make_episode, imagine):
    learner = make_learner(online=True, imagined_rollouts=2)
    assert learner.imagined_share == 0.0, "there are none"
    learner.add_imagined(imagine("a"))
    assert learner.imagined_share == 0.5
    helped = make_episode("helped", 20)
    helped.source[3:7] = HUMAN
    learner.add(helped)
    assert learner.imagined_share == 0.5, "won with help"
    for k in range(2):
        learner.add(make_episode(f"won{k}", 20))
    assert learner.imagined_share == 0.25


def paced(share=0.5, rollouts=100, precision=0.0, refused=False):
    pacing = ImitationPacing(share, rollouts)
    pacing.precision, pacing.refused = precision, refused
    return pacing


@given(SHARE, st.integers(1, 1000), PRECISION, st.booleans(), WON)
def test_the_share_is_never_more_than_was_asked_for(share, rollouts, precision, refused, won):
    assert 0.0 <= paced(share, rollouts, precision, refused).share(won) <= share


@given(SHARE, PRECISION, WON, WON)
def test_it_never_rises_with_what_was_won(share, precision, one, other):
    few, many = sorted((one, other))
    assert paced(share, precision=precision).share(few) >= paced(share, precision=precision).share(many)


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), WON)
def test_it_never_falls_with_precision(one, other, won):
    low, high = sorted((one, other))
    assert paced(precision=low).share(won) <= paced(precision=high).share(won)


@given(SHARE, st.sampled_from((0.0, float("nan"), 0.95, 1.0)), WON)
def test_an_unknown_precision_keeps_the_share_as_a_good_one_does(share, precision, won):
    assert paced(share, precision=precision).share(won) == pytest.approx(share * 100 / (100 + won))


@given(SHARE, PRECISION, WON)
def test_a_source_that_refuses_gets_nothing(share, precision, won):
    assert paced(share, precision=precision, refused=True).share(won) == 0.0


def test_labels_no_better_than_chance_get_nothing():
    assert paced(precision=0.5).share(0) == 0.0 and paced(precision=0.725).share(0) == pytest.approx(0.25)


@pytest.mark.parametrize(("gate", "reason", "precision", "share"), [
    ("open", "", 0.0, 0.5),
    ("open", "", 0.6, 0.5 * 0.1 / 0.45),
    ("closed", "", 0.0, 0.5),  # not decided
    ("closed", "no depth", 1.0, 0.0),
    ("", "", 0.0, 0.5),  # of a source that never relocates, but something is there
])
def test_a_source_is_taken_at_its_word(gate, reason, precision, share):
    pacing = ImitationPacing(0.5, 100)
    pacing.told(gate, reason, precision)
    assert pacing.share(0) == pytest.approx(share)


def test_what_is_there_stays_in_use_when_its_maker_can_no_longer_be_trusted(make_learner, imagine):
    """The world model died: what it perturbed is out of use, what geometry labelled is not."""
    learner = make_learner(online=True)
    learner.add_imagined(imagine("a"))
    learner.trusted = True
    learner.trusted = False
    assert learner.imagined_share == 0.5
    learner.imitation.refused = True
    assert learner.imagined_share == 0.0


def test_learning_waits_for_imagined_successes_from_half_of_the_demonstrations_on(
        make_learner, make_episode, imagine):
    learner = make_learner(demonstrations=4, offline_steps=8)
    learner.awaited = 2
    assert learner.waiting_for == "demonstrations: 1 of 4"
    for k in range(2):
        learner.add(make_episode(f"d{k}", 10, DEMONSTRATION))
    assert learner.waiting_for == "relocated demonstrations: 0 of 2" and learner.state == "waiting"
    learner.add_imagined(imagine("a"))
    assert learner.waiting_for == "relocated demonstrations: 1 of 2"
    learner.add_imagined(imagine("b"))
    steps = 0
    while not learner.waiting_for:
        learner.step()
        steps += 1
    assert steps == 4 and learner.waiting_for == "demonstrations: 3 of 4"
    learner.add(make_episode("d3", 10, DEMONSTRATION))
    for _ in range(4):
        assert learner.state == "offline"
        learner.step()
    assert learner.state == "online" and learner.publish_due, "the first weights learned from both"


def test_a_learner_that_is_online_waits_for_none(make_learner):
    learner = make_learner(online=True)
    for _ in range(2):
        learner.step()
    learner.awaited = 40
    assert learner.state == "online" and not learner.waiting_for


def test_those_that_made_room_for_others_came_all_the_same(task, make_learner, imagine):
    learner = make_learner()
    learner.imagined, learner.awaited = ImitationReplay(task, 25), 3
    for name in "abc":
        assert learner.waiting_for
        learner.add_imagined(imagine(name))
    assert learner.imagined.episodes == 2 and not learner.waiting_for


def test_patience_ends_after_the_last_demonstration():
    patience = Patience(40, 60.0)
    assert patience.awaited(1e6) == 40, "nothing was demonstrated yet"
    patience.demonstrated(1000.0)
    assert [patience.awaited(now) for now in (1000.0, 1059.9, 1060.0)] == [40, 40, 0]
    patience.demonstrated(1070.0)
    assert [patience.awaited(now) for now in (1129.9, 1130.0)] == [40, 0]


def test_patience_ends_at_once_when_there_will_be_none():
    patience = Patience(40, 60.0)
    patience.demonstrated(0.0)
    patience.hopeless = True
    assert patience.awaited(1.0) == 0
    patience.hopeless = False
    assert patience.awaited(2.0) == 40, "a source that came back"


@given(*[st.integers(0, 1000)] * 2, st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 1000))
def test_nobody_waits_longer_than_was_allowed(least, wait, moments, later):
    patience = Patience(least, wait)
    for now in sorted(moments):
        patience.demonstrated(now)
    assert patience.awaited(max(moments) + wait + later) == 0
