"""Proprioception from actions, and reward from latents: what the transformer is told and what is read off it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ws_rollouts.episode import STATE, STATE_SIZE, VIEWS
from ws_rollouts.task import Task
from ws_world_model.flow.options import FlowOptions
from ws_world_model.scaling import StateScale

_CHANNELS = 16
_LIMIT = 5.0  # normalised states beyond it are cut: an imagined arm cannot run away


class _Glance(nn.Module):
    """Latents of both views (N, C, G, G) -> (N, hidden): coarse, but places stay apart."""

    def __init__(self, options: FlowOptions):
        super().__init__()
        self.views = nn.ModuleDict({
            view: nn.Sequential(
                nn.Conv2d(options.latent, _CHANNELS, 3, 2, 1), nn.SiLU(),
                nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2, 1), nn.SiLU(), nn.Flatten(),
                nn.Linear(_CHANNELS * _quartered(options.cells(view)) ** 2, options.hidden),
            ) for view in VIEWS
        })

    def forward(self, latents: dict[str, Tensor]) -> Tensor:
        return sum(self.views[view](latents[view]) for view in VIEWS)


class StateHead(nn.Module):
    """Where the actions of a chunk lead the arm: a recurrent network beside the locked target that they add up to.

    The prior is that the arm reaches the target, position + lag + the sum of the commanded steps, and that all else
    stays; the network, led by what the views show of contact at the start, learns the difference.
    """

    def __init__(self, task: Task, options: FlowOptions):
        super().__init__()
        self.scale = StateScale(task)
        self.glance = _Glance(options)
        self.start = nn.Linear(STATE_SIZE, options.hidden)
        self.step = nn.GRU(task.action_size + STATE_SIZE, options.hidden, batch_first=True)
        self.difference = nn.Linear(options.hidden, STATE_SIZE)
        nn.init.zeros_(self.difference.weight)
        nn.init.zeros_(self.difference.bias)
        for name, value in (("reach", task.action_scale), ("low", task.workspace_low), ("high", task.workspace_high)):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def forward(self, latents: dict[str, Tensor], state: Tensor, actions: Tensor) -> Tensor:
        """Start's latents (B, C, G, G) and physical state (B, 13), actions (B, F, A) -> (B, F, 13) normalised."""
        prior = self.prior(state, actions)
        first = torch.tanh(self.start(self.scale(state)) + self.glance(latents))
        hidden, _ = self.step(torch.cat([actions, prior], dim=-1), first[None])
        return (prior + self.difference(hidden)).clamp(-_LIMIT, _LIMIT)

    def prior(self, state: Tensor, actions: Tensor) -> Tensor:
        """(B, F, 13) normalised."""
        position, lag = state[:, STATE["position"]], state[:, STATE["lag"]]
        moves = actions[..., : len(self.reach)] * self.reach
        target = ((position + lag)[:, None] + moves.cumsum(dim=1)).clamp(self.low, self.high)
        rest = state[:, None].expand(-1, actions.shape[1], -1)
        parts = [target if name == "position" else rest[..., part] for name, part in STATE.items()]
        return self.scale(torch.cat(parts, dim=-1))


class RewardHead(nn.Module):
    """Whether the task is done, from one observation."""

    def __init__(self, options: FlowOptions):
        super().__init__()
        self.glance = _Glance(options)
        self.state = nn.Linear(STATE_SIZE, options.hidden)
        self.out = nn.Sequential(
            nn.SiLU(), nn.Linear(options.hidden, options.hidden), nn.SiLU(), nn.Linear(options.hidden, 1))

    def forward(self, latents: dict[str, Tensor], state: Tensor) -> Tensor:
        """Latents (B, F, C, G, G) and normalised states (B, F, 13) -> logits (B, F)."""
        seen = self.glance({view: x.flatten(0, 1) for view, x in latents.items()})
        return self.out(seen + self.state(state.flatten(0, 1))).reshape(state.shape[:2])


def _quartered(side: int) -> int:
    """Side after two convolutions of stride 2."""
    return ((side + 1) // 2 + 1) // 2
