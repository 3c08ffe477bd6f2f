"""Camera frames to pictures of the model's own sizes and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def pictures_of(frames: np.ndarray, size: int, device: torch.device) -> Tensor:
    """(..., S, S, 3) uint8 RGB -> (..., 3, size, size) float32 on [-1, 1]."""
    bytes_ = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    flat = bytes_.flatten(0, -4).permute(0, 3, 1, 2).float() / 127.5 - 1
    return resized(flat, size).unflatten(0, frames.shape[:-3])


def frames_of(pictures: Tensor, size: int) -> np.ndarray:
    """(N, 3, s, s) on [-1, 1] -> (N, size, size, 3) uint8 RGB; values outside are clipped."""
    levels = (resized(pictures.float(), size).clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def resized(pictures: Tensor, size: int) -> Tensor:
    """(N, C, s, s) -> (N, C, size, size): by area where it shrinks, bilinear where it grows."""
    if pictures.shape[-1] == size:
        return pictures
    if pictures.shape[-1] > size:
        return F.interpolate(pictures, size=(size, size), mode="area")
    return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
