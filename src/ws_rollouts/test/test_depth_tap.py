"""The recorder keeps depth with the color frame that it belongs to, thinned out, in bounded memory."""

import gc
import tracemalloc

import numpy as np
import pytest

from ws_rollouts import messages
from ws_rollouts.bag import read_episode, serialised
from ws_rollouts.frames import encode_frame
from ws_rollouts.reader import mcap_path, read_messages
from ws_rollouts.recorder import Recorder, RecorderOptions
from ws_rollouts.recovery import recover
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.rgbd_bag import rgbd_messages
from ws_rollouts.schema import (
    CAMERA_INFO,
    COLOR_IMAGES,
    DEPTH_IMAGES,
    POLICY_TOPICS,
    RGBD_NEEDS,
    RGBD_TOPICS,
    ROBOT_TOPICS,
    Topic,
)
from ws_rollouts.testing import make_episode

TOPICS = [Topic("/" + t.name.lstrip("/"), t.type, t.reliable, t.latched)
          for t in (*(t for t in ROBOT_TOPICS if t.name in RGBD_NEEDS), *POLICY_TOPICS, *RGBD_TOPICS)]
COLOR, DEPTH, INFO = ("/" + names["side"] for names in (COLOR_IMAGES, DEPTH_IMAGES, CAMERA_INFO))
MS = 1_000_000
FRAME = 66_666_667  # ns, of 15 Hz


class Bench:
    """A recorder that hears the messages of an episode and of cameras in order of their stamps."""

    def __init__(self, bags, topics=TOPICS, **options):
        self.now = 0.0
        self.announced = []
        self.recorder = Recorder(bags, topics, RecorderOptions(min_free_mib=0, **options), self.announced.append,
                                 clock=lambda: self.now, free_bytes=lambda: 1 << 40)

    def feed(self, parts):
        for topic, raw, stamp in sorted(parts, key=lambda part: part[2]):
            self.now = stamp / 1e9
            self.recorder.on_message(topic, raw, stamp)

    def counts(self):
        return {name: n for name, n in self.recorder.depth.counts.items() if n}

    def read(self):
        return read_episode(self.announced[-1].uri, rgbd=True)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def camera(episode, before=1.0, after=1.0, each=3, late=0, size=(24, 40), view="side"):
    """What a camera publishes around an episode: color at 15 Hz, each `each`-th with depth, `late` ns after it.

    Color's pixels tell the number of the frame, depth's too. With frames, lens and joint states.
    """
    stamp = np.arange(int(episode.stamp[0] - before * 1e9), int(episode.stamp[-1] + after * 1e9), FRAME)
    count, shape = len(stamp), (len(stamp), *size)
    number = np.arange(count)[:, None, None]
    stream = RgbdStream(stamp, np.zeros((*shape, 3), np.uint8) + (number[..., None] % 251).astype(np.uint8),
                        np.zeros(shape, np.uint16) + (1000 + number).astype(np.uint16),
                        np.zeros((count, 6), np.float32), np.zeros(count, np.float32),
                        np.array([300.0, 300.0, 20.0, 12.0]), np.eye(4))
    for topic, raw, at in rgbd_messages({view: stream}):
        if topic != "/" + DEPTH_IMAGES[view]:
            yield topic, raw, at
        elif (index := int(np.searchsorted(stamp, at))) % each == 0:
            yield topic, encode_frame(stream.depth[index], at + late, view), at + late + 1 * MS


def numbers(stream):
    """Numbers of the frames in a stream; color and depth must be of one frame."""
    found = stream.depth[:, 0, 0].astype(int) - 1000
    assert (stream.color[:, 0, 0, 0] == found % 251).all()
    return found


def test_an_episode_gets_depth_at_a_third_of_its_steps_and_its_color(bench):
    episode = make_episode(30)
    bench.feed([*camera(episode), *camera(episode, view="wrist"), *serialised(episode)])
    read = bench.read()
    assert not read.problems and set(read.rgbd) == {"side", "wrist"}
    for stream in read.rgbd.values():
        assert len(np.unique(numbers(stream))) == len(stream) == 11  # 3 s, and one from before
        assert episode.stamp[0] - 500 * MS < stream.stamp[0] <= episode.stamp[0] < stream.stamp[1]
        assert np.diff(stream.stamp).mean() == pytest.approx(300 * MS, rel=0.05)
        assert stream.stamp[-1] > episode.stamp[-1] - 200 * MS
    raw = list(read_messages(mcap_path(bench.announced[0].uri), [INFO, COLOR, DEPTH]))
    assert [m.topic for m in raw].count(INFO) == 1
    assert [m.topic for m in raw].count(COLOR) == [m.topic for m in raw].count(DEPTH) == 11
    assert bench.counts() == {"depth_frames": 22}
    np.testing.assert_array_equal(read.frames["side"], episode.frames["side"])


@pytest.mark.parametrize(("period", "count"), [(0.0, 16), (0.2, 16), (1.0, 5), (60.0, 2)])
def test_the_period_thins_out_and_first_and_last_stay(tmp_path, period, count):
    bench, episode = Bench(tmp_path, depth_period=period), make_episode(30)
    bench.feed([*camera(episode), *serialised(episode)])
    stamp = bench.read().rgbd["side"].stamp
    assert abs(len(stamp) - count) <= 1
    assert stamp[0] <= episode.stamp[0] and stamp[-1] > episode.stamp[-1] - 200 * MS


@pytest.mark.parametrize("late", [-30 * MS, -5 * MS, 5 * MS, 30 * MS])
def test_depth_goes_with_the_nearest_color_before_or_after_it(bench, late):
    episode = make_episode(20)
    bench.feed([*camera(episode, late=late), *serialised(episode)])
    assert len(numbers(bench.read().rgbd["side"])) >= 7
    assert bench.counts().keys() == {"depth_frames"}


def test_an_untouched_scene_is_seen_before_the_first_step_unless_it_is_old(bench):
    first, second = make_episode(10, episode_id="first"), make_episode(10, episode_id="second", seed=1)
    bench.feed([*camera(first, after=0.0), *serialised(first)])
    assert bench.read().rgbd["side"].stamp[0] <= first.stamp[0]
    bench.feed(serialised(second))  # 1000 s later, and the camera is dead
    assert not bench.read().rgbd and bench.read().problems["side: no depth"] == 1


def without(parts, topic):
    return (part for part in parts if part[0] != topic)


def test_without_depth_nothing_is_recorded_and_the_status_says_so(tmp_path):
    episode = make_episode(20)
    none = Bench(tmp_path / "none")
    assert none.recorder.depth_status == "none heard"
    none.feed([*without(camera(episode), DEPTH), *serialised(episode)])
    topics = {m.topic for m in read_messages(mcap_path(none.announced[0].uri))}
    assert not topics & {COLOR, DEPTH, INFO} and not none.counts() and not none.recorder.error
    assert none.recorder.depth_status == "none heard"
    off = Bench(tmp_path / "off", [t for t in TOPICS if t.name not in {"/" + r.name for r in RGBD_TOPICS}])
    off.feed(serialised(episode))
    assert off.recorder.depth_status == "off" and len(read_episode(off.announced[0].uri)) == 20
    one = Bench(tmp_path / "one")
    one.feed([*camera(episode), *serialised(episode)])
    assert one.recorder.depth_status == "from side"
    one.now += 11.0
    assert one.recorder.depth_status == "none heard"


def edited(part, **fields):
    message = messages.decode(part[1], "sensor_msgs/msg/Image")
    for name, value in fields.items():
        setattr(message, name, value)
    return part[0], messages.encode(message), part[2]


@pytest.mark.parametrize(("edit", "reason"), [
    (lambda p: edited(p, encoding="mono16"), "depth_wrong_encoding"),
    (lambda p: edited(p, data=np.zeros(7, np.uint8)), "depth_wrong_encoding"),
    (lambda p: (p[0], b"junk", p[2]), "depth_wrong_encoding"),
    (lambda p: (p[0], p[1][:40], p[2]), "depth_wrong_encoding"),
    (lambda p: (p[0], encode_frame(np.ones((12, 20), np.uint16), p[2] - MS, "side"), p[2]), "depth_other_size"),
    (lambda p: (p[0], encode_frame(np.ones((24, 40), np.uint16), p[2] - 10**10, "side"), p[2]), "depth_without_color"),
    (lambda p: (p[0], encode_frame(np.ones((24, 40), np.uint16), p[2] + 10**10, "side"), p[2]), "depth_without_color"),
])
def test_depth_that_does_not_fit_is_counted_and_the_episode_is_whole(bench, edit, reason):
    episode = make_episode(20)
    parts = [edit(part) if part[0] == DEPTH else part for part in camera(episode)]
    bench.feed([*parts, *serialised(episode)])
    assert bench.counts().keys() == {reason} and bench.counts()[reason] >= sum(p[0] == DEPTH for p in parts) - 4
    read = bench.read()
    assert not read.rgbd and len(read) == 20 and read.outcome == "success"


def test_depth_without_color_is_counted(bench):
    episode = make_episode(20)
    bench.feed([*without(camera(episode), COLOR), *serialised(episode)])
    assert bench.counts().keys() == {"depth_without_color"} and len(bench.read()) == 20


@pytest.mark.parametrize("missing", [(), (COLOR,), (DEPTH,)])
def test_memory_is_bounded_between_episodes_and_in_them(bench, missing):
    """Of full frames, which have 0.5 MB together: two views hold at most ten each."""
    episode = make_episode(40)
    frame = {"color": np.zeros((240, 424, 3), np.uint8), "depth": np.ones((240, 424), np.uint16)}

    def stream(start, count):
        for i in range(count):
            for view in ("side", "wrist"):
                for kind, names in (("color", COLOR_IMAGES), ("depth", DEPTH_IMAGES)):
                    if "/" + names["side"] not in missing:
                        stamp = start + i * FRAME
                        yield "/" + names[view], encode_frame(frame[kind], stamp, view), stamp

    tracemalloc.start()
    try:
        for part in stream(0, 200):
            bench.feed([part])
        bench.feed(list(serialised(episode))[:30])
        for part in stream(int(episode.stamp[9]), 100):
            bench.feed([part])
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 8 << 20


def test_a_killed_recorder_loses_no_more_than_before(tmp_path):
    bench, episode = Bench(tmp_path), make_episode(60)
    parts = sorted([*camera(episode, size=(240, 424)), *serialised(episode)], key=lambda part: part[2])
    bench.feed(parts[: len(parts) * 3 // 4])
    step = bench.recorder._open.tally.last.index
    [found] = recover(tmp_path)  # as the next start finds it
    assert found.summary.steps >= step - 4
    read = read_episode(tmp_path / episode.episode_id, rgbd=True)
    assert len(read.rgbd["side"]) >= 10 and not {t for t in read.problems if t.startswith("side")}
