"""The reward model learns from few episodes what success looks like, labels with care and refuses what does not fit."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.labels import Labeller, LabelOptions
from ws_world_model.reward_data import DONE, OPEN, UNCLEAR, WindowStore, frame_labels, near_misses
from ws_world_model.rewards import RewardError, RewardModel, RewardOptions

SIZE = 16
SMALL = RewardOptions(channels=16, features=16, batch=16, min_updates=20, min_successes=1, capacity=300,
                      imagined_capacity=100, learning_rate=1e-2, bf16="off")


@pytest.fixture(scope="module")
def task():
    return load_task("pushing", {"image_size": SIZE})


def episode_with_lamp(outcome, seed):
    """A success lights a lamp in both views in its last two frames."""
    episode = make_episode(12, size=SIZE, outcome=outcome, seed=seed, episode_id=f"pushing-{seed}")
    if outcome == "success":
        for view in VIEWS:
            episode.frames[view][-2:, 4:12, 4:12] = 255
    return episode


@pytest.fixture(scope="module")
def trained(task):
    model = RewardModel(task, SMALL, seed=1)
    for seed in range(6):
        model.add(episode_with_lamp("success" if seed % 2 else "timeout", seed))
    for _ in range(100):
        model.step()
    return model


def test_it_learns_to_tell_success_from_the_rest(trained):
    fresh = [episode_with_lamp("success", 50), episode_with_lamp("timeout", 51)]
    assert trained.ready and trained.auc(fresh) > 0.95
    good, bad = (trained.label(trained.predict(e.frames, e.state)) for e in fresh)
    assert (good.kind, good.index) == ("success", 12)
    assert bad.kind == "failure" and bad.index == -1


def test_the_newest_window_is_judged_as_in_its_trajectory(trained):
    episode = episode_with_lamp("success", 60)
    whole = trained.predict(episode.frames, episode.state)
    last = trained.predict({v: f[-3:] for v, f in episode.frames.items()}, episode.state[-3:], newest_only=True)
    assert whole.shape == (3, 13) and last.shape == (3, 1)
    np.testing.assert_allclose(last[:, 0], whole[:, -1], atol=1e-5)


def test_the_same_seed_and_data_give_the_same_model_and_members_differ(task):
    def train():
        model = RewardModel(task, SMALL, seed=3)
        model.add(episode_with_lamp("success", 0))
        return [model.step() for _ in range(3)], model.tensors()

    (losses, one), (again, two) = train(), train()
    assert losses == again
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["reward.0.first.weight"], one["reward.1.first.weight"])


def test_weights_travel_through_safetensors_and_judge_alike(trained, task):
    other = RewardModel(task, SMALL, seed=9)
    tensors = safetensors.numpy.load(safetensors.numpy.save({**trained.tensors(), "dynamics.x": np.zeros(2)}))
    other.load(tensors, {**trained.metadata(), "more": "1"})
    episode = episode_with_lamp("success", 70)
    np.testing.assert_array_equal(other.predict(episode.frames, episode.state),
                                  trained.predict(episode.frames, episode.state))
    assert other.ready and other.updates == trained.updates


@pytest.mark.parametrize("change, reason", [
    ({"reward_task": "sorting"}, "reward_task is 'sorting', must be 'pushing'"),
    ({"reward_image_size": "128"}, "reward_image_size"),
    ({"reward_channels": "9"}, "reward_channels"),
    ({"reward_architecture": "other"}, "reward_architecture"),
])
def test_weights_of_another_model_are_refused_by_name(trained, task, change, reason):
    with pytest.raises(RewardError, match=reason):
        RewardModel(task, SMALL).load(trained.tensors(), {**trained.metadata(), **change})


@pytest.mark.parametrize("damage, reason", [
    (lambda t: t.pop("reward.0.first.bias"), "reward.0.first.bias is missing"),
    (lambda t: t.update({"reward.0.first.bias": np.zeros(3)}), r"is \(3,\)"),
    (lambda t: t["reward.0.first.bias"].fill(np.nan), "not finite"),
])
def test_damaged_weights_are_refused_and_change_nothing(trained, task, damage, reason):
    model = RewardModel(task, SMALL)
    before, tensors = model.tensors(), trained.tensors()
    damage(tensors)
    with pytest.raises(RewardError, match=reason):
        model.load(tensors, trained.metadata())
    assert all(np.array_equal(before[name], value) for name, value in model.tensors().items())


def test_an_episode_that_does_not_fit_is_refused_by_name(task):
    model = RewardModel(task, SMALL)
    broken = make_episode(5, size=SIZE)
    broken.state[3, 2] = np.nan
    with pytest.raises(ValueError, match="pushing_test_0000: state is not finite at row 3"):
        model.add(broken)
    with pytest.raises(ValueError, match="side frames are"):
        model.add(make_episode(5, size=32))
    with pytest.raises(ValueError, match="task 'sorting'"):
        model.add(make_episode(5, size=SIZE, task="sorting"))
    with pytest.raises(ValueError, match="pushing_test_0000: its 302 observations"):
        model.add(make_episode(301, size=SIZE))
    episode = make_episode(5, size=SIZE)
    with pytest.raises(ValueError, match="no frames of view 'wrist'"):
        model.predict({"side": episode.frames["side"]}, episode.state)
    with pytest.raises(ValueError, match="state of shape"):
        model.predict(episode.frames, episode.state[:, :5])
    with pytest.raises(ValueError, match="float32"):
        model.predict({v: f.astype(np.float32) for v, f in episode.frames.items()}, episode.state)
    with pytest.raises(ValueError, match="success_index = 9"):
        model.add_imagined(episode.frames, episode.state, 9)
    with pytest.raises(ValueError, match="image_size = 40"):
        RewardModel(load_task("pushing", {"image_size": 40}), SMALL)


def test_it_is_not_ready_before_both_kinds_are_seen_and_learnt(task):
    model = RewardModel(task, SMALL)
    model.add(episode_with_lamp("timeout", 0))
    assert not model.trainable and not model.due and not model.ready
    with pytest.raises(RuntimeError, match="success"):
        model.step()
    assert np.isnan(model.auc([episode_with_lamp("timeout", 0)])) and np.isnan(model.auc([]))
    model.add(episode_with_lamp("success", 1))
    assert model.due and not model.ready


def test_imagined_replays_are_learnt_from(task):
    model = RewardModel(task, SMALL, seed=2)
    for seed in (0, 1):
        model.add(episode_with_lamp("success" if seed else "timeout", seed))
    glow = make_episode(12, size=SIZE, seed=5)  # only imagined failures show this
    for view in VIEWS:
        glow.frames[view][4:, :8, :8] = 255
    model.add_imagined(glow.frames, glow.state, None)
    for _ in range(120):
        model.step()
    assert model.predict(glow.frames, glow.state)[:, 5:].max() < 0.3


def test_labels_of_an_episode_leave_out_what_cannot_be_told():
    assert frame_labels(6, 6).tolist() == [OPEN, OPEN, OPEN, UNCLEAR, UNCLEAR, DONE, DONE]
    assert frame_labels(4, None).tolist() == [OPEN] * 5
    assert frame_labels(4, None, broken_off=True).tolist() == [OPEN, OPEN, UNCLEAR, UNCLEAR, UNCLEAR]
    assert frame_labels(1, 1).tolist() == [UNCLEAR, DONE]
    assert frame_labels(6, 4).tolist() == [OPEN, UNCLEAR, UNCLEAR, DONE, DONE, UNCLEAR, UNCLEAR]
    assert frame_labels(6, 6, shown=3).tolist() == [OPEN, OPEN, UNCLEAR, UNCLEAR, DONE, DONE, DONE]
    assert near_misses(frame_labels(8, 8), 2).nonzero()[0].tolist() == [3, 4]


def test_memory_is_bounded_and_demonstrations_stay():
    store = WindowStore(30, SIZE)
    images = np.zeros((10, 2, SIZE, SIZE, 3), np.uint8)
    labels = np.full(10, OPEN, np.int8)
    add = lambda label, keep: store.add(images, np.zeros((10, 13)), np.full(10, label), labels > 0, keep)  # noqa: E731
    add(DONE, True)
    for _ in range(5):
        add(OPEN, False)
    assert len(store) == 30 and store.count(DONE) == 10 and store.count(OPEN) == 20
    with pytest.raises(ValueError, match="capacity of 30"):
        store.add(np.zeros((31, 2, SIZE, SIZE, 3), np.uint8), np.zeros((31, 13)), np.zeros(31), np.zeros(31), False)


def test_windows_do_not_reach_into_another_episode_and_move_as_one():
    store = WindowStore(20, SIZE)
    rng = np.random.default_rng(0)
    for value in (10, 200):
        counting = (value + np.arange(5, dtype=np.uint8))[:, None, None, None, None]
        images = np.broadcast_to(counting, (5, 2, SIZE, SIZE, 3))
        store.add(images, np.full((5, 13), value), np.full(5, OPEN), np.zeros(5, bool), False)
    windows, state = store.windows(store.draw(OPEN, 64, 2.0, rng), 0.0, rng)
    pixels = windows[:, :, 0, 0, 0, 0].astype(int)
    assert windows.shape == (64, 3, 2, SIZE, SIZE, 3)
    assert (np.abs(pixels - state[:, :1]) < 5).all()
    steps = pixels[:, :-1] - pixels[:, 1:]
    assert set(np.unique(steps)) == {0, 1}  # one step apart, or the first observation again


def test_near_misses_are_drawn_oftener():
    store, rng = WindowStore(20, SIZE), np.random.default_rng(0)
    near = np.arange(10) >= 5
    store.add(np.zeros((10, 2, SIZE, SIZE, 3), np.uint8), np.zeros((10, 13)), np.full(10, OPEN), near, False)
    assert 0.6 < np.mean(store.draw(OPEN, 3000, 2.0, rng) >= 5) < 0.73
    store.remember(np.array([0]), np.array([0.9]))
    assert 0.12 < np.mean(store.draw(OPEN, 3000, 2.0, rng) == 0) < 0.19


@settings(deadline=None, max_examples=80)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(0, 1)))
def test_a_success_needs_every_member_twice_in_a_row(probabilities):
    labeller = Labeller(LabelOptions(success_probability=0.9))
    label = labeller.label(probabilities)
    if label.kind == "success":
        assert (probabilities[:, label.index - 1 : label.index + 1] >= 0.9).all()
        assert (probabilities[:, label.index : label.index + 11].mean(0) >= 0.3).all()
        assert label.score >= 0.9
    elif label.kind == "failure":
        assert probabilities.mean(0).max() < 0.3 and label.index == -1
    else:
        assert probabilities.mean(0).max() >= 0.3 and label.score < 0.9


def test_a_success_that_does_not_last_is_none():
    rows = np.array([0.1, 0.95, 0.95, 0.1, 0.1, 0.96, 0.97, 0.9])[None].repeat(3, 0)
    label = Labeller(LabelOptions(success_probability=0.9))
    assert (label.label(rows).kind, label.label(rows).index) == ("success", 6)
    assert label.label(rows[:, :5]).kind == "abstain"


@pytest.mark.parametrize("wrong", [np.zeros((3, 0)), np.zeros(3), np.full((1, 2), np.nan)])
def test_no_label_without_probabilities(wrong):
    with pytest.raises(ValueError, match="probabilities"):
        Labeller(LabelOptions(success_probability=0.9)).label(wrong)


def test_imagined_successes_of_failures_raise_the_threshold_and_then_stop():
    labeller = Labeller(LabelOptions(success_probability=0.9))
    good, slip, sure = (labeller.label(np.full((3, 4), p)) for p in (0.1, 0.93, 0.999))
    for _ in range(30):
        labeller.observe_identity(False, good)
    labeller.observe_identity(True, slip)
    assert labeller.threshold == 0.9 and labeller.false_positive_rate == 0
    for _ in range(2):
        labeller.observe_identity(False, slip)
    assert labeller.threshold == pytest.approx(0.92) and not labeller.stopped
    labeller.observe_identity(False, good)
    assert labeller.threshold == pytest.approx(0.94) and labeller.false_positive_rate == 0
    for _ in range(8):
        labeller.observe_identity(False, sure)
    assert labeller.stopped and labeller.threshold <= 0.99
    for _ in range(100):
        labeller.observe_identity(False, good)
    assert not labeller.stopped


def test_recall_is_known_when_enough_successes_were_replayed_and_forgets():
    labeller = Labeller(LabelOptions(success_probability=0.9, enough=4))
    seen, missed = (labeller.label(np.full((3, 4), p)) for p in (0.95, 0.5))
    for label in (missed, missed, seen):
        labeller.observe_identity(True, label)
    assert np.isnan(labeller.recall), "too few"
    labeller.observe_identity(False, missed)
    labeller.observe_identity(True, seen)
    assert labeller.recall == 0.5
    labeller.observe_identity(True, seen)
    assert labeller.recall == 0.75, "weights of long ago do not count"


def test_calibration_survives_saving(task):
    model, other = RewardModel(task, SMALL), RewardModel(task, SMALL)
    for _ in range(20):
        model.observe_identity(True, model.label(np.full((3, 3), 0.99)))
    for _ in range(25):
        model.observe_identity(False, model.label(np.full((3, 3), 0.95)))
    other.load(model.tensors(), model.metadata())
    assert other.stopped == model.stopped and other.labeller.threshold == model.labeller.threshold > 0.9
