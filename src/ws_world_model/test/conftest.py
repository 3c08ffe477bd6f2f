"""One torch thread for all tests of this package, as its nodes have; a reward model that tells a lamp."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.files import FORMAT
from ws_world_model.rewards import RewardModel, RewardOptions

LAMP_MODEL = RewardOptions(members=2, channels=4, features=8, batch=8, learning_rate=1e-2, min_updates=1,
                           capacity=300, imagined_capacity=100, bf16="off")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lamp_episode():
    """Makes an episode in which a lamp lights both views from observation `lit` on; it is a success when `success`."""
    def make(lit=10, success=True, steps=12, **values):
        episode = make_episode(steps, outcome="success" if success else "timeout", **values)
        for view in VIEWS:
            episode.frames[view][lit:, 16:48, 16:48] = 255
        return episode

    return make


@pytest.fixture(scope="session")
def lamp_model(one_thread, lamp_episode):
    """A small reward model, trained to see the lamp."""
    model = RewardModel(load_task("pushing"), LAMP_MODEL, seed=1)
    for seed in range(10):
        success = bool(seed % 2)
        model.add(lamp_episode(11 if success else 99, success, seed=seed, episode_id=f"pushing-{seed}"))
    for _ in range(60):
        model.step()
    return model


@pytest.fixture(scope="session")
def write_version():
    """Writes the reward model as a world-model file, with `notes` over the usual ones, after so many `updates`."""
    def write(path, model, version=1, updates=500, **notes):
        path.parent.mkdir(parents=True, exist_ok=True)
        notes = {"format": FORMAT, "version": str(version), "reward_auc": json.dumps(0.99), **model.metadata(), **notes}
        tensors = {**model.tensors(), "model.x": np.zeros(2), "reward.counts": np.array([updates, 5])}
        path.write_bytes(safetensors.numpy.save(tensors, metadata=notes))
        return path

    return write
