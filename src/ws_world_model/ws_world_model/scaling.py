"""Proprioception to about -1 .. 1 and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ws_rollouts.episode import STATE, STATE_SIZE
from ws_rollouts.task import Task

# What counts as one in each part of the state: rad, -, m/s (the driver's speed cap), m. Position: by the task's box.
_SCALES = {"rotation": 0.1, "gripper": 1.0, "velocity": 0.15, "lag": 0.015}


class StateScale(nn.Module):
    """Buffers only; nothing is learned or saved."""

    def __init__(self, task: Task):
        super().__init__()
        low, high = torch.tensor(task.workspace_low), torch.tensor(task.workspace_high)
        centre, scale = torch.zeros(STATE_SIZE), torch.ones(STATE_SIZE)
        centre[STATE["position"]], scale[STATE["position"]] = (low + high) / 2, (high - low) / 2
        for name, value in _SCALES.items():
            scale[STATE[name]] = value
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, state: Tensor, limit: float = 5.0) -> Tensor:
        """(..., 13) SI units -> about -1 .. 1, cut at `limit`: an imagined arm cannot run away."""
        return ((state - self.centre) / self.scale).clamp(-limit, limit)

    def physical(self, scaled: Tensor) -> Tensor:
        """(..., 13) scaled -> SI units."""
        return scaled * self.scale + self.centre
