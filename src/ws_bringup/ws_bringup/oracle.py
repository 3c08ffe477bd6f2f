"""A perfect world model, in lockstep only: the twin itself carries the counterfactual actions out.

What it gives is what the data flow can give at best; what a learned model gives less is the model's doing.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from ws_bringup.lockstep import Env, EnvState
from ws_bringup.off_expert import carry_out
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import Task
from ws_world_model.counterfactuals import CounterfactualOptions, Segment, sample_segment
from ws_world_model.generation import Generator, Variant
from ws_world_model.labels import FAILURE, SUCCESS, Label


class Oracle:
    """Segments, perturbation and bookkeeping are the generator's; what follows, and its label, are the truth."""

    version = 1
    profile = "oracle"
    trusted = True
    confidence = 1.0  # as the gate measures it in a learned world model

    def __init__(self, env: Env, options: CounterfactualOptions, segments: int = 1, seed: int = 0):
        self.task: Task = env.task
        self.numbers: Counter[str] = Counter()
        self._env, self._options, self._segments = env, options, segments
        self._generator = Generator(self, None, options, seed, session="oracle")
        self._rng = np.random.default_rng([seed, 4])

    def follow(self, episode: Episode, states: list[EnvState]) -> list[Episode]:
        """Counterfactuals of `segments` segments of a real episode, that `states` were kept of: one for each action."""
        segments = [sample_segment([episode], [], self._options, self._rng) for _ in range(self._segments)]
        made = [self._carry_out(segment, states[segment.start], variant) for segment in segments
                for variant in self._generator.variants(segment, False, self.numbers) if variant.kind == "perturbed"]
        self.numbers.update("success" if each.success else "failure" for each in made)
        return made

    def _carry_out(self, segment: Segment, state: EnvState, variant: Variant) -> Episode:
        case = carry_out(self._env, segment, state, variant.actions)
        label = Label(SUCCESS, len(case) - 1, 1.0, 1.0) if case.success else Label(FAILURE, -1, 0.0, 0.0)
        episode, start = segment.episode, slice(segment.start, segment.start + 1)
        frames = {view: np.concatenate([episode.frames[view][start], case.frames[view]]) for view in VIEWS}
        seen = np.concatenate([episode.state[start], case.state])
        return self._generator.episode(segment, variant, frames, seen, label)
