"""The success detector: once per episode, by the labeller's rule, never on what is damaged, late or unproven."""

import math

import numpy as np
import pytest

from ws_rollouts import messages
from ws_rollouts.bag import serialised
from ws_rollouts.episode import VIEWS
from ws_rollouts.frames import encode_frame
from ws_rollouts.schema import FRAMES, STEP
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.detector import Detector, DetectorOptions
from ws_world_model.files import WorldModelError
from ws_world_model.gate import Gate
from ws_world_model.judges import Judge, Judges, load_judge
from ws_world_model.labels import Labeller, LabelOptions
from ws_world_model.observations import Observations
from ws_world_model.versions import Versions, VersionsError

TASK = load_task("pushing")


class Brightness:
    """A reward model whose two members see the newest frame's first pixel, in percent; the second sees a bit less."""

    def __init__(self, consecutive=2):
        self.labeller, self.lengths = Labeller(LabelOptions(success_probability=0.9, consecutive=consecutive)), []
        self.label = self.labeller.label

    def predict(self, frames, state, newest_only):
        assert newest_only and all(len(frames[view]) == len(state) for view in VIEWS)
        self.lengths.append(len(state))
        percent = frames["side"][-1, 0, 0, 0] / 100.0
        return np.array([[percent], [percent - 0.01]], np.float32)


def shining(percents, **values):
    """An episode that is not over yet, of that brightness at each observation."""
    episode = make_episode(len(percents), outcome="timeout", **values)
    for t, percent in enumerate(percents):
        episode.frames["side"][t, 0, 0] = percent
    return episode


def play(detector, episode, count=None, change=lambda topic, t, raw: [(topic, raw)]):
    """Feed all but the last observation, telling when it is due; returns at which observations it was told."""
    told = []
    for i, (name, raw, stamp) in enumerate(serialised(episode)):
        t = i // 3
        if t == (len(episode) if count is None else count):
            break
        for topic, data in change(name[1:], t, raw):
            detector.offer(topic, data)
        if i % 3 == 2 and detector.due(stamp):
            detector.told()
            told.append(t)
    return told


def feed(detector, parts):
    """Offer messages as `serialised` gives them; returns the stamp of the last."""
    for name, raw, _ in parts:
        detector.offer(name[1:], raw)
    return parts[-1][2]


@pytest.fixture
def detector():
    made = Detector(TASK)
    made.use(Judge(Brightness(), 1))
    return made


def test_two_observations_in_a_row_by_the_least_sure_member_and_only_once(detector):
    assert play(detector, shining([10, 95, 10, 90, 90, 95, 95, 95])) == [6], "of 0.90 the second member is not sure"
    assert detector.detections == 1 and detector.probability == pytest.approx(0.94)


def test_each_episode_begins_anew(detector):
    assert play(detector, shining([10, 95, 95])) == [2]
    assert play(detector, shining([95, 10, 10], episode_id="pushing-2", seed=2)) == [], "the run of before is over"
    assert play(detector, shining([10, 95, 95, 95], episode_id="pushing-3", seed=3)) == [2]
    assert detector.detections == 2


def test_it_judges_the_last_three_observations_of_one_episode(detector):
    play(detector, shining([10] * 5))
    play(detector, shining([10] * 2, episode_id="pushing-2", seed=2))
    assert detector.judge.rewards.lengths == [1, 2, 3, 3, 3, 1, 2]


def test_a_stricter_rule(detector):
    strict = Detector(TASK, DetectorOptions(consecutive=3))
    strict.use(Judge(Brightness(3), 1))
    assert play(strict, shining([95, 95, 10, 95, 95, 95])) == [5]


def test_nothing_is_told_of_an_episode_that_has_ended_or_late(detector):
    episode = shining([10, 95])
    episode.frames["side"][-1, 0, 0] = 95
    stamp = feed(detector, list(serialised(episode)))
    assert detector.probability > 0.9 and not detector.due(stamp)
    late = shining([95] * 3, episode_id="pushing-2", seed=2)
    stamp = feed(detector, list(serialised(late))[:-3])
    assert detector.due(stamp + 400_000_000) and not detector.due(stamp + 600_000_000)


def test_a_success_that_nobody_could_be_told_stays_due(detector):
    stamp = feed(detector, list(serialised(shining([95] * 4)))[:-3])
    assert detector.due(stamp) and detector.due(stamp)
    detector.told()
    assert not detector.due(stamp)


def test_without_weights_it_follows_and_tells_nothing_until_there_are_some():
    detector = Detector(TASK)
    assert play(detector, shining([95] * 5)) == [] and math.isnan(detector.probability)
    detector.use(Judge(Brightness(), 1))
    assert not detector.due(0)
    assert play(detector, shining([95] * 5, episode_id="pushing-2", seed=2)) == [1]


def test_new_weights_do_not_finish_what_the_old_ones_began(detector):
    assert play(detector, shining([10, 95, 95, 95]), count=2) == []
    detector.use(Judge(Brightness(), 2))
    assert not detector.due(0) and detector.judge.version == 2
    rest = list(serialised(shining([10, 95, 95, 95])))[6:]
    due = []
    for name, raw, stamp in rest[:6]:
        detector.offer(name[1:], raw)
        due.append(detector.due(stamp))
    assert due == [False] * 5 + [True]


@pytest.mark.parametrize("part", [STEP, *FRAMES.values()])
def test_a_lost_message_breaks_the_row(detector, part):
    def lose(topic, t, raw):
        return [] if (topic, t) == (part, 2) else [(topic, raw)]

    assert play(detector, shining([10, 95, 95, 95, 95]), change=lose) == [4]
    assert (detector.lost, detector.dropped) == (1, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_within_an_observation_does_not_matter(detector, reverse):
    whole = list(serialised(shining([10, 95, 95])))[:-3]
    for t in range(0, len(whole), 3):
        stamp = feed(detector, whole[t : t + 3][:: -1 if reverse else 1])
    assert detector.due(stamp)


def broken_step(raw, **fields):
    step = messages.decode(raw, "ws_interfaces/msg/Step")
    for name, value in fields.items():
        setattr(step, name, value)
    return messages.encode(step)


DAMAGE = {
    "NaN": (STEP, lambda raw: broken_step(raw, state=np.full(13, np.nan, np.float32)), "13 finite numbers"),
    "short state": (STEP, lambda raw: broken_step(raw, state=np.zeros(3, np.float32)), "13 finite numbers"),
    "task": (STEP, lambda raw: broken_step(raw, task="sorting"), "of task 'sorting', not 'pushing'"),
    "cut off": (STEP, lambda raw: raw[:20], "ws_interfaces/msg/Step"),
    "size": ("policy/side/image_raw", lambda raw: encode_frame(np.zeros((32, 32, 3), np.uint8), 1, "side"),
             "policy/side/image_raw: is 32 px wide, must be 64"),
    "encoding": ("policy/wrist/image_raw", lambda raw: raw.replace(b"rgb8", b"bgr8"),
                 "policy/wrist/image_raw: encoding 'bgr8'"),
    "no image": ("policy/wrist/image_raw", lambda raw: b"\x00\x01", "policy/wrist/image_raw: "),
}


@pytest.mark.parametrize(("part", "damage", "reason"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_cannot_be_used_is_dropped_and_named(detector, part, damage, reason):
    def change(topic, t, raw):
        return [(topic, damage(raw) if (topic, t) == (part, 2) else raw)]

    episode = shining([10, 95, 95, 95, 95])
    assert play(detector, episode, count=3, change=change) == []
    assert detector.dropped == 1 and reason in detector.trouble
    stamp = feed(detector, list(serialised(episode))[9:15])
    assert detector.due(stamp) and not detector.trouble


def test_frames_without_a_step_take_no_memory():
    observations = Observations(TASK)
    for stamp in range(100):
        frame = encode_frame(np.zeros((64, 64, 3), np.uint8), stamp, "side")
        assert observations.offer("policy/side/image_raw", frame) is None
    assert observations.lost == 80


def test_a_judge_without_a_finite_answer_is_dropped(detector):
    detector.judge.rewards.predict = lambda *_, **__: np.array([[np.nan]], np.float32)
    assert play(detector, shining([95] * 4)) == []
    assert detector.dropped == 4 and "not finite" in detector.trouble


# Weights


def load(path):
    return load_judge(path, TASK, Gate(), LabelOptions())


def test_a_model_from_a_version_sees_the_success(lamp_model, lamp_episode, write_version, tmp_path):
    judge = load(write_version(tmp_path / "v000007.safetensors", lamp_model, 7))
    detector = Detector(TASK)
    detector.use(judge)
    assert judge.version == 7
    assert play(detector, lamp_episode(lit=6, episode_id="pushing-8", seed=80)) == [7]
    assert play(detector, lamp_episode(lit=99, success=False, episode_id="pushing-9", seed=81)) == []


@pytest.mark.parametrize(("notes", "reason"), [
    ({"format": "another"}, "format 'another'"),
    ({"reward_task": "sorting"}, "reward_task is 'sorting', must be 'pushing'"),
    ({"reward_architecture": "older"}, "reward_architecture is 'older'"),
    ({"reward_members": "many"}, "many"),
    ({"reward_channels": "99999"}, "channels = 99999"),
    ({"reward_auc": "null"}, "AUC is not known"),
    ({"reward_auc": "0.8"}, "reward AUC 0.800, must be 0.95"),
    ({"reward_auc": "[1]"}, "v000001.safetensors"),
])
def test_foreign_old_and_unproven_weights_are_refused(lamp_model, write_version, tmp_path, notes, reason):
    with pytest.raises(WorldModelError, match=reason.replace("[", r"\[")):
        load(write_version(tmp_path / "v000001.safetensors", lamp_model, **notes))


def test_weights_that_learned_too_little_and_files_that_are_none_are_refused(lamp_model, write_version, tmp_path):
    with pytest.raises(WorldModelError, match="not learned from enough"):
        load(write_version(tmp_path / "young.safetensors", lamp_model, updates=3))
    (tmp_path / "text.safetensors").write_bytes(b"hello")
    for name in ("text.safetensors", "missing.safetensors"):
        with pytest.raises(WorldModelError, match=name):
            load(tmp_path / name)


def test_the_newest_usable_version_is_followed(lamp_model, write_version, tmp_path):
    judges = Judges(load, tmp_path)
    assert judges.look() is None
    write_version(tmp_path / "v000001.safetensors", lamp_model, 1, reward_auc="0.2")
    with pytest.raises(VersionsError, match="reward AUC 0.200"):
        judges.look()
    assert judges.look() is None, "said once"
    write_version(tmp_path / "v000002.safetensors", lamp_model, 2)
    assert judges.look().version == 2 and judges.look() is None
    (tmp_path / "v000003.safetensors").write_bytes(b"damaged")
    assert judges.look().version == 2


def test_a_file_that_was_named_is_read_again_when_it_changes(lamp_model, write_version, tmp_path):
    file = tmp_path / "mine.safetensors"
    judges = Judges(load, tmp_path / "nowhere", file)
    with pytest.raises(WorldModelError, match="mine.safetensors"):
        judges.look()
    assert judges.look() is None
    write_version(file, lamp_model, 4)
    assert judges.look().version == 4 and judges.look() is None


def test_a_reader_leaves_alone_what_is_being_written(tmp_path):
    half = tmp_path / ".v000001.safetensors.77"
    half.write_bytes(b"half")
    assert Judges(load, tmp_path).look() is None and half.exists()
    Versions(tmp_path).clear()
    assert not half.exists()
