"""What every world model takes and gives: starts and actions in, imagined views, proprioception and reward out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.task import Task

CHUNK = 12  # steps that are imagined at a time (Cosmos-Predict2 action-conditioned: 12 actions a chunk)


@dataclass(frozen=True)
class Beginning:
    """What else is known at a start: the first depth exposures of its episode, where there are any, and how the robot
    came here, (k+1, 13)."""

    episode_id: str
    rgbd: dict[str, RgbdStream]
    states: np.ndarray


@dataclass(frozen=True)
class Context:
    """N starts from which T steps are imagined, as real episodes show them; make it with `context_of` and `stack`.

    The memory is the episode's first observation: it shows what the arm hides at the start. Cameras run beside the
    control loop, so a frame is a little older than the step that saw it, and by then the arm has moved on.
    """

    frames: dict[str, np.ndarray]  # view -> (N, S, S, 3) uint8 RGB at the start
    memory: dict[str, np.ndarray]  # view -> (N, S, S, 3) uint8 RGB
    state: np.ndarray  # (N, 13) float32 at the start, layout ws_rollouts.episode.STATE
    memory_state: np.ndarray  # (N, 13) float32
    age: np.ndarray  # (N, T+1, 2) float32 s, of the frames of VIEWS at each step, the start first
    memory_age: np.ndarray  # (N, 2) float32 s
    beginnings: tuple[Beginning, ...] = ()  # N, or none

    def __len__(self) -> int:
        return len(self.state)

    @property
    def shared(self) -> bool:
        """Whether all start at the same observation of the same episode."""
        seen = (*self.frames.values(), *self.memory.values(), self.state)
        return all(np.array_equal(a[0], other) for a in seen for other in a[1:])

    @property
    def first(self) -> Context:
        """The first of them alone."""
        return Context({v: a[:1] for v, a in self.frames.items()}, {v: a[:1] for v, a in self.memory.items()},
                       self.state[:1], self.memory_state[:1], self.age[:1], self.memory_age[:1],
                       self.beginnings[:1])


@dataclass(frozen=True)
class Imagined:
    """What N sequences of T actions are imagined to lead to; index k is the observation after action k."""

    frames: dict[str, np.ndarray]  # view -> (N, T, S, S, 3) uint8 RGB
    state: np.ndarray  # (N, T, 13) float32
    reward: np.ndarray  # (N, T) float32, probability that the task is done


class Dynamics(Protocol):
    """A world model of one task."""

    task: Task
    version: int
    profile: str

    def imagine(self, context: Context, actions: np.ndarray) -> Imagined:
        """`actions` (N, T, A) float32 as in Step, T at most the context's; imagined chunk by chunk."""
        ...


def context_of(episode: Episode, start: int, length: int) -> Context:
    """The start of one segment, N = 1. Raises ValueError when the episode is shorter than that."""
    if start < 0 or length < 1 or start + length > len(episode):
        raise ValueError(f"{episode.episode_id}: no segment of {length} at {start}, it has {len(episode)} actions")
    age = frame_age(episode)
    return Context(
        frames={view: episode.frames[view][start][None] for view in VIEWS},
        memory={view: episode.frames[view][0][None] for view in VIEWS},
        state=episode.state[start][None],
        memory_state=episode.state[0][None],
        age=age[start : start + length + 1][None],
        memory_age=age[0][None],
        beginnings=(Beginning(episode.episode_id, episode.rgbd, episode.state[: start + 1]),),
    )


def frame_age(episode: Episode) -> np.ndarray:
    """(T+1, 2) float32 s: how much older than its step the frame of each of VIEWS is."""
    return np.stack([(episode.stamp - episode.exposed[view]) * 1e-9 for view in VIEWS], axis=1).astype(np.float32)


def stack(contexts: Sequence[Context]) -> Context:
    """One context of several; they must be of the same length."""
    return Context(
        frames={view: np.concatenate([c.frames[view] for c in contexts]) for view in VIEWS},
        memory={view: np.concatenate([c.memory[view] for c in contexts]) for view in VIEWS},
        **{name: np.concatenate([getattr(c, name) for c in contexts])
           for name in ("state", "memory_state", "age", "memory_age")},
        beginnings=tuple(each for c in contexts for each in c.beginnings),
    )
