"""Labels by geometry are held against real rollouts whose outcome is known."""

from dataclasses import replace

import numpy as np
import pytest

from ws_rollouts.episode import POLICY, STATE, Episode
from ws_rollouts.task import load_task
from ws_world_model.proposals.precision import ALL, EVERY, LEAST, LabelPrecision, claims
from ws_world_model.scene.drawing import STILL
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.parts import GRASP, RELEASE
from ws_world_model.scene.testing import pressed

TASK = load_task("pushing")


@pytest.fixture(scope="module")
def memory():
    memory = SceneMemory(TASK)
    memory.add(pressed(0))
    return memory


@pytest.fixture(scope="module")
def rollout():
    """One that presses on the box elsewhere, as a policy would."""
    shown = pressed(1, (0.30, 0.0), yaw=0.1)
    return replace(shown, source=np.full_like(shown.source, POLICY))


def lost(episode: Episode) -> Episode:
    return replace(episode, reward=np.zeros_like(episode.reward), terminated=False, truncated=True)


def short(episode: Episode) -> Episode:
    """It stops above the box."""
    state = episode.state.copy()
    state[:, STATE["position"].start + 2] += 0.02
    return replace(lost(episode), state=state)


def named(episode: Episode, number: int) -> Episode:
    return replace(episode, episode_id=f"rollout-{number}")


def test_nothing_is_known_before_enough_was_claimed(memory, rollout):
    precision = LabelPrecision(memory)
    for number in range(LEAST):
        assert precision.value == 0.0
        precision.look(named(rollout, number))
    assert precision.value == 1.0


def test_what_was_claimed_and_lost_lowers_it_and_what_was_not_claimed_does_not(memory, rollout):
    precision = LabelPrecision(memory)
    for number, episode in enumerate([rollout] * 6 + [lost(rollout)] * 2 + [short(rollout)] * 2):
        precision.look(named(episode, number))
    assert precision.value == pytest.approx(0.75)


def test_of_many_rollouts_few_are_looked_at(memory, rollout, monkeypatch):
    precision, looked = LabelPrecision(memory), []
    monkeypatch.setattr(precision._placer, "match", lambda name, rgbd: looked.append(name) or "no donor fits")
    for number in range(ALL + 4 * EVERY):
        precision.look(named(rollout, number))
    assert len(looked) == ALL + 4 and precision.value == 0.0


def test_without_depth_nothing_is_claimed(memory, rollout):
    precision = LabelPrecision(memory)
    for number in range(2 * LEAST):
        precision.look(replace(named(rollout, number), rgbd={}))
    assert precision.value == 0.0


def test_a_gripper_must_have_done_what_the_donors_did(memory, rollout):
    donor, count = memory.donors[0], len(memory.donors[0].episode)
    part = replace(donor.parts[0], events={GRASP: 3, RELEASE: 6})
    gripping = replace(donor, parts=[part])

    def claimed(*grips):
        action = donor.episode.action.copy()
        for step, grip in grips:
            action[step, -1] = grip
        return claims(gripping, STILL, replace(donor.episode, action=action), TASK)

    assert claimed((3, -1.0), (6, 1.0))
    assert not claimed() and not claimed((3, -1.0)) and not claimed((3, 1.0), (6, -1.0))
    assert not claimed((count - 1, -1.0), (count, 1.0)), "it was there before"
