"""All networks of the flow world model: autoencoders of the views, and the predictor that is averaged."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task
from ws_world_model.flow.autoencoder import Autoencoder
from ws_world_model.flow.heads import RewardHead, StateHead
from ws_world_model.flow.options import FlowOptions
from ws_world_model.flow.pictures import frames_of, pictures_of
from ws_world_model.flow.transformer import LatentTransformer

_AT_ONCE = 64  # frames through an autoencoder, so that memory does not grow with the clip


class Predictor(nn.Module):
    """What imagines in latents."""

    def __init__(self, task: Task, options: FlowOptions):
        super().__init__()
        self.transformer = LatentTransformer(task.action_size, options)
        self.state = StateHead(task, options)
        self.reward = RewardHead(options)


class Autoencoders(nn.ModuleDict):
    """One per view, with frames of any square size on the outside."""

    def __init__(self, options: FlowOptions):
        super().__init__({view: Autoencoder(options) for view in VIEWS})
        self.options = options

    @torch.no_grad()
    def encode(self, frames: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
        """view -> (B, F, S, S, 3) uint8 to view -> latents (B, F, C, G, G)."""
        return {view: self._encoded(view, frames[view], device) for view in VIEWS}

    @torch.no_grad()
    def decode(self, latents: dict[str, Tensor], sizes: dict[str, int]) -> dict[str, np.ndarray]:
        """view -> latents (B, F, C, G, G) to view -> (B, F, S, S, 3) uint8 with S of `sizes`."""
        return {view: self._decoded(view, latents[view], sizes[view]) for view in VIEWS}

    def _encoded(self, view: str, frames: np.ndarray, device: torch.device) -> Tensor:
        flat = frames.reshape(-1, *frames.shape[2:])
        pieces = [self[view].encode(pictures_of(flat[i : i + _AT_ONCE], self.options.size(view), device))
                  for i in range(0, len(flat), _AT_ONCE)]
        return torch.cat(pieces).unflatten(0, frames.shape[:2])

    def _decoded(self, view: str, latents: Tensor, size: int) -> np.ndarray:
        pieces = [frames_of(self[view].decode(piece), size) for piece in latents.flatten(0, 1).split(_AT_ONCE)]
        return np.concatenate(pieces).reshape(*latents.shape[:2], size, size, 3)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA, nothing on the CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
