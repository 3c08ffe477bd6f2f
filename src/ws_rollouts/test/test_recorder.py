"""The recorder's core cuts a stream of messages into episodes, whatever the order and the gaps."""

import random

import numpy as np
import pytest

from ws_rollouts.bag import read_episode, serialised
from ws_rollouts.catalog import finished
from ws_rollouts.reader import mcap_path, read_messages
from ws_rollouts.recorder import Recorder, RecorderOptions, claim
from ws_rollouts.recovery import recover
from ws_rollouts.schema import POLICY_TOPICS, Topic
from ws_rollouts.testing import make_episode

TOPICS = [Topic("/" + t.name, t.type, t.reliable) for t in POLICY_TOPICS]
TF, STATE = "/tf_static", "/joint_states"
TOPICS += [Topic(TF, "tf2_msgs/msg/TFMessage", latched=True), Topic(STATE, "sensor_msgs/msg/JointState")]


class Bench:
    """A recorder with a clock and a disk of its own."""

    def __init__(self, bags, **options):
        self.now = 100.0
        self.free = 1 << 40
        self.announced = []
        self.bags = bags
        self.recorder = Recorder(bags, TOPICS, RecorderOptions(**options), self.announced.append,
                                 clock=lambda: self.now, free_bytes=lambda: self.free)

    def feed(self, parts):
        for topic, raw, stamp in parts:
            self.recorder.on_message(topic, raw, stamp)

    def wait(self, seconds):
        self.now += seconds
        self.recorder.tick()

    def outcomes(self):
        return [(s.episode_id, s.outcome, s.steps) for s in self.announced]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def episode(number, **changes):
    return make_episode(8, episode_id=f"e{number}", seed=number, **changes)


def test_episodes_come_out_as_they_went_in(bench):
    for number, outcome in enumerate(["success", "timeout", "failure"]):
        bench.feed(serialised(episode(number, outcome=outcome, human=(2, 5))))
    assert bench.outcomes() == [("e0", "success", 8), ("e1", "timeout", 8), ("e2", "failure", 8)]
    assert [s.interventions for s in bench.announced] == [2, 2, 2]
    for number, summary in enumerate(bench.announced):
        read = read_episode(summary.uri)
        np.testing.assert_array_equal(read.frames["side"], episode(number).frames["side"])
    assert [s.episode_id for s in finished(bench.bags)[0]] == ["e0", "e1", "e2"]


@pytest.mark.parametrize("seed", range(8))
def test_frames_may_come_before_or_after_their_step(bench, seed):
    """Topics arrive in any order between them, up to two messages apart."""
    random.seed(seed)
    for number in range(3):
        streams = {}
        for part in serialised(episode(number)):
            streams.setdefault(part[0], []).append(part)
        while any(streams.values()):
            most = max(len(parts) for parts in streams.values())
            bench.feed([streams[random.choice([t for t in streams if len(streams[t]) > max(0, most - 2)])].pop(0)])
            bench.wait(0.01)
    bench.wait(1.0)
    assert bench.outcomes() == [(f"e{n}", "success", 8) for n in range(3)]
    for number, summary in enumerate(bench.announced):
        np.testing.assert_array_equal(read_episode(summary.uri).state, episode(number).state)


def test_a_last_frame_that_never_comes_is_not_waited_for_long(bench):
    parts = list(serialised(episode(0)))
    bench.feed([p for p in parts if not (p[0].endswith("wrist/image_raw") and p[2] == parts[-1][2])])
    bench.wait(0.2)
    assert not bench.announced
    bench.wait(0.2)
    assert bench.outcomes() == [("e0", "success", 8)]
    assert bench.recorder.counters.missing_frames == 1


def test_an_episode_that_breaks_off_is_aborted(bench):
    bench.feed(list(serialised(episode(0)))[:15])
    bench.feed(serialised(episode(1)))
    bench.feed(list(serialised(episode(2)))[:15])
    bench.wait(4.0)
    bench.wait(2.0)
    assert bench.outcomes() == [("e0", "aborted", 4), ("e1", "success", 8), ("e2", "aborted", 4)]
    assert len(read_episode(bench.announced[0].uri)) == 4


def test_an_episode_is_recorded_once_and_only_from_its_start(bench):
    parts = list(serialised(episode(0)))
    bench.feed(parts)
    bench.feed(parts)
    bench.feed(list(serialised(episode(1)))[9:])
    bench.wait(10.0)
    assert bench.outcomes() == [("e0", "success", 8)]
    again = Bench(bench.bags)
    again.feed(parts)
    assert not again.announced


def test_an_episode_without_an_action_is_not_announced(bench):
    bench.feed(list(serialised(episode(0)))[:3])
    bench.recorder.close()
    assert not bench.announced
    assert finished(bench.bags)[0][0].steps == 0


def test_what_was_latched_or_came_just_before_is_in_the_bag(bench):
    bench.feed([(TF, b"\0\1\0\0" + bytes(4), 5)])
    bench.wait(60.0)
    bench.feed([(STATE, b"early", 6)])
    bench.wait(0.6)
    bench.feed([(STATE, b"lead-in", 7)])
    bench.wait(0.3)
    bench.feed(serialised(episode(0)))
    text = next(bench.bags.glob("e0/metadata.yaml")).read_text()
    assert "name: /tf_static" in text
    states = [m.data for m in read_messages(mcap_path(bench.bags / "e0"), [STATE])]
    assert states == [b"lead-in"]


def test_nothing_is_begun_without_space_and_recording_resumes(bench):
    bench.free = 499 << 20
    bench.feed(serialised(episode(0)))
    assert "499 MiB free" in bench.recorder.error
    assert bench.recorder.counters.refused == 1
    bench.free = 501 << 20
    bench.feed(serialised(episode(1)))
    assert bench.outcomes() == [("e1", "success", 8)]
    assert not bench.recorder.error


def test_a_disk_that_fills_up_closes_the_bag(bench):
    bench.feed(list(serialised(episode(0)))[:15])
    bench.free = 10 << 20
    bench.wait(0.1)
    assert bench.outcomes() == [("e0", "aborted", 4)]
    assert len(read_episode(bench.announced[0].uri)) == 4
    assert bench.recorder.error


def test_a_write_that_fails_leaves_the_bag_for_recovery(bench, monkeypatch):
    bench.feed(list(serialised(make_episode(30, episode_id="e0")))[:60])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ws_rollouts.writer.BagWriter.write", full)
    bench.feed(list(serialised(make_episode(30, episode_id="e0")))[60:])
    assert "No space left" in bench.recorder.error
    assert not bench.announced
    monkeypatch.undo()
    [found] = recover(bench.bags)
    assert found.summary.steps > 5
    bench.feed(serialised(episode(1)))
    assert bench.outcomes() == [("e1", "success", 8)]


def test_junk_is_counted_and_changes_nothing(bench):
    parts = list(serialised(episode(0)))
    for part in parts:
        bench.feed([("/policy/step", b"junk", 0), ("/policy/side/image_raw", b"", 0), part])
    assert bench.outcomes() == [("e0", "success", 8)]
    assert bench.recorder.counters.bad_steps == len(parts)


def test_a_bad_id_is_refused(bench):
    bench.feed(serialised(make_episode(5, episode_id="../../etc")))
    assert "episode_id" in bench.recorder.error
    bench.feed(serialised(episode(1)))
    assert bench.outcomes() == [("e1", "success", 8)]


def test_a_folder_has_one_recorder(tmp_path):
    claim(tmp_path / "bags")
    with pytest.raises(PermissionError, match="bags.* in use"):
        claim(tmp_path / "bags")
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="file/bags cannot be written"):
        claim(tmp_path / "file" / "bags")
