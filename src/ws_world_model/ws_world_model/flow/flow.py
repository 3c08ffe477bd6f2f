"""Rectified flow over latents: loss with noisy history, few-step Euler sampler.

x_t = (1 - t) noise + t latents, velocity = latents - noise (Liu et al. 2023). History frames have a time of their
own: nearly one when training (a little noise, so that imagined history is no surprise), one when sampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ws_rollouts.episode import VIEWS
from ws_world_model.flow.options import FlowOptions
from ws_world_model.flow.transformer import Conditions, LatentTransformer

Latents = dict[str, Tensor]  # view -> (B, F, C, G, G)


@dataclass(frozen=True)
class Draws:
    """What is random in one flow loss."""

    noise: Latents  # normal, of all frames
    time: Tensor  # (B,) in (0, 1), of the frames to imagine
    level: Tensor  # (B, H) share of noise in the history
    dropped: Tensor  # (B,) 1 where the actions are withheld


def draw(like: Latents, history: int, options: FlowOptions, random: torch.Generator) -> Draws:
    """Random numbers for latents on the generator's device. Time is logit-normal (Esser et al. 2024)."""
    clips = like[VIEWS[0]].shape[0]
    uniform = torch.rand(clips, history + 1, generator=random, device=random.device)
    return Draws(
        noise={view: torch.randn(like[view].shape, generator=random, device=random.device) for view in VIEWS},
        time=torch.randn(clips, generator=random, device=random.device).sigmoid(),
        level=options.history_noise * uniform[:, :history],
        dropped=(uniform[:, history] < options.action_dropout).float(),
    )


def flow_loss(network: LatentTransformer, latents: Latents, history: int, conditions: Conditions, draws: Draws
              ) -> Tensor:
    """Mean squared error of the velocity of the frames after the first `history`; each view counts the same."""
    future = latents[VIEWS[0]].shape[1] - history
    time = torch.cat([1 - draws.level, draws.time[:, None].expand(-1, future)], dim=1)
    share = time[:, :, None, None, None]
    mixed = {view: share * latents[view] + (1 - share) * draws.noise[view] for view in VIEWS}
    velocity = network(mixed, time, conditions.without(draws.dropped, history))
    errors = [(velocity[v] - (latents[v] - draws.noise[v]))[:, history:].square().mean() for v in VIEWS]
    return sum(errors) / len(errors)


@torch.no_grad()
def sample(network: LatentTransformer, past: Latents, noise: Latents, conditions: Conditions, steps: int) -> Latents:
    """Latents of the frames after the history `past`, from `noise` of their shape, in `steps` Euler steps."""
    (clips, history), future = past[VIEWS[0]].shape[:2], noise[VIEWS[0]].shape[1]
    x = noise
    for step in range(steps):
        time = torch.ones(clips, history + future, device=x[VIEWS[0]].device)
        time[:, history:] = step / steps
        velocity = network({view: torch.cat([past[view], x[view]], dim=1) for view in VIEWS}, time, conditions)
        x = {view: x[view] + velocity[view][:, history:] / steps for view in VIEWS}
    return x
