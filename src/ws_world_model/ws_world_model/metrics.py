"""How like two pictures are: PSNR, SSIM and, where it is installed, LPIPS; NumPy and OpenCV only."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

PSNR_CAP = 60.0  # dB; also what identical pictures get. Rounding to 8 bits alone is an error of 58.9 dB
MOVING = 8  # of 255, in any channel: a pixel that differs more from the start has moved
WINDOW, SIGMA = 11, 1.5  # px, Gaussian window of SSIM (Wang et al. 2004)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # the same paper's K1, K2
_LPIPS_BACKBONE = "alexnet-owt-7be5be79.pth"  # torchvision's file, in torch's folder of checkpoints


def squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared difference of uint8 pictures (..., S, S, 3): (..., S, S) int32, summed over the channels."""
    difference = np.subtract(a, b, dtype=np.int32)
    return np.einsum("...c,...c->...", difference, difference)


def psnr(error: np.ndarray) -> np.ndarray:
    """dB, at most PSNR_CAP, of a mean squared error on [0, 1] in float64; NaN stays."""
    with np.errstate(divide="ignore"):
        return np.minimum(-10.0 * np.log10(np.asarray(error, float)), PSNR_CAP)


def moving(frames: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Which pixels of (T, S, S, 3) uint8 differ from `start` (S, S, 3): (T, S, S) bool."""
    return (np.abs(np.subtract(frames, start, dtype=np.int16)) > MOVING).any(axis=-1)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of uint8 pictures (T, S, S, 3), S at least WINDOW: (T,) float64, 1 when identical.

    Wang et al. 2004 with their Gaussian window, on each of R, G, B, mean over channels and over all whole windows.
    """
    return np.array([_ssim(x, y) for x, y in zip(a, b, strict=True)])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(float), b.astype(float)
    moments = np.concatenate((x, y, x * x, y * y, x * y), axis=-1)
    inside = slice(WINDOW // 2, -(WINDOW // 2))  # where no border is made up
    smooth = cv2.GaussianBlur(moments, (WINDOW, WINDOW), SIGMA)[inside, inside]
    mx, my, xx, yy, xy = np.split(smooth, 5, axis=-1)
    both, squares = mx * my, mx * mx + my * my
    return float(np.mean((2 * both + _C1) * (2 * (xy - both) + _C2) / ((squares + _C1) * (xx + yy - squares + _C2))))


@functools.cache
def find_lpips() -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray] | None, str]:
    """LPIPS-Alex (Zhang et al. 2018) as f(a, b) -> (T,) of uint8 (T, S, S, 3), and "".

    Where the package `lpips` or its backbone's weights are not on this machine: None and what is missing; nothing is
    ever downloaded.
    """
    for package in ("lpips", "torch", "torchvision"):
        if importlib.util.find_spec(package) is None:
            return None, f"package {package} is not installed"
    import lpips
    import torch

    backbone = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_BACKBONE
    if not backbone.is_file():
        return None, f"{_LPIPS_BACKBONE} is not in torch's folder of checkpoints"
    network = lpips.LPIPS(net="alex", verbose=False).eval()

    def tensor(frames: np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def measure(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(tensor(a), tensor(b)).reshape(len(a)).double().numpy()

    return measure, ""
