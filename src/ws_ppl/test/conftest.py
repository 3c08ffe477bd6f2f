"""Episodes whose frames and states carry their step's number."""

import numpy as np
import pytest

from ws_node.cpu import tune_for_torch
from ws_ppl.sac import Sac
from ws_rollouts.episode import POLICY, STATE_SIZE, VIEWS, Episode
from ws_rollouts.task import load_task

tune_for_torch()
TASK = load_task("pushing")


def _make_episode(name, length, source=POLICY, success=True, tag=0):
    """Every frame and state of step t carries the number tag + t."""
    numbers = np.arange(tag, tag + length + 1)
    size = TASK.image_size
    frames = {
        v: np.broadcast_to(numbers[:, None, None, None], (length + 1, size, size, 3)).astype(np.uint8) for v in VIEWS
    }
    reward = np.zeros(length + 1, np.float32)
    reward[-1] = float(success)
    return Episode(
        episode_id=name,
        task=TASK.name,
        frames=frames,
        state=np.repeat(numbers[:, None], STATE_SIZE, 1).astype(np.float32),
        action=np.zeros((length + 1, TASK.action_size), np.float32),
        executed=np.zeros((length + 1, 3), np.float32),
        reward=reward,
        source=np.full(length + 1, source, np.uint8),
        stamp=numbers.astype(np.int64),
        weights_version=np.zeros(length + 1, np.uint32),
        terminated=success,
        truncated=not success,
    )


@pytest.fixture
def task():
    return TASK


@pytest.fixture
def make_episode():
    return _make_episode


@pytest.fixture
def batches(monkeypatch):
    """The batches that the agent was given since."""
    seen = []
    update = Sac.update
    monkeypatch.setattr(Sac, "update", lambda self, batch, improve: seen.append(batch) or update(self, batch, improve))
    return seen
