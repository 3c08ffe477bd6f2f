"""The tasks as Gymnasium environments, for other people's learners: `worldsample/Pushing-v0` and its like.

`import ws_bringup.gym_env` registers them; the cores are those of `ws_bringup.lockstep`, without ROS.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ws_bringup.lockstep import CONTROL_PERIOD, Env, ask
from ws_node.options import build
from ws_policy.observation import Observation
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_rollouts.episode import STATE, STATE_SIZE, VIEWS
from ws_rollouts.task import load_task, task_names
from ws_twin_a1x.options import TwinOptions

OPERATORS = ("none", "intervene", "demonstrate")
_BOUNDS = {"position": 1.0, "rotation": np.pi, "gripper": 1.0, "velocity": 2.0, "lag": 0.1}  # +- m, rad, 1, m/s, m


class TaskEnv(gymnasium.Env):
    """One task of the twin at 10 Hz.

    Observation: {"side", "wrist"} (S, S, 3) uint8 RGB and "state" (13,) float32, layout `ws_rollouts.episode.STATE`.
    Action: (A,) float32 in [-1, 1]: translations as shares of the task's action scale, then the gripper, rounded to
    its class -1 close, 0 stay, 1 open. Reward 1 with success, else 0. `operator` may drive: never ("none"), by its
    rule ("intervene") or always ("demonstrate"); then its action is done in place of the one given.
    `info`: "is_intervention", "operator_action" (A,) float32 (zeros while its hands are off), "success".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_PERIOD)}

    def __init__(self, task: str, render_mode: str | None = None, operator: str = "none",
                 domain_randomisation: float = 0.0, overrides: dict[str, Any] | None = None):
        """`overrides` of the task's entries. Raises ValueError for what is unknown or out of range."""
        if operator not in OPERATORS or render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"operator = {operator!r}, render_mode = {render_mode!r}: must be one of "
                             f"{', '.join(OPERATORS)}; None or rgb_array")
        self.task, self.render_mode = load_task(task, overrides), render_mode
        self._operates = operator
        self._env = Env(self.task, 0, build(TwinOptions, {"domain_randomisation": domain_randomisation}))
        self._operator = ScriptedOperator(self.task, OperatorOptions())
        self._seen: Observation | None = None
        size, bound = self.task.image_size, np.zeros(STATE_SIZE, np.float32)
        for name, value in _BOUNDS.items():
            bound[STATE[name]] = value
        pictures = {view: spaces.Box(0, 255, (size, size, 3), np.uint8) for view in VIEWS}
        self.observation_space = spaces.Dict({**pictures, "state": spaces.Box(-bound, bound, dtype=np.float32)})
        self.action_space = spaces.Box(-1.0, 1.0, (self.task.action_size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """A new world; with `seed`, one that depends on it alone, and all that follow; else one at random."""
        super().reset(seed=seed)
        if seed is None and self._seen is None:  # the first world: not the same in each environment
            seed = int(self.np_random.integers(2**31))
        if seed is not None:
            self._operator = ScriptedOperator(self.task, OperatorOptions(), seed)
        self._seen = self._env.reset(seed)
        self._operator.begin(demonstration=self._operates == "demonstrate")
        return self._observation(), self._info(None, False)

    def step(self, action: np.ndarray):
        """Act for 0.1 s. Raises ValueError for an action of a wrong shape or not finite."""
        action = np.array(action, np.float32)
        if action.shape != self.action_space.shape or not np.all(np.isfinite(action)):
            raise ValueError(f"action = {action}: must be {self.task.action_size} finite numbers")
        human = self._driven()
        action = np.clip(action, -1.0, 1.0) if human is None else human
        action[-1] = np.round(action[-1])
        self._seen, reward, terminated, truncated = self._env.step(action)
        return self._observation(), reward, terminated, truncated, self._info(human, terminated)

    def render(self) -> np.ndarray | None:
        """Both cameras' whole pictures side by side, (240, 848, 3) uint8 RGB."""
        if self.render_mode is None:
            return None
        return np.hstack([self._env.twin.render(view) for view in VIEWS])

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()

    def _driven(self) -> np.ndarray | None:
        """The operator's action, or None with hands off."""
        if self._operates == "none":
            return None
        return ask(self._operator, self._env, self._seen)

    def _observation(self) -> dict[str, np.ndarray]:
        bounds = self.observation_space["state"]
        return {**self._seen.frames, "state": np.clip(self._seen.state, bounds.low, bounds.high)}

    def _info(self, human: np.ndarray | None, success: bool) -> dict[str, Any]:
        action = np.zeros(self.task.action_size, np.float32) if human is None else human
        return {"is_intervention": human is not None, "operator_action": action, "success": bool(success)}


def env_id(task: str) -> str:
    """The environment of a task: "pick_place" -> "worldsample/PickPlace-v0"."""
    return f"worldsample/{task.title().replace('_', '')}-v0"


for _name in task_names():
    gymnasium.register(env_id(_name), entry_point="ws_bringup.gym_env:TaskEnv", kwargs={"task": _name})
