import numpy as np
import pytest

from ws_policy.cameras import CameraOptions, Cameras
from ws_policy.observation import ObservationError
from ws_policy.statistics import Delivery, Window
from ws_rollouts.task import load_task

PERIOD = 1 / 15
STILL, MOVED = np.zeros(3), np.array([0.05, 0, 0])
RNG = np.random.default_rng(0)


def picture(grey=None):
    pixels = RNG.integers(0, 255, (240, 424, 3)) if grey is None else np.full((240, 424, 3), grey)
    return "rgb8", 424, 240, 3 * 424, pixels.astype(np.uint8).tobytes()


class Rig:
    """Both cameras, driven by one time that is also the clock."""

    def __init__(self):
        self.cameras = Cameras(load_task("pushing"), CameraOptions())
        self.now = 100.0

    def offer(self, view, image=None, stamp=None, position=STILL):
        stamp = round((self.now if stamp is None else stamp) * 1e9)
        return self.cameras.feeds[view].offer(self.now, stamp, image or picture(), position)

    def run(self, frames, views=("side", "wrist"), **fields):
        for _ in range(frames):
            self.now += PERIOD
            for view in views:
                self.offer(view, **fields)

    def stamps(self):
        return self.cameras.stamps(self.now, round(self.now * 1e9))


def test_a_pair_is_seen():
    rig = Rig()
    rig.run(3)
    assert set(rig.stamps().values()) == {round(rig.now * 1e9)}
    assert {v: f.shape for v, f in rig.cameras.frames().items()} == {"side": (64, 64, 3), "wrist": (64, 64, 3)}


def test_missing_camera_is_named():
    rig = Rig()
    rig.run(3, views=("side",))
    with pytest.raises(ObservationError, match="wrist camera: no frame yet"):
        rig.stamps()


def test_stalled_camera_is_named_within_half_a_second_and_recovers_at_once():
    rig = Rig()
    rig.run(3)
    rig.now += 0.51
    rig.offer("side")
    with pytest.raises(ObservationError, match="wrist camera"):
        rig.stamps()
    rig.run(1)
    assert rig.stamps()


def test_old_stamps_are_dropped_and_counted():
    rig = Rig()
    rig.run(3)
    assert not rig.offer("side", stamp=rig.now) and not rig.offer("side", stamp=rig.now - 1)
    assert rig.cameras.dropped == 2


def test_a_clock_that_was_set_back_is_followed_after_a_silence():
    rig = Rig()
    rig.run(3)
    rig.now += 0.6
    assert rig.offer("side", stamp=10.0)


def test_frames_of_another_time_are_not_seen():
    rig = Rig()
    rig.run(3)
    with pytest.raises(ObservationError, match="stamp"):
        rig.cameras.stamps(rig.now, round((rig.now + 3600) * 1e9))


@pytest.mark.parametrize("image", [("bgr8", *picture()[1:]), ("rgb8", 640, 480, 1920, b"0" * 921600), picture(0)])
def test_unusable_frames_are_rejected_and_counted(image):
    rig = Rig()
    rig.run(3)
    before = rig.cameras.feeds["side"].stamp
    rig.now += PERIOD
    assert not rig.offer("side", image=image)
    assert rig.cameras.rejected == 1 and rig.cameras.feeds["side"].stamp == before
    rig.now += 0.51
    with pytest.raises(ObservationError, match="bgr8|640x480|black"):
        rig.stamps()


def test_views_too_far_apart_are_refused():
    rig = Rig()
    rig.run(3)
    rig.now += 0.2
    rig.offer("side")
    with pytest.raises(ObservationError, match="apart"):
        rig.stamps()


def test_same_picture_with_new_stamps_is_frozen_once_the_arm_moves():
    rig, same = Rig(), picture(100)
    rig.run(30, image=same)
    assert rig.stamps()  # nothing moves: a still scene may look like this
    rig.run(9, image=same, position=MOVED)
    with pytest.raises(ObservationError, match="frozen"):
        rig.stamps()
    rig.run(1, position=MOVED)
    assert rig.stamps()


def test_moving_pictures_are_never_frozen():
    rig = Rig()
    for step in range(60):
        rig.run(1, position=STILL + step * 0.01)
    assert rig.stamps() and rig.cameras.dropped == 0


def test_crop_outside_of_the_frames_stops_the_start():
    with pytest.raises(ValueError, match="crop_side of task pushing"):
        Cameras(load_task("pushing"), CameraOptions(width=200))


def test_delivery_counts_what_the_stamps_show():
    delivery = Delivery(15.0)
    for i in range(100):
        if i % 10 != 5:
            delivery.add(round(i * PERIOD * 1e9))
    assert delivery.counts == (90, 100)


def test_delivery_trusts_sequence_numbers_and_forgives_a_restart():
    delivery = Delivery(15.0)
    for i, sequence in enumerate([1, 2, 4, 5, 1, 2]):
        delivery.add(round((100 + 0.1 * i) * 1e9), sequence)
    assert delivery.counts == (6, 8)  # one lost; at the restart the stamps decide: 0.1 s is time for two


def test_window_keeps_its_span():
    window = Window(10.0)
    assert window.percentiles(50, 99) == [0.0, 0.0]
    for i in range(100):
        window.add(float(i), float(i))
    assert window.percentiles(0, 100) == [89.0, 99.0]
