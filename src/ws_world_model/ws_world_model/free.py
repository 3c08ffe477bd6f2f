"""Where the arm would go if nothing were in its way, as a first guess of where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.motion import Refused
from ws_driver_a1x.options import RelayOptions
from ws_rollouts.episode import STATE, Episode
from ws_rollouts.task import Task
from ws_world_model.imagination import Beginning, Context
from ws_world_model.scene.arm import FreeArm, Lag

GRID = 4  # steps from start to start in a recorded episode
MOTION = 6  # position m and velocity m/s
FARTHEST = 1.0  # m from the start that an arm comes; what is farther is no way of one


def motion_of(state: np.ndarray) -> np.ndarray:
    """Position and velocity of proprioception (..., 13): (..., 6) float32."""
    return np.concatenate([state[..., STATE["position"]], state[..., STATE["velocity"]]], axis=-1).astype(np.float32)


class FreePaths:
    """Paths (T+1, 6) of position and velocity, the real ones first; those of recorded episodes are made once."""

    def __init__(self, task: Task, lag: Lag, lead: float = RelayOptions().max_lead):
        """`lead`: the driver's limit of the target's distance from the tool, m."""
        self._task, self._lag, self._relay = task, lag, replace(RelayOptions(), max_lead=lead)
        self._kinematics: Kinematics | None = None
        self._recorded: dict[str, np.ndarray] = {}

    def recorded(self, episode: Episode, longest: int) -> np.ndarray:
        """From every `GRID`-th observation of an episode, to its end or `longest` steps, then at rest there:
        (ceil(T / GRID), longest + 1, 6)."""
        if episode.episode_id not in self._recorded:
            self._recorded[episode.episode_id] = self._record(episode, longest)
        return self._recorded[episode.episode_id]

    def forget(self, episode_id: str) -> None:
        """Drop those of an episode that is not trained on any more."""
        self._recorded.pop(episode_id, None)

    def imagined(self, context: Context, actions: np.ndarray) -> np.ndarray:
        """From N starts through (N, T, A): (N, T+1, 6)."""
        arm, before, paths = None, None, []
        for n, own in enumerate(actions):
            beginning = context.beginnings[n] if context.beginnings else Beginning("", {}, context.state[n : n + 1])
            if beginning is not before:
                arm, before = self._traced(beginning.states), beginning
            paths.append(_rolled(arm, context.state[n], own))
        return np.stack(paths)

    def _record(self, episode: Episode, longest: int) -> np.ndarray:
        out, arm = [], self._traced(episode.state[:1])
        for start in range(len(episode)):
            if start and arm is not None:
                arm.trace(episode.state[start])
            if start % GRID == 0:
                path = _rolled(arm, episode.state[start], episode.action[start : min(start + longest, len(episode))])
                out.append(np.pad(path, ((0, longest + 1 - len(path)), (0, 0)), mode="edge"))
        return np.stack(out)

    def _traced(self, states: Sequence[np.ndarray]) -> FreeArm | None:
        """None where no arm can be so."""
        arm = FreeArm(self._task, self._lag, self._relay, kinematics=self._kinematics)
        self._kinematics = arm.kinematics
        try:
            arm.retrace(states)
        except (Refused, np.linalg.LinAlgError):
            return None
        return arm


def _rolled(arm: FreeArm | None, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    first = motion_of(state)
    if arm is None:
        return np.repeat(first[None], len(actions) + 1, axis=0)
    path = np.concatenate([first[None], arm.copy().roll(actions)])
    near = np.isfinite(path).all() and np.abs(path[:, :3] - first[:3]).max() < FARTHEST
    return path if near else np.repeat(first[None], len(actions) + 1, axis=0)
