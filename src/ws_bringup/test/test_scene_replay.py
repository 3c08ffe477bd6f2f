"""An episode's scene, placed by its first depth exposure, and what is drawn of the rest of it."""

import numpy as np
import pytest

from ws_bringup.lockstep import Env, ask, play
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import DEMONSTRATION, STATE, VIEWS
from ws_rollouts.task import load_task
from ws_world_model.dynamics import DynamicsOptions
from ws_world_model.free import GRID, FreePaths
from ws_world_model.imagination import Beginning, context_of
from ws_world_model.metrics import psnr, squared_error
from ws_world_model.scene.arm import Lag
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.replay import NO_DEPTH, Placer
from ws_world_model.scene.scenes import Scenes
from ws_world_model.training import Trainer, TrainerOptions

TASK = load_task("pushing")


@pytest.fixture(scope="module")
def episodes():
    """Four successes with depth, each in another scene."""
    env, operator, made = Env(TASK, 3, rgbd_every=3), ScriptedOperator(TASK, seed=3), []
    while len(made) < 4:
        operator.begin(demonstration=True)
        episode = play(env, lambda seen: ask(operator, env, seen), f"demonstration-{len(made)}",
                       lambda _, action: (action, DEMONSTRATION))
        if episode.success:
            made.append(episode)
    env.close()
    return made


@pytest.fixture(scope="module")
def memory(episodes):
    memory = SceneMemory(TASK)
    for episode in episodes[:3]:
        memory.add(episode)
    return memory


def decibels(frames, truth):
    return float(psnr(squared_error(frames, truth).mean((1, 2)) / (3 * 255.0**2)).mean())


def first_exposures(episode):
    return {view: stream.head(1) for view, stream in episode.rgbd.items()}


def test_what_follows_is_drawn_from_the_first_exposure(memory, episodes):
    episode = episodes[3]
    states = dict.fromkeys(VIEWS, episode.state)
    drawn = Scenes(memory).drawn(episode.episode_id, first_exposures(episode), states)
    for view in VIEWS:
        truth = episode.frames[view]
        copied = decibels(np.broadcast_to(truth[0], truth.shape)[1:], truth[1:])
        assert decibels(drawn[view][1:], truth[1:]) > copied + 3.0
    assert decibels(drawn["wrist"][:1], episode.frames["wrist"][:1]) > 24.0


def test_a_start_in_the_middle_is_drawn_like_one_that_was_followed_there(memory, episodes):
    episode, scenes = episodes[3], Scenes(memory)
    whole = scenes.drawn(episode.episode_id, first_exposures(episode), dict.fromkeys(VIEWS, episode.state))
    redraw = scenes.begin(Beginning(episode.episode_id, first_exposures(episode), episode.state[:20]))
    next_one = redraw.draw(dict.fromkeys(VIEWS, episode.state[20]))
    for view in VIEWS:
        assert decibels(next_one[view][None], whole[view][20:21]) > 25.0


def test_without_depth_nothing_is_placed_and_that_is_counted(memory, episodes):
    placer = Placer(memory)
    assert placer.place("x", {}) is None and placer.refused[NO_DEPTH] == 1
    assert Scenes(memory).begin(Beginning("x", {}, episodes[0].state[:1])) is None


def test_an_episode_is_no_donor_of_its_own(memory, episodes):
    placed = Placer(memory).place(episodes[0].episode_id, episodes[0].rgbd)
    assert placed.donor.episode.episode_id != episodes[0].episode_id


def test_a_free_arm_goes_where_a_demonstration_went_before_it_touched_anything(episodes):
    for episode in episodes[:2]:
        paths = FreePaths(TASK, Lag())
        recorded = paths.recorded(episode, 12)
        assert recorded.shape == (-(-len(episode) // GRID), 13, 6)
        truth = episode.state[1:9, STATE["position"]]
        assert np.linalg.norm(recorded[0, 1:9, :3] - truth, axis=1).mean() < 0.006
        context = context_of(episode, GRID, 12)
        np.testing.assert_allclose(paths.imagined(context, episode.action[None, GRID : GRID + 12])[0], recorded[1],
                                   atol=1e-4)


def test_training_and_imagining_use_what_is_drawn(memory, episodes):
    options = TrainerOptions(clips=1, drawn=2, windows=2, longest=8)
    trainer = Trainer(TASK, options, DynamicsOptions(hidden=16, width=10))
    trainer.look(memory)
    episode = episodes[3]
    context = context_of(episode, 8, 6)
    untrained = trainer.model.imagine(context, episode.action[None, 8:14])
    trainer.model.scenes = None
    blind = trainer.model.imagine(context, episode.action[None, 8:14])
    truth = episode.frames["wrist"][9:15]
    assert decibels(untrained.frames["wrist"][0], truth) > decibels(blind.frames["wrist"][0], truth) + 1.0
    trainer.add(episode)
    assert np.isfinite(trainer.step()["total"])
