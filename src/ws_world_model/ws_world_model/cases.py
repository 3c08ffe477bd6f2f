"""What actions really led to, to hold imagination against: segments of real episodes, and imagining many of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ws_rollouts.episode import VIEWS, Episode
from ws_world_model.imagination import CHUNK, Context, Dynamics, Imagined, context_of, stack

BATCH = 8  # cases imagined at a time


@dataclass(frozen=True)
class Case:
    """What T actions from one observation of an episode really led to.

    actions (T, A) float32; frames[view] (T, S, S, 3) uint8 and state (T, 13) float32 after each action; `success`:
    whether the task was done by the last of them.
    """

    episode: Episode
    start: int
    actions: np.ndarray
    frames: dict[str, np.ndarray]
    state: np.ndarray
    success: bool

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def context(self) -> Context:
        return context_of(self.episode, self.start, len(self))


def replay_cases(episodes: Sequence[Episode], max_length: int | None = None, every: int = CHUNK) -> list[Case]:
    """Real segments with their own actions: from every `every`-th observation to the episode's end or `max_length`."""
    return [
        replay_case(episode, start, min(len(episode) - start, max_length or len(episode)))
        for episode in episodes
        for start in range(0, len(episode), every)
    ]


def replay_case(episode: Episode, start: int, length: int) -> Case:
    """One real segment. Its success is the episode's when it reaches the end, else none."""
    end = start + length
    return Case(
        episode, start, episode.action[start:end],
        {view: episode.frames[view][start + 1 : end + 1] for view in VIEWS}, episode.state[start + 1 : end + 1],
        success=episode.success and end == len(episode),
    )


def imagine_all(dynamics: Dynamics, cases: Sequence[Case], batch: int = BATCH) -> Iterator[tuple[int, Imagined]]:
    """Each case's number and what is imagined for it (N = 1), cases of like length together.

    Shorter ones are padded with idle actions to whole chunks of the longest; what comes after their end is dropped.
    """
    order = sorted(range(len(cases)), key=lambda i: len(cases[i]))
    chunks = [math.ceil(len(cases[i]) / CHUNK) for i in order]
    while order:
        count = min(batch, chunks.count(chunks[0]))
        picked, order, chunks = order[:count], order[count:], chunks[count:]
        length = max(len(cases[i]) for i in picked)
        contexts = stack([_padded(cases[i].context, length) for i in picked])
        actions = np.zeros((count, length, cases[picked[0]].actions.shape[1]), np.float32)
        for n, i in enumerate(picked):
            actions[n, : len(cases[i])] = cases[i].actions
        result = dynamics.imagine(contexts, actions)
        for n, i in enumerate(picked):
            part = (slice(n, n + 1), slice(len(cases[i])))
            frames = {view: result.frames[view][part] for view in VIEWS}
            yield i, Imagined(frames, result.state[part], result.reward[part])


def _padded(context: Context, length: int) -> Context:
    more = length + 1 - context.age.shape[1]
    age = np.pad(context.age, ((0, 0), (0, more), (0, 0)), mode="edge")
    return replace(context, age=age)
