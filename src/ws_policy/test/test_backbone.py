"""Feature maps: what the published network says, where it says it, and that none of it travels."""

import numpy as np
import pytest
import torch

from ws_policy.backbone import CELL, CHANNELS, as_numbers, feature_maps, look
from ws_policy.networks import Encoder, NetworkOptions
from ws_policy.weights import arrays
from ws_rollouts.task import load_task


def picture(size=96):
    """(1, size, size, 3): a disc on a gradient."""
    y, x = np.mgrid[:size, :size]
    disc = (y - 40) ** 2 + (x - 48) ** 2 < 200
    return np.stack([np.where(disc, 220, 2 * x), np.where(disc, 40, 2 * y), 0 * x + 90], -1).astype(np.uint8)[None]


def test_the_numbers_are_the_published_networks():
    """Of efficientnet_lite_pytorch 0.1.0 with the same weights, after its fifth block: mean, deviation, three cells."""
    maps = as_numbers(torch.from_numpy(feature_maps(picture()))).numpy()[0]
    assert maps.shape == (CHANNELS, 12, 12)
    expected = [0.046, 1.043, -0.968, -0.373, 0.758]
    assert expected == pytest.approx([maps.mean(), maps.std(), maps[0, 5, 6], maps[7, 2, 3], maps[39, 8, 8]], abs=0.02)


def test_what_moves_by_a_cell_moves_by_a_cell_in_the_map():
    wide = picture(112)
    here, there = feature_maps(wide[:, :96, :96]), feature_maps(wide[:, CELL : 96 + CELL, :96])
    off = np.abs(here[:, 4:8, 5:7].astype(int) - there[:, 3:7, 5:7])
    assert off.max() <= 1  # a byte is rounded


def test_each_view_has_its_own_channels():
    frames = {"side": picture(64), "wrist": 255 - picture(64)}
    both, swapped = look(frames), look({"side": frames["wrist"], "wrist": frames["side"]})
    assert both.shape == (1, 8, 8, 2 * CHANNELS) and both.dtype == np.int8
    assert np.array_equal(both[..., :CHANNELS], swapped[..., CHANNELS:])
    assert not np.array_equal(both[..., :CHANNELS], both[..., CHANNELS:])


def test_it_neither_learns_nor_travels():
    encoder = Encoder(load_task("pushing"), NetworkOptions())
    assert {name.split(".")[0] for name in arrays(encoder)} == {"conv", "project"}


def test_an_image_that_has_no_whole_cells_is_refused():
    with pytest.raises(ValueError, match="image_size = 40: must be a multiple of 16"):
        Encoder(load_task("pushing", {"image_size": 40}), NetworkOptions())
