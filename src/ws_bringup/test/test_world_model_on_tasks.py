"""The world model on a recorded episode with a learned gripper: clips, steps, counterfactuals."""

import numpy as np
import pytest

from ws_bringup.lockstep import Env, ask, play
from ws_policy.operator import ScriptedOperator
from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import DEMONSTRATION, STATE, STATE_SIZE, VIEWS
from ws_rollouts.task import load_task
from ws_world_model.counterfactuals import CounterfactualOptions, Segment
from ws_world_model.dynamics import DynamicsOptions
from ws_world_model.generation import Generator
from ws_world_model.imagination import context_of
from ws_world_model.labels import SUCCESS, Label
from ws_world_model.training import Trainer, TrainerOptions

TASK = load_task("sorting")
GRIPPER = STATE["gripper"].start


class SaysSuccess:
    """Labels each trajectory a success at its last frame."""

    def predict(self, frames, state):
        return np.ones((1, len(state)))

    def label(self, probabilities):
        return Label(SUCCESS, probabilities.shape[1] - 1, 1.0, 1.0)

    def observe_identity(self, truth, label):
        pass

    def add_imagined(self, frames, state, success_index):
        pass


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A demonstration of the twin, from its bag."""
    env = Env(TASK, 3)
    hand = ScriptedOperator(TASK, seed=3)
    hand.begin(True)
    episode = play(env, lambda seen: ask(hand, env, seen), "sorting_demonstration")
    env.close()
    episode.source[:] = DEMONSTRATION
    return read_episode(write_episode(tmp_path_factory.mktemp("bags"), episode))


@pytest.fixture(scope="module")
def trainer(recorded):
    trainer = Trainer(TASK, TrainerOptions(clips=1, drawn=2, windows=2, longest=12),
                      DynamicsOptions(hidden=16, width=10))
    trainer.add(recorded)
    for _ in range(2):
        losses = trainer.step()
    assert np.isfinite(list(losses.values())).all()
    return trainer


def test_the_gripper_in_counterfactuals_is_as_it_was_commanded(recorded, trainer):
    closes = int(np.argmax(recorded.action[:, -1] < 0))
    segment = Segment(recorded, closes - 3, 10)
    made = Generator(trainer.model, SaysSuccess(), CounterfactualOptions(variants=3)).generate(segment)
    assert len(made.episodes) == 4 and made.counts["outside"] == made.counts["diverged"] == 0
    for episode in made.episodes:
        assert episode.state.shape == (11, STATE_SIZE) and episode.action.shape == (11, TASK.action_size)
        assert all(episode.frames[view].shape == (11, 64, 64, 3) for view in VIEWS)
        np.testing.assert_array_equal(episode.action[:-1, -1], segment.actions[:, -1])
        assert (episode.action[:, -1] < 0).any() and set(episode.action[:, -1]) <= {-1.0, 0.0, 1.0}
        assert episode.state[:, GRIPPER].min() >= 0.0 and episode.state[:, GRIPPER].max() <= 1.0


@pytest.mark.parametrize("opening, limit", [(-50.0, 0.0), (50.0, 1.0)])
def test_an_imagined_gripper_is_no_further_than_closed_or_open(recorded, trainer, opening, limit):
    model = trainer.model
    bias = model.core.change[-1].bias[GRIPPER]
    kept = bias.item()
    bias.fill_(opening)
    imagined = model.imagine(context_of(recorded, 0, 3), recorded.action[None, :3])
    bias.fill_(kept)
    np.testing.assert_array_equal(imagined.state[0, :, GRIPPER], limit)
