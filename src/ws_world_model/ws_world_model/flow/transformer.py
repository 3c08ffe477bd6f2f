"""The transformer that turns noise into the next latents of both views, led by each frame's action and pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ws_rollouts.episode import STATE_SIZE, VIEWS
from ws_world_model.flow.options import FlowOptions
from ws_world_model.imagination import CHUNK

_FREQUENCIES = 64  # sines and cosines in which a time is written
_AGE_SCALE = 0.1  # s, one control period


@dataclass(frozen=True)
class Conditions:
    """What is known of the F frames of a chunk, the H history frames first.

    Of slots, 0 is the episode's first frame, `history` - 1 the start, from `history` on the frames to imagine.
    """

    slot: Tensor  # (F,) int64
    action: Tensor  # (B, F, A) that led to the frame; zeros where not known
    known: Tensor  # (B, F) float32, 1 where the action is known
    state: Tensor  # (B, F, 13) normalised
    posed: Tensor  # (B, F) float32, 1 where the state is known
    age: Tensor  # (B, F, 2) s

    def without(self, dropped: Tensor, history: int) -> Conditions:
        """The same with action and pose of the frames after the `history`-th taken from the `dropped` (B,) clips."""
        told = torch.ones_like(self.known)
        told[:, history:] -= dropped[:, None]
        return Conditions(self.slot, self.action, self.known * told, self.state, self.posed * told, self.age)


class FrameEmbedding(nn.Module):
    """One vector per frame from its time in the flow, action, pose, age and slot; it steers all blocks (AdaLN)."""

    def __init__(self, actions: int, options: FlowOptions):
        super().__init__()
        width = options.width
        self.time, self.action, self.pose = _mlp(2 * _FREQUENCIES, width), _mlp(actions, width), _mlp(STATE_SIZE, width)
        self.age = nn.Linear(len(VIEWS), width)
        self.slot = nn.Embedding(options.history + CHUNK, width)
        self.no_action, self.no_pose = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        scale = torch.exp(torch.linspace(0, math.log(1000), _FREQUENCIES))
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, time: Tensor, conditions: Conditions) -> Tensor:
        """`time` (B, F) in [0, 1], 1 where the frame holds no noise -> (B, F, width)."""
        angle = time[..., None] * self.scale
        known, posed = conditions.known[..., None], conditions.posed[..., None]
        action = known * self.action(conditions.action) + (1 - known) * self.no_action
        pose = posed * self.pose(conditions.state) + (1 - posed) * self.no_pose
        time = self.time(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return time + action + pose + self.age(conditions.age / _AGE_SCALE) + self.slot(conditions.slot)


class LatentTransformer(nn.Module):
    """Velocity of rectified flow for the latents of both views.

    Factorised: spatial attention over the tokens of both views of one frame, so that the views agree; temporal
    attention over one place's frames, causal, so that no frame depends on a later action and a chunk may be
    shorter than twelve. Frame-level AdaLN as IRASim's (each frame's action modulates its own blocks).
    """

    def __init__(self, actions: int, options: FlowOptions):
        super().__init__()
        self.patch, self.recompute = options.patch, options.recompute
        self.grid = {view: options.cells(view) // options.patch for view in VIEWS}  # tokens along a side
        values = options.latent * options.patch**2
        width = options.width
        self.frame = FrameEmbedding(actions, options)
        self.enter = nn.ModuleDict({view: nn.Linear(values, width) for view in VIEWS})
        self.place = nn.ParameterDict(  # the view's embedding and each token's place in it
            {view: nn.Parameter(0.02 * torch.randn(self.grid[view] ** 2, width)) for view in VIEWS})
        self.view = nn.ParameterDict({view: nn.Parameter(0.02 * torch.randn(width)) for view in VIEWS})
        self.blocks = nn.ModuleList(_Block(options) for _ in range(options.depth))
        self.modulation = _modulation(width, options.rank, 2)
        self.leave = nn.ModuleDict({view: _zero(nn.Linear(width, values)) for view in VIEWS})

    def forward(self, latents: dict[str, Tensor], time: Tensor, conditions: Conditions) -> dict[str, Tensor]:
        """Velocities (B, F, C, G, G) of latents of that shape; `time` (B, F)."""
        steer = self.frame(time, conditions)
        tokens = torch.cat(
            [self.enter[v](self._patches(latents[v])) + self.place[v] + self.view[v] for v in VIEWS], dim=2)
        for block in self.blocks:
            if self.recompute and self.training:
                tokens = checkpoint(block, tokens, steer, use_reentrant=False)
            else:
                tokens = block(tokens, steer)
        shift, scale = self.modulation(steer)[..., None, :].chunk(2, dim=-1)
        tokens = _normed(tokens) * (1 + scale) + shift
        split = tokens.split([self.grid[view] ** 2 for view in VIEWS], dim=2)
        return {view: self._unpatched(self.leave[view](t).float(), view)
                for view, t in zip(VIEWS, split, strict=True)}

    def _patches(self, latents: Tensor) -> Tensor:
        """(B, F, C, G, G) -> (B, F, tokens, C patch^2)."""
        b, f, c, g, _ = latents.shape
        p = self.patch
        cut = latents.reshape(b, f, c, g // p, p, g // p, p).permute(0, 1, 3, 5, 2, 4, 6)
        return cut.reshape(b, f, (g // p) ** 2, c * p * p)

    def _unpatched(self, tokens: Tensor, view: str) -> Tensor:
        b, f, _, values = tokens.shape
        n, p = self.grid[view], self.patch
        c = values // p**2
        cut = tokens.reshape(b, f, n, n, c, p, p).permute(0, 1, 4, 2, 5, 3, 6)
        return cut.reshape(b, f, c, n * p, n * p)


class _Block(nn.Module):
    def __init__(self, options: FlowOptions):
        super().__init__()
        width = options.width
        self.spatial, self.temporal = _Attention(width, options.heads), _Attention(width, options.heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulation = _modulation(width, options.rank, 9)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """`x` (B, F, tokens, width), `steer` (B, F, width)."""
        b, f, n, _ = x.shape
        m = self.modulation(steer)[..., None, :].chunk(9, dim=-1)
        x = x + m[2] * self.spatial(_modulated(x, m[0], m[1]).flatten(0, 1), False).unflatten(0, (b, f))
        across = _modulated(x, m[3], m[4]).transpose(1, 2).flatten(0, 1)
        x = x + m[5] * self.temporal(across, True).unflatten(0, (b, n)).transpose(1, 2)
        return x + m[8] * self.mlp(_modulated(x, m[6], m[7]))


class _Attention(nn.Module):
    """Multi-head attention with normalised queries and keys, which keeps bfloat16 stable."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.key = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.inputs(x).chunk(3, dim=-1))
        q, k = self.query(q.float()).to(v.dtype), self.key(k.float()).to(v.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.output(attended.transpose(1, 2).flatten(2))


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))


def _modulation(width: int, rank: int, count: int) -> nn.Sequential:
    """Starts at zero, so that each block starts as the identity (DiT, Peebles and Xie 2023)."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, rank), _zero(nn.Linear(rank, count * width)))


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return _normed(x) * (1 + scale) + shift
