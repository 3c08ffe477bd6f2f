"""Truth where no recording has it: perturbed actions from the middle of episodes, carried out in the twin.

A scripted operator plays with a wavering hand, and is pushed in random directions, so that it misses and recovers.
The twin is kept as it was at every step; from sampled starts it goes back and does something else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ws_bringup.lockstep import Env, EnvState, ask, play
from ws_node.options import option
from ws_policy.observation import Observation
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import Task
from ws_world_model.cases import Case
from ws_world_model.counterfactuals import CounterfactualOptions, Segment, inside_workspace, perturb, sample_segment


@dataclass(frozen=True)
class OffExpertOptions:
    """How the episodes go wrong, and how much of each is used."""

    push_chance: float = option(0.15, "chance of a push at each step, in the worst episode", low=0.0, high=1.0)
    push_strength: float = option(0.8, "of a push, in full actions", low=0.0, high=1.0)
    push_steps: int = option(8, "longest push", unit="steps", low=1, high=100)
    segments: int = option(2, "starts in each episode", low=1, high=100)
    variants: int = option(2, "perturbed action sequences from each start", low=1, high=64)


class Disturbed:
    """Acts for the operator, whose hand is pushed aside now and then: in some episodes often, in some never."""

    def __init__(self, env: Env, options: OffExpertOptions, seed: int):
        self._env, self._options = env, options
        self._operator = ScriptedOperator(env.task, seed=seed)
        self._rng = np.random.default_rng([seed, 2])

    def begin(self) -> None:
        """An episode starts."""
        self._operator.begin(demonstration=True)
        self._chance = self._options.push_chance * self._rng.random()
        self._steps, self._push = 0, np.zeros(len(self._env.task.action_scale))

    def __call__(self, seen: Observation) -> np.ndarray:
        """(A,) float32."""
        options = self._options
        action = ask(self._operator, self._env, seen)
        if self._steps == 0 and self._rng.random() < self._chance:
            self._steps = int(self._rng.integers(1, options.push_steps + 1))
            direction = self._rng.standard_normal(len(self._push))
            self._push = options.push_strength * direction / max(np.linalg.norm(direction), 1e-9)
        if self._steps:
            self._steps -= 1
            action[:-1] = np.clip(action[:-1] + self._push, -1.0, 1.0)
        return action


def collect(
    task: Task,
    count: int,
    seed: int = 0,
    options: OffExpertOptions | None = None,
    perturbation: CounterfactualOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Case]:
    """`count` cases with their truth, from as many episodes as it takes; the same seed gives the same cases.

    Fewer when nearly all that is tried would leave the workspace. `progress` is called with the number done.
    Raises ValueError for a task that the operator cannot do.
    """
    options, perturbation = options or OffExpertOptions(), perturbation or CounterfactualOptions()
    rng = np.random.default_rng([seed, 3])
    cases: list[Case] = []
    env = Env(task, seed)
    try:
        player = Disturbed(env, options, seed)
        for number in range(4 * count):  # an episode gives none when all it tries leaves the workspace
            if len(cases) >= count:
                break
            episode, states = play_kept(env, player, f"off-expert-{seed}-{number}")
            for _ in range(options.segments):
                segment = sample_segment([episode], [], perturbation, rng)
                for actions in _variants(segment, task, options.variants, perturbation, rng):
                    if len(cases) < count:
                        cases.append(carry_out(env, segment, states[segment.start], actions))
                        if progress:
                            progress(len(cases))
    finally:
        env.close()
    return cases


def play_kept(env: Env, player: Disturbed, episode_id: str) -> tuple[Episode, list[EnvState]]:
    """One episode, and the environment as it was at each observation that was acted on."""
    states: list[EnvState] = []
    player.begin()

    def act(seen: Observation) -> np.ndarray:
        states.append(env.snapshot())
        return player(seen)

    return play(env, act, episode_id), states


def carry_out(env: Env, segment: Segment, state: EnvState, actions: np.ndarray) -> Case:
    """Go back to `state`, at the segment's start, and do `actions` (T, A) until they end or the task is done."""
    env.restore(state)
    seen: list[Observation] = []
    success = False
    for action in actions:
        observation, _, success, _ = env.step(action)
        seen.append(observation)
        if success:
            break
    return Case(
        segment.episode, segment.start, actions[: len(seen)],
        {view: np.stack([o.frames[view] for o in seen]) for view in VIEWS}, np.stack([o.state for o in seen]), success,
    )


def _variants(segment: Segment, task: Task, count: int, options: CounterfactualOptions, rng: np.random.Generator):
    for _ in range(count):
        for _ in range(options.attempts):
            actions, _ = perturb(segment.actions, options, rng)
            if inside_workspace(segment, actions, task):
                yield actions
                break
