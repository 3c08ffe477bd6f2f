"""Policy networks: one encoder over both views, a tanh-Gaussian actor, an ensemble of critics, a gripper head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_node.options import option
from ws_policy.backbone import CELL, CHANNELS, as_numbers
from ws_rollouts.episode import STATE
from ws_rollouts.task import Task

STD_MIN, STD_MAX = 1e-2, 5.0  # HIL-SERL as run on the A1X
GRIPPER_CLASSES = (-1.0, 0.0, 1.0)  # close, stay, open
_POSE = STATE["gripper"].stop  # numbers of the state: position, rotation, gripper


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes of the networks; the defaults are the CPU profile."""

    channels: int = option(48, "channels of the convolutions", low=4, high=512)
    features: int = option(64, "image features after the encoder", low=8, high=1024)
    hidden: int = option(256, "width of the hidden layers", low=8, high=2048)
    critics: int = option(2, "critics in the ensemble", low=1, high=10)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, hidden):
        layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class Encoder(nn.Module):
    """(B, S/8, S/8, 80) int8 maps of side and wrist (`backbone.look`), (B, 13) state -> (B, features + 7) float32.

    What comes before the maps is not trained: one strided convolution and a projection are.
    Of the state only the pose, position scaled to the task's workspace box: velocity and lag tell what was commanded
    just before, and who imitates would go on with that (de Haan et al. 2019, causal confusion).
    """

    def __init__(self, task: Task, options: NetworkOptions):
        super().__init__()
        if task.image_size % (2 * CELL):
            raise ValueError(f"image_size = {task.image_size}: must be a multiple of {2 * CELL}")
        cells = task.image_size // (2 * CELL)
        self.conv = nn.Sequential(
            nn.Conv2d(2 * CHANNELS, options.channels, 3, 2, 1), nn.ReLU()
        ).to(memory_format=torch.channels_last)
        self.project = nn.Sequential(
            nn.Linear(options.channels * cells * cells, options.features), nn.LayerNorm(options.features), nn.Tanh()
        )
        self.size = options.features + _POSE
        centre, scale = torch.zeros(_POSE), torch.ones(_POSE)
        low, high = torch.tensor(task.workspace_low), torch.tensor(task.workspace_high)
        centre[STATE["position"]], scale[STATE["position"]] = (low + high) / 2, (high - low) / 2
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, maps: Tensor, state: Tensor) -> Tensor:
        x = self.conv(as_numbers(maps))
        features = self.project(x.flatten(1)).float()
        scaled = (state[:, :_POSE] - self.centre) / self.scale
        return torch.cat([features, scaled.clamp(-3, 3)], dim=1)


class Actor(nn.Module):
    """Encoded observation -> tanh-Gaussian over the active translations."""

    def __init__(self, inputs: int, actions: int, hidden: int):
        super().__init__()
        self.net = _mlp(inputs, hidden, 2 * actions)

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Mean before tanh and standard deviation, each (B, actions)."""
        mean, log_std = self.net(encoded).chunk(2, dim=-1)
        return mean, log_std.clamp(math.log(STD_MIN), math.log(STD_MAX)).exp()

    def sample(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Reparametrised action (B, actions) in (-1, 1) and its log-probability (B,)."""
        mean, std = self(encoded)
        raw = mean + std * torch.randn_like(mean)
        normal = -0.5 * ((raw - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2) in the form that does not cancel: SAC, Haarnoja et al. 2018, appendix C
        squash = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
        return torch.tanh(raw), (normal - squash).sum(-1)


class Critic(nn.Module):
    """Ensemble of Q functions: encoded observation and action -> (E, B)."""

    def __init__(self, inputs: int, actions: int, options: NetworkOptions):
        super().__init__()
        self.members = nn.ModuleList(_mlp(inputs + actions, options.hidden, 1) for _ in range(options.critics))

    def forward(self, encoded: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([encoded, action], dim=-1)
        return torch.stack([member(x).squeeze(-1) for member in self.members])


class Policy(nn.Module):
    """What acts on the robot and travels over the weights topic: encoder, actor and gripper head."""

    def __init__(self, task: Task, options: NetworkOptions):
        super().__init__()
        self.translations = len(task.action_scale)
        self.encoder = Encoder(task, options)
        self.actor = Actor(self.encoder.size, self.translations, options.hidden)
        self.gripper = _mlp(self.encoder.size, options.hidden, 3) if task.gripper == "learned" else None

    @torch.no_grad()
    def act(self, maps: Tensor, state: Tensor, exploration: float) -> Tensor:
        """(B, S/8, S/8, 80) int8 and (B, 13) float32 -> (B, translations + 1), the gripper class last.

        exploration: share of the actor's standard deviation that is drawn from; 0: its mean, 1: all, as in SAC.
        """
        encoded = self.encoder(maps, state)
        mean, std = self.actor(encoded)
        action = torch.tanh(mean + exploration * std * torch.randn_like(mean))
        if self.gripper is None:
            return F.pad(action, (0, 1))
        classes = torch.tensor(GRIPPER_CLASSES)[self.gripper(encoded).argmax(-1)]
        return torch.cat([action, classes[:, None]], dim=1)
