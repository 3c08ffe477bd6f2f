"""The policy as the robot runs it: observation in, action out, weights swapped between two calls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ws_policy.backbone import look
from ws_policy.exploration import EXPLORATION
from ws_policy.networks import NetworkOptions, Policy
from ws_policy.observation import Observation
from ws_policy.weights import architecture, arrays
from ws_rollouts.task import Task


class PolicyRuntime:
    """Acts on one observation at a time on one CPU thread; not `ready` before the first weights."""

    def __init__(self, task: Task, seed: int = 0, options: NetworkOptions | None = None):
        torch.set_num_threads(1)
        self._policy = Policy(task, options or NetworkOptions()).eval()
        self._seed = seed
        torch.manual_seed(seed)
        self.architecture = architecture(arrays(self._policy))
        self.version = 0
        self.ready = False

    def load(self, tensors: Mapping[str, np.ndarray], version: int = 0) -> None:
        """Swap to weights that `weights.unpack` has accepted for this `architecture`."""
        self._policy.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in tensors.items()})
        self.version = version
        self.ready = True

    def act(self, observation: Observation, exploration: float = EXPLORATION) -> np.ndarray:
        """(translations + 1,) float32 for an `Observation`: each in [-1, 1], the gripper class last."""
        return choose(self._policy, observation, exploration)


def choose(policy: Policy, observation: Observation, exploration: float = EXPLORATION) -> np.ndarray:
    """What a policy does for one observation: (translations + 1,) float32, the gripper class last."""
    maps = look({view: frame[None] for view, frame in observation.frames.items()})
    state = np.asarray(observation.state, np.float32)[None]
    return policy.act(torch.from_numpy(maps), torch.from_numpy(state), exploration)[0].numpy()
