"""Do the critics draw the policy where its teacher would go? Lockstep only: the script must see the scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ws_bringup.lockstep import Env, ask, play
from ws_policy.backbone import look
from ws_policy.observation import Observation
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_ppl.sac import Sac
from ws_rollouts.episode import POLICY, VIEWS
from ws_rollouts.task import Task


def guidance(agent: Sac, act: Callable[[Observation], np.ndarray], task: Task, seed: int,
             episodes: int) -> dict[str, float]:
    """Play `act` without help, and ask the scripted operator with a steady hand at each step what it would do.

    guidance_cosine: mean cosine between the critics' slope at the policy's mean action and the way from there to the
    operator's action. guidance_anywhere: the same at uniform actions; where it is above guidance_cosine the policy sits
    on what the critics over-estimate. guidance_off: mean distance between policy and operator, in full actions.
    """
    seen, told = _visited(act, task, seed, episodes)
    maps = look({view: np.stack([each.frames[view] for each in seen]) for view in VIEWS})
    state = np.stack([each.state for each in seen])
    own = agent.acting.act(torch.from_numpy(maps), torch.from_numpy(state), exploration=0.0)[:, :-1].numpy()
    anywhere = np.random.default_rng(seed).uniform(-1, 1, own.shape).astype(np.float32)

    def cosine(at: np.ndarray) -> float:
        way, slope = told[:, :-1] - at, agent.slopes(maps, state, at)
        lengths = np.linalg.norm(way, axis=1) * np.linalg.norm(slope, axis=1)
        return float(((slope * way).sum(1) / np.maximum(lengths, 1e-9)).mean())

    off = np.linalg.norm(told[:, :-1] - own, axis=1)
    return {"guidance_cosine": cosine(own), "guidance_anywhere": cosine(anywhere), "guidance_off": float(off.mean())}


def _visited(act: Callable, task: Task, seed: int, episodes: int) -> tuple[list[Observation], np.ndarray]:
    env, teacher = Env(task, seed), ScriptedOperator(task, OperatorOptions(noise=0.0), seed)
    seen, told = [], []

    def watch(observation: Observation, action: np.ndarray) -> tuple[np.ndarray, int]:
        seen.append(observation)
        told.append(ask(teacher, env, observation))
        return action, POLICY

    try:
        for number in range(1, episodes + 1):
            teacher.begin(demonstration=True)
            play(env, act, f"guidance-{number}", watch)
    finally:
        env.close()
    return seen, np.stack(told)
