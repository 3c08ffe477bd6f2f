"""Networks of the cpu profile: a recurrent core that says what happens, a renderer that shows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_rollouts.episode import STATE, STATE_SIZE
from ws_rollouts.task import Task
from ws_world_model.free import MOTION
from ws_world_model.geometry import CHANNELS, DRAWN, PERIOD, PLACES, SIDE_CANDIDATES, WRIST_CANDIDATES
from ws_world_model.scaling import StateScale

_LAG_SCALE = 0.03  # m, the driver's lead limit
_SPEED_SCALE = 0.1  # m/s
_KEEPS, _PULLS = 0.68, 0.13  # least squares on 80 rollouts of the twin: 1.7 mm a step off, the arm moves 5.2 mm
_LOGITS = SIDE_CANDIDATES + WRIST_CANDIDATES + 1  # a share for each candidate, and for the map's view
_TRUSTED = 5.0  # beyond all other logits that of what the scene memory draws, before anything is learned
_MOST = 5.0  # logits of shares stay within +- this


def blocks(images: Tensor, size: int) -> Tensor:
    """(B, S, S, C) uint8 -> (B, size^2 C, S/size, S/size) channels-last about 0; moved as bytes: cheaper."""
    b, s, _, c = images.shape
    cut = images.view(b, s // size, size, s // size, size, c).permute(0, 1, 3, 2, 4, 5)
    flat = cut.reshape(b, s // size, s // size, size * size * c).permute(0, 3, 1, 2)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    return flat.to(dtype).mul_(1 / 255).sub_(0.5)


def shares(logits: Tensor, dim: int, lead: Tensor | float = 0.0) -> Tensor:
    """Softmax along `dim` that never closes: a share that is none any more would have no gradient either.

    `lead`: what some logits have ahead of others.
    """
    return torch.softmax(_MOST * torch.tanh(logits / _MOST) + lead, dim=dim)


class Core(nn.Module):
    """What happens: proprioception of the next step, a memory of the contact, and whether the task is done.

    It looks at the map around the tool: `seen` channels, `patch` cells wide; there it meets something. The locked
    target is known (the driver moves it by the commanded step, no further than `lead` from the tool, within the
    workspace); how the arm follows it is learned.
    """

    def __init__(self, task: Task, hidden: int, lead: float, seen: int, patch: int, channels: int = 32):
        super().__init__()
        self.translations, self.lead = len(task.action_scale), lead
        self.scale = StateScale(task)
        self.register_buffer("low", torch.tensor(task.workspace_low), persistent=False)
        self.register_buffer("high", torch.tensor(task.workspace_high), persistent=False)
        self.register_buffer("action_scale", torch.tensor(task.action_scale), persistent=False)
        stride = torch.full((STATE_SIZE,), 0.003)  # m, rad: about what the first guess is off by
        stride[STATE["gripper"]], stride[STATE["velocity"]] = 0.1, 0.03
        self.register_buffer("stride", stride, persistent=False)
        self.look = nn.Sequential(
            nn.Conv2d(seen, channels, 3, 2, 1), nn.SiLU(), nn.Conv2d(channels, channels, 3, 2, 1), nn.SiLU(),
            nn.Flatten(), nn.Linear(channels * (patch // 4) ** 2, 64), nn.LayerNorm(64),
        ).to(memory_format=torch.channels_last)
        inputs = 64 + STATE_SIZE + task.action_size + 2 * self.translations + MOTION
        self.enter = nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU())
        self.cell = nn.GRUCell(hidden, hidden)
        self.change = nn.Sequential(nn.Linear(hidden + inputs - 64, hidden), nn.SiLU(), nn.Linear(hidden, STATE_SIZE))
        self.judge = nn.Linear(hidden, 1)
        nn.init.zeros_(self.change[-1].weight)
        nn.init.zeros_(self.change[-1].bias)

    def features(self, squares: Tensor) -> Tensor:
        """Squares of the map around the tool (N, C, P, P) -> (N, 64)."""
        return self.look((squares - 0.5).contiguous(memory_format=torch.channels_last)).float()

    def forward(self, features: Tensor, state: Tensor, action: Tensor, memory: Tensor | None = None,
                free: Tensor | None = None):
        """One step: (B, 64), (B, 13), (B, A), (B, H) -> next state (B, 13) and memory (B, H), which tells it all.

        `free` (B, 2, 6): position and velocity of an arm that nothing is in the way of, before and after the step.
        """
        here = state[..., STATE["position"]]
        target, goal = self._targets(state, action)
        if free is None:
            guess, ahead = self._follow(state, goal), state.new_zeros(*state.shape[:-1], MOTION)
        else:
            guess, ahead = self._like(state, goal, free), self._ahead(state, free)
        known = torch.cat([self.scale(state), action, (target - here) / _LAG_SCALE, (goal - here) / _LAG_SCALE, ahead],
                          dim=-1)
        memory = self.cell(self.enter(torch.cat([features, known], dim=-1)), memory)
        following = guess + self.change(torch.cat([memory, known], dim=-1)) * self.stride
        lag = goal - following[..., STATE["position"]]  # whatever the arm does, the target is where it is
        return torch.cat([following[..., : STATE["lag"].start], lag], dim=-1), memory

    def roll(self, features: Tensor, state: Tensor, actions: Tensor,
             free: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From (B, 13) through (B, T, A) by its own predictions, looking at (B, T, 64): (B, T, 13), (B, T, H).

        `free` (B, T+1, 6): the way of a free arm.
        """
        states, memories, memory = [], [], None
        for t in range(actions.shape[1]):
            state, memory = self(features[:, t], state, actions[:, t], memory,
                                 None if free is None else free[:, t : t + 2])
            states.append(state)
            memories.append(memory)
        return torch.stack(states, dim=1), torch.stack(memories, dim=1)

    @staticmethod
    def _follow(state: Tensor, goal: Tensor) -> Tensor:
        """The next state of an arm that follows its target with a lag; a first guess, corrected by what is learned."""
        here = state[..., STATE["position"]]
        moved = _KEEPS * PERIOD * state[..., STATE["velocity"]] + _PULLS * (goal - here)
        rest = state[..., STATE["rotation"].start : STATE["gripper"].stop]
        return torch.cat([here + moved, rest, moved / PERIOD, goal - here - moved], dim=-1)

    @staticmethod
    def _like(state: Tensor, goal: Tensor, free: Tensor) -> Tensor:
        """The next state of an arm that moves as the free one does."""
        moved = free[..., 1, :3] - free[..., 0, :3]
        rest = state[..., STATE["rotation"].start : STATE["gripper"].stop]
        there = state[..., STATE["position"]] + moved
        return torch.cat([there, rest, free[..., 1, 3:], goal - there], dim=-1)

    @staticmethod
    def _ahead(state: Tensor, free: Tensor) -> Tensor:
        """How far the free arm is ahead after the step, (..., 6) about 1."""
        return torch.cat([(free[..., 1, :3] - state[..., STATE["position"]]) / _LAG_SCALE,
                          (free[..., 1, 3:] - state[..., STATE["velocity"]]) / _SPEED_SCALE], dim=-1)

    def done(self, hidden: Tensor) -> Tensor:
        """Logit that the task is done, (..., H) -> (...)."""
        return self.judge(hidden).squeeze(-1)

    def _targets(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """The locked target (..., 3) before and after a command, as the driver moves it."""
        here = state[..., STATE["position"]]
        target = here + state[..., STATE["lag"]]
        step = torch.zeros_like(target)
        step[..., : self.translations] = action[..., : self.translations] * self.action_scale
        lead = target + step - here
        reach = lead * (self.lead / lead.norm(dim=-1, keepdim=True).clamp(min=self.lead))
        low, high = torch.minimum(self.low, target), torch.maximum(self.high, target)  # outside it may come in
        return target, torch.minimum(torch.maximum(here + reach, low), high)


class _Film(nn.Module):
    """Scale and shift of channels by a condition (FiLM, Perez et al. 2018)."""

    def __init__(self, condition: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.linear(condition).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class _Block(nn.Module):
    """Residual: convolution, condition, convolution."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.film = _Film(condition, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + self.second(F.silu(self.film(self.first(F.silu(x)), condition)))


class Renderer(nn.Module):
    """What it looks like: a U-Net that chooses among the candidates per pixel, and draws what none of them shows."""

    def __init__(self, condition: int, widths: tuple[int, int, int]):
        super().__init__()
        a, b, c = widths
        self.enter = nn.Conv2d(4 * (CHANNELS + 3), a, 1)
        self.film = _Film(condition, a)
        self.down1 = nn.Conv2d(a, b, 3, 2, 1)
        self.mid = _Block(b, condition)
        self.down2 = nn.Conv2d(b, c, 3, 2, 1)
        self.low = _Block(c, condition)
        self.up1 = nn.Conv2d(c, b, 1)
        self.mid_out = _Block(b, condition)
        self.up2 = nn.Conv2d(b, a, 1)
        self.high = nn.Conv2d(a, a, 3, 1, 1)
        self.leave = nn.Conv2d(a, 4 * (_LOGITS + 6), 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, candidates: Tensor, seen: Tensor, condition: Tensor) -> Tensor:
        """(B, S, S, CHANNELS) uint8, the map's view (B, 3, S, S), (B, condition) -> (B, 6, S, S) float32.

        Side and wrist in about 0 .. 1.
        """
        known = blocks(candidates, 2)
        mapped = F.pixel_unshuffle(seen - 0.5, 2).to(known.dtype)
        known = torch.cat([known, mapped], dim=1).contiguous(memory_format=torch.channels_last)
        x = self.film(self.enter(known), condition)
        y = self.mid(self.down1(F.silu(x)), condition)
        z = self.low(self.down2(F.silu(y)), condition)
        y = self.mid_out(y + F.interpolate(self.up1(z), scale_factor=2), condition)
        x = x + F.interpolate(self.up2(y), scale_factor=2)
        x = x + self.high(F.silu(x))
        out = F.pixel_shuffle(self.leave(F.silu(x)).float().contiguous(), 2)
        pixels = candidates[..., :-PLACES].permute(0, 3, 1, 2).contiguous().float().mul_(1 / 255)  # planes vectorise
        side = _blend(pixels[:, : 3 * SIDE_CANDIDATES], out[:, :SIDE_CANDIDATES], out[:, -6:-3],
                      _lead(pixels, "side", SIDE_CANDIDATES, SIDE_CANDIDATES - 1))
        shown = torch.cat([pixels[:, 3 * SIDE_CANDIDATES :], seen], dim=1)
        wrist = _blend(shown, out[:, SIDE_CANDIDATES:_LOGITS], out[:, -3:],
                       _lead(pixels, "wrist", WRIST_CANDIDATES + 1, WRIST_CANDIDATES - 1))
        return torch.cat([side, wrist], dim=1)


def _lead(pixels: Tensor, view: str, count: int, number: int) -> Tensor:
    """(B, count, 1, 1): what candidate `number`, which the scene memory draws, is trusted ahead of others if it is."""
    lead = pixels.new_zeros(len(pixels), count, 1, 1)
    there = pixels[:, DRAWN[view] : DRAWN[view] + 3].amax((1, 2, 3)) > 0
    lead[:, number, 0, 0] = _TRUSTED * there
    return lead


def _blend(candidates: Tensor, logits: Tensor, drawn: Tensor, lead: Tensor) -> Tensor:
    """Candidates (B, 3 K, S, S), mixed by the softmax of (B, K, S, S), and what is drawn over them (B, 3, S, S)."""
    share = shares(logits, 1, lead)[:, :, None]
    return (candidates.unflatten(1, (-1, 3)) * share).sum(1) + drawn
