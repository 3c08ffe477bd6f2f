import numpy as np
import pytest

from ws_policy.observation import ObservationError, crop_resize, image_view, make_state
from ws_rollouts.episode import STATE

SIZE = (8, 6)


def image(**changes):
    fields = {"encoding": "rgb8", "width": 8, "height": 6, "step": 24, "data": bytes(range(144))} | changes
    return image_view(*fields.values(), SIZE)


def test_crop_is_cut_and_averaged():
    frame = np.zeros((240, 424, 3), np.uint8)
    frame[10:12, 20:22] = [[[10, 0, 0], [20, 0, 0]], [[30, 0, 0], [40, 0, 0]]]
    small = crop_resize(frame, (20, 10, 128, 128), 64)
    assert small.shape == (64, 64, 3) and small.dtype == np.uint8
    assert small[0, 0, 0] == 25 and small.sum() == 25


@pytest.mark.parametrize("crop", [(0, 0, 425, 240), (-1, 0, 10, 10), (420, 0, 10, 10), (0, 0, 0, 10)])
def test_crop_outside_is_refused(crop):
    with pytest.raises(ObservationError, match="leaves the 424x240 frame"):
        crop_resize(np.zeros((240, 424, 3), np.uint8), crop, 64)


def test_state_layout():
    state = make_state([1, 2, 3], [4, 5, 6], 0.5, [7, 8, 9], [1.5, 2.5, 3.5])
    assert state.dtype == np.float32 and state.shape == (13,)
    assert list(state[STATE["position"]]) == [1, 2, 3] and list(state[STATE["rotation"]]) == [4, 5, 6]
    assert list(state[STATE["gripper"]]) == [0.5] and list(state[STATE["velocity"]]) == [7, 8, 9]
    assert list(state[STATE["lag"]]) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_state_that_is_not_finite_is_refused(bad):
    with pytest.raises(ObservationError, match="finite"):
        make_state([1, bad, 3], [0, 0, 0], 0.5, [0, 0, 0], [0, 0, 0])


def test_image_view_is_the_picture():
    assert image().shape == (6, 8, 3) and image()[0, 1, 0] == 3


@pytest.mark.parametrize("changes, reason", [
    ({"encoding": "bgr8"}, "bgr8"), ({"width": 16}, "16x6"), ({"step": 25}, "step"), ({"data": b"123"}, "3 bytes")])
def test_wrong_images_are_refused_with_the_reason(changes, reason):
    with pytest.raises(ObservationError, match=reason):
        image(**changes)
