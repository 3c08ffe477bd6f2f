"""Synthetic episodes: labelled, cut, traceable to their parent, and kept in bags like any other."""

import json

import numpy as np
import pytest

from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import STATE, SYNTHETIC, VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.counterfactuals import CounterfactualOptions, Segment, perturb
from ws_world_model.generation import Generator
from ws_world_model.imagination import Imagined
from ws_world_model.labels import Labeller, LabelOptions

SIZE = 16


class FakeDynamics:
    """The target follows the actions exactly; pictures turn brighter by one per step."""

    profile, version = "test", 7

    def __init__(self, task):
        self.task, self.calls, self.nan_row = task, 0, None

    def imagine(self, context, actions):
        self.calls += 1
        n, t, _ = actions.shape
        state = np.repeat(context.state[:, None], t, axis=1)
        state[:, :, STATE["position"]] += np.cumsum(actions[:, :, :3] * self.task.action_scale, axis=1)
        if self.nan_row is not None:
            state[self.nan_row] = np.nan
        steps = np.arange(1, t + 1, dtype=np.uint8)[None, :, None, None, None]
        frames = {v: np.repeat(f[:, None], t, axis=1) + steps for v, f in context.frames.items()}
        return Imagined(frames, state, np.zeros((n, t), np.float32))


class FakeRewards:
    """Gives one row of `rows` per trajectory, as often as the last is needed."""

    def __init__(self, *rows):
        self.rows, self.learnt, self.lengths = list(rows), [], []
        self.labeller = Labeller(LabelOptions(success_probability=0.9))

    def predict(self, frames, state):
        self.lengths.append(len(state))
        row = np.asarray(self.rows.pop(0) if len(self.rows) > 1 else self.rows[0], np.float32)
        return np.concatenate([np.zeros(len(state) - len(row)), row])[None].repeat(3, 0)

    def label(self, probabilities):
        return self.labeller.label(probabilities)

    def observe_identity(self, truth, label):
        self.labeller.observe_identity(truth, label)

    def add_imagined(self, frames, state, success_index):
        self.learnt.append((len(state), success_index))


@pytest.fixture(scope="module")
def task():
    return load_task("pushing", {"image_size": SIZE})


@pytest.fixture
def parent(task):
    """Twenty steps to a success in the middle of the box, of frames that are older than their steps."""
    episode = make_episode(20, size=SIZE)
    episode.state[:] = 0
    episode.state[:, STATE["position"]] = (np.array(task.workspace_low) + task.workspace_high) / 2
    episode.action *= 0.2
    episode.exposed = {view: episode.stamp - 40_000_000 for view in VIEWS}
    return episode


LOW, UNSURE = [0.1] * 6, [0.6] * 6
DONE_AT_4 = [0.1, 0.1, 0.1, 0.95, 0.97, 0.99]


def generator(task, *rows, **options):
    given = CounterfactualOptions(**{"identity_every": 1000, "variants": 3, **options})
    made = Generator(FakeDynamics(task), FakeRewards(*rows), given, seed=5, session="abc")
    made._segments = 1  # not one that is replayed
    return made


def test_success_is_cut_failure_is_whole_and_doubt_is_dropped(task, parent):
    made = generator(task, DONE_AT_4, LOW, UNSURE)
    result = made.generate(Segment(parent, 10, 6))
    good, bad = result.episodes
    assert made.dynamics.calls == 1
    assert (result.counts["success"], result.counts["failure"], result.counts["abstain"]) == (1, 1, 1)
    assert result.counts["frames"] == 18
    assert good.success and len(good) == 5 and good.reward.tolist() == [0, 0, 0, 0, 0, 1]
    assert bad.outcome == "timeout" and len(bad) == 6 and not bad.reward.any()
    assert [e.episode_id for e in result.episodes] == [f"pushing-synthetic-abc-00000{i}" for i in (1, 2)]


def test_a_synthetic_episode_is_traceable_and_of_the_same_schema(task, parent, tmp_path):
    (episode, *_) = generator(task, DONE_AT_4).generate(Segment(parent, 10, 6)).episodes
    again = read_episode(write_episode(tmp_path, episode), task)
    assert (again.source == SYNTHETIC).all() and again.success and not again.action[-1].any()
    for view in VIEWS:
        np.testing.assert_array_equal(again.frames[view][0], parent.frames[view][10])
        np.testing.assert_array_equal(again.frames[view][3], parent.frames[view][10] + 3)
        np.testing.assert_array_equal(again.exposed[view], parent.exposed[view][10:16])
    np.testing.assert_array_equal(again.stamp, parent.stamp[10:16])
    np.testing.assert_array_equal(again.weights_version, parent.weights_version[10:16])
    np.testing.assert_allclose(again.executed[1:], again.action[:-1, :3], atol=1e-4)
    np.testing.assert_array_equal(again.executed[0], parent.executed[10])
    notes = again.notes
    assert (notes["parent"], notes["start"], notes["kind"]) == (parent.episode_id, "10", "perturbed")
    assert (notes["world_model_version"], notes["label"], notes["label_probability"]) == ("7", "success", "0.9700")
    options = CounterfactualOptions(scale=float(notes["scale"]), noise=float(notes["noise"]))
    actions, xi = perturb(parent.action[10:16], options, np.random.default_rng(json.loads(notes["seed"])))
    np.testing.assert_array_equal(actions[:5], again.action[:-1])
    np.testing.assert_allclose(xi, json.loads(notes["xi"]), atol=1e-6)


def test_the_labels_see_the_real_frames_before_the_start(task, parent):
    for start, lead in ((0, 0), (1, 1), (9, 2)):
        made = generator(task, LOW, variants=1)
        made.generate(Segment(parent, start, 6))
        assert made.rewards.lengths == [lead + 7]


def test_every_so_often_a_segment_is_replayed_unchanged_first(task, parent):
    made = generator(task, DONE_AT_4, identity_every=2, variants=1)
    kinds = [[e.notes["kind"] for e in made.generate(Segment(parent, 14, 6)).episodes] for _ in range(4)]
    assert kinds == [["perturbed"], ["identity", "perturbed"]] * 2
    (replay,) = made.generate(Segment(parent, 14, 6), replay_only=True).episodes
    np.testing.assert_array_equal(replay.action[:-1], parent.action[14:19])
    assert json.loads(replay.notes["xi"]) == [1.0] * 3 and replay.notes["scale"] == "0"


def test_replays_calibrate_and_then_train_the_reward_model(task, parent):
    failed = make_episode(20, size=SIZE, outcome="timeout")
    cases = [  # segment, probabilities, what is counted, what is learnt
        (Segment(parent, 14, 6), DONE_AT_4, "replay_right", [(9, 8)]),
        (Segment(parent, 14, 6), LOW, "replay_wrong", []),  # no success is to be seen: nothing to learn
        (Segment(parent, 14, 6), UNSURE, "replay_unclear", [(9, 8)]),
        (Segment(parent, 12, 6), LOW, "replay_unclear", []),  # ends two steps before the success
        (Segment(parent, 4, 6), LOW, "replay_right", [(9, None)]),
        (Segment(failed, 14, 6), DONE_AT_4, "replay_wrong", [(9, None)]),
    ]
    for segment, row, counted, learnt in cases:
        made = generator(task, row)
        counts = made.generate(segment, replay_only=True).counts
        assert counts[counted] == 1 and made.rewards.learnt == learnt
    assert made.rewards.labeller.false_positive_rate == 1.0


def test_the_same_seed_gives_the_same_variants_and_numbers_differ(task, parent):
    one, two = (generator(task, LOW).generate(Segment(parent, 3, 6)).episodes for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.action, b.action)
    assert not np.array_equal(one[0].action, one[1].action)


def test_what_leaves_the_box_or_diverges_is_counted_and_left_out(task, parent):
    parent.state[:, STATE["position"]] = task.workspace_low
    parent.state[:, STATE["position"]] -= 0.1
    made = generator(task, LOW)
    result = made.generate(Segment(parent, 3, 6))
    assert not result.episodes and result.counts["outside"] == 3 and made.dynamics.calls == 0
    parent.state[:, STATE["position"]] = (np.array(task.workspace_low) + task.workspace_high) / 2
    made.dynamics.nan_row = 1
    result = made.generate(Segment(parent, 3, 6))
    assert result.counts["diverged"] == 1 and len(result.episodes) == 2


def test_a_segment_of_another_task_or_beyond_its_episode_is_refused(task, parent):
    with pytest.raises(ValueError, match="no segment of 6 at 18"):
        generator(task, LOW).generate(Segment(parent, 18, 6))
    with pytest.raises(ValueError, match="task 'sorting'"):
        generator(task, LOW).generate(Segment(make_episode(8, size=SIZE, task="sorting"), 0, 6))
