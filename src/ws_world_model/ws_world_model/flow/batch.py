"""Training clips of the flow world model, and the conditions that the frames of a chunk are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ws_rollouts.episode import VIEWS, Episode
from ws_world_model.flow.transformer import Conditions
from ws_world_model.imagination import CHUNK, frame_age


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T actions. Without a memory the clip's first observation is it; without ages they are zero.

    Clips longer than twelve actions also train the later chunks of an imagination; 27 is a good length.
    """

    frames: dict[str, np.ndarray]  # view -> (B, T+1, S, S, 3) uint8 RGB
    state: np.ndarray  # (B, T+1, 13) float32
    action: np.ndarray  # (B, T, A) float32
    reward: np.ndarray  # (B, T+1) float32
    age: np.ndarray | None = None  # (B, T+1, 2) float32 s
    memory: dict[str, np.ndarray] | None = None  # view -> (B, S, S, 3) uint8, the episodes' first frames
    memory_state: np.ndarray | None = None  # (B, 13) float32
    memory_age: np.ndarray | None = None  # (B, 2) float32 s

    def __post_init__(self):
        clips, steps = self.action.shape[:2]
        shapes = {"state": self.state.shape, "reward": self.reward.shape,
                  **{f"frames of {view}": self.frames[view].shape for view in VIEWS}}
        if self.age is not None:
            shapes["age"] = self.age.shape
        for name, shape in shapes.items():
            if shape[:2] != (clips, steps + 1):
                raise ValueError(f"{name} {shape}: must begin with {(clips, steps + 1)} for {steps} actions")
        if steps < 1:
            raise ValueError("a clip must have at least one action")


def clips_of(segments: Sequence[tuple[Episode, int]], length: int) -> ClipBatch:
    """Clips of `length` actions from (episode, start). Raises ValueError when one does not fit its episode."""
    for episode, start in segments:
        if start < 0 or start + length > len(episode):
            raise ValueError(f"{episode.episode_id}: no clip of {length} at {start}, it has {len(episode)} actions")

    def cut(values, more: int = 1) -> np.ndarray:
        return np.stack([values(e)[start : start + length + more] for e, start in segments])

    return ClipBatch(
        frames={view: cut(lambda e, view=view: e.frames[view]) for view in VIEWS},
        state=cut(lambda e: e.state), action=cut(lambda e: e.action, 0), reward=cut(lambda e: e.reward),
        age=cut(frame_age),
        memory={view: np.stack([e.frames[view][0] for e, _ in segments]) for view in VIEWS},
        memory_state=np.stack([e.state[0] for e, _ in segments]),
        memory_age=np.stack([frame_age(e)[0] for e, _ in segments]),
    )


@dataclass(frozen=True)
class Window:
    """Which observations of a clip are history (`first` .. `start`) and which are to imagine (to `end`, inclusive)."""

    first: int
    start: int
    end: int
    known: bool  # whether the history's actions are


def windows(steps: int, recent: int) -> list[Window]:
    """All windows of a clip of `steps` actions that an imagination also meets.

    Its first chunk knows only the start; its later ones `recent` frames, whose actions are known: they begin after
    the clip's first observation.
    """
    lone = [Window(j, j, min(j + CHUNK, steps), False) for j in range(max(steps - CHUNK, 0) + 1)]
    later = [Window(j - recent + 1, j, min(j + CHUNK, steps), True)
             for j in range(recent, max(steps - CHUNK, recent) + 1)]
    return lone + [window for window in later if window.end > window.start]


@dataclass(frozen=True)
class Past:
    """What an imagined chunk looks back on: the memory, then the recent frames up to the start, oldest first."""

    latents: dict[str, Tensor]  # view -> (B, H, C, G, G)
    action: Tensor  # (B, H, A) that led to them; zeros where not known
    known: Tensor  # (B, H) float32
    state: Tensor  # (B, H, 13) physical
    age: Tensor  # (B, H, 2) s

    def __len__(self) -> int:
        return self.state.shape[1]

    def followed_by(self, latents: dict[str, Tensor], action: Tensor, state: Tensor, age: Tensor, limit: int) -> Past:
        """The past of the next chunk: the memory and the newest `limit` - 1 frames."""
        def newest(old: Tensor, new: Tensor) -> Tensor:
            recent = torch.cat([old[:, 1:], new], dim=1)
            return torch.cat([old[:, :1], recent[:, max(recent.shape[1] - (limit - 1), 0) :]], dim=1)

        return Past(
            {view: newest(self.latents[view], latents[view]) for view in VIEWS},
            newest(self.action, action), newest(self.known, torch.ones_like(action[..., 0])),
            newest(self.state, state), newest(self.age, age),
        )


def conditions_of(past: Past, history: int, action: Tensor, state: Tensor, age: Tensor, normalised) -> Conditions:
    """Conditions of the past's frames and of those that `action` (B, F, A) leads to, F at most 12.

    `state` (B, F, 13) is normalised already, the past's is physical; `normalised` is a function for it.
    """
    clips, future = action.shape[:2]
    device = action.device
    recent = torch.arange(history - len(past) + 1, history, device=device)
    slot = torch.cat([recent.new_zeros(1), recent, torch.arange(history, history + future, device=device)])
    return Conditions(
        slot=slot,
        action=torch.cat([past.action, action], dim=1),
        known=torch.cat([past.known, torch.ones(clips, future, device=device)], dim=1),
        state=torch.cat([normalised(past.state), state], dim=1),
        posed=torch.ones(clips, len(slot), device=device),
        age=torch.cat([past.age, age], dim=1),
    )
