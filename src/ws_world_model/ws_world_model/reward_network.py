"""A small classifier of what three frames of both views show: is the task done?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_rollouts.episode import STATE_SIZE, VIEWS

WINDOW = 3  # frames, the newest first
_BLOCK = 4  # px, side of the space-to-depth blocks


def check_image_size(size: int) -> int:
    """The size, when the network's strides fit it; else ValueError."""
    if size % (4 * _BLOCK):
        raise ValueError(f"image_size = {size}: must be a multiple of {4 * _BLOCK}")
    return size


def to_blocks(images: Tensor) -> Tensor:
    """(N, views, S, S, 3) uint8 -> (N, views 48, S/4, S/4) in +-0.5, channels-last; moved as bytes, which is cheap.

    Its dtype is autocast's where that is on.
    """
    n, views, size, _, channels = images.shape
    cells = size // _BLOCK
    blocks = images.reshape(n, views, cells, _BLOCK, cells, _BLOCK, channels).permute(0, 2, 4, 1, 3, 5, 6)
    flat = blocks.reshape(n, cells, cells, -1).permute(0, 3, 1, 2)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    return flat.to(dtype) / 255.0 - 0.5


class Member(nn.Module):
    """One classifier. The stem sees each frame alone, so that a trajectory costs one pass per frame, not three.

    What follows sees the newest frame's features and how they differ from the two before.
    """

    def __init__(self, image_size: int, channels: int, features: int):
        super().__init__()
        cells = image_size // (4 * _BLOCK)
        self.first = nn.Conv2d(len(VIEWS) * 3 * _BLOCK**2, channels, 3, 2, 1)
        self.second = nn.Conv2d(WINDOW * channels, channels, 3, 2, 1)
        self.project = nn.Sequential(nn.Linear(channels * cells**2, features), nn.LayerNorm(features), nn.Tanh())
        self.decide = nn.Sequential(nn.Linear(features + STATE_SIZE, features), nn.ReLU(), nn.Linear(features, 1))
        self.to(memory_format=torch.channels_last)

    def stem(self, blocks: Tensor) -> Tensor:
        """(N, 96, S/4, S/4) -> (N, channels, S/8, S/8)."""
        return F.relu(self.first(blocks))

    def forward(self, newest: Tensor, before: Tensor, first: Tensor, state: Tensor) -> Tensor:
        """Stem features of a window's frames, each (B, channels, S/8, S/8), and scaled state -> logits (B,) float32."""
        x = F.relu(self.second(torch.cat([newest, newest - before, newest - first], dim=1)))
        x = self.project(x.flatten(1))
        return self.decide(torch.cat([x, state.to(x.dtype)], dim=1)).squeeze(1).float()
