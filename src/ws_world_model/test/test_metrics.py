"""The metrics are what their formulas say."""

import sys
import types

import numpy as np
import pytest

from ws_world_model import metrics
from ws_world_model.metrics import PSNR_CAP, find_lpips, moving, psnr, squared_error, ssim


def pictures(count=3, size=24, seed=0):
    rng = np.random.default_rng(seed)
    smooth = rng.uniform(0, 255, (count, 3, 3, 3)).repeat(size // 3, axis=1).repeat(size // 3, axis=2)
    return np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)


def slow_ssim(a, b):
    """Wang et al. 2004, equation 13, window by window."""
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for channel in range(3):
        for y in range(a.shape[0] - 10):
            for x in range(a.shape[1] - 10):
                p, q = (m[y : y + 11, x : x + 11, channel].astype(float) for m in (a, b))
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                cov = (weights * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + 6.5025) * (2 * cov + 58.5225)
                              / ((mp**2 + mq**2 + 6.5025) * (vp + vq + 58.5225)))
    return np.mean(values)


def test_ssim_is_the_published_formula():
    a, b = pictures(seed=1), pictures(seed=2)
    b[0] = np.clip(a[0].astype(int) + 9, 0, 255)
    expected = [slow_ssim(x, y) for x, y in zip(a, b, strict=True)]
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert expected[0] > expected[1]


def test_psnr_is_of_the_mean_squared_error_on_unit_range():
    black = np.zeros((1, 16, 16, 3), np.uint8)
    white = np.full_like(black, 255)
    assert squared_error(black, white).sum() == 16 * 16 * 3 * 255**2
    assert psnr(1.0) == 0.0 and psnr(0.01) == pytest.approx(20.0)
    assert psnr(0.0) == psnr(1e-9) == PSNR_CAP
    assert np.isnan(psnr(np.nan))


def test_a_pixel_moves_when_one_channel_differs_enough():
    start = np.full((4, 4, 3), 100, np.uint8)
    later = np.stack([start, start, start])
    later[1, 2, 3, 1] = 109
    later[2, :, :, 0] = 92  # by 8: not yet
    assert moving(later, start).nonzero() == (np.array([1]), np.array([2]), np.array([3]))


def test_lpips_is_used_only_where_all_of_it_is_there(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    find_lpips.cache_clear()
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None if name == "lpips" else object())
    assert find_lpips() == (None, "package lpips is not installed")

    lpips = types.ModuleType("lpips")
    lpips.LPIPS = lambda **_: torch.nn.Module()
    monkeypatch.setitem(sys.modules, "lpips", lpips)
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    find_lpips.cache_clear()
    measure, why = find_lpips()
    assert measure is None and "alexnet" in why

    class Difference(torch.nn.Module):
        def forward(self, a, b):
            assert a.shape[1] == 3 and a.abs().max() <= 1
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    lpips.LPIPS = lambda **_: Difference()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    find_lpips.cache_clear()
    measure, why = find_lpips()
    a = pictures()
    assert not why and measure(a, a).tolist() == [0, 0, 0] and measure(a, 255 - a).min() > 0
    find_lpips.cache_clear()
