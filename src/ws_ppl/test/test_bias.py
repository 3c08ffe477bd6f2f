"""Returns that are known, and values beside them."""

import numpy as np
import pytest

from ws_policy.networks import NetworkOptions
from ws_ppl.bias import CLEAR, monte_carlo, value_bias
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.sac import SacOptions
from ws_rollouts.episode import DEMONSTRATION, HUMAN


def test_returns_of_a_success_and_of_a_timeout(make_episode):
    np.testing.assert_allclose(monte_carlo(make_episode("s", 3), 0.5), [0.25, 0.5, 1.0])
    late = monte_carlo(make_episode("t", CLEAR + 2, success=False), 0.5)
    np.testing.assert_allclose(late, [0.0, 0.0])
    assert len(monte_carlo(make_episode("short", 9, success=False), 0.5)) == 0


@pytest.fixture
def learner(task, make_episode):
    options = LearnerOptions(batch_size=8, capacity=500, demonstrations=1, offline_steps=0)
    learner = Learner(task, options, SacOptions(bf16="off"), NetworkOptions(channels=8, features=16, hidden=32))
    learner.add(make_episode("d", 20, DEMONSTRATION))
    return learner


def test_bias_is_value_minus_return(learner, make_episode, monkeypatch):
    monkeypatch.setattr(learner.agent, "values", lambda images, state, action: np.full(len(state), 0.75, np.float32))
    found = value_bias(learner.agent, [make_episode("s", 1), make_episode("f", CLEAR + 1, success=False)])
    assert found["return_held_out"] == 0.5 and found["q_bias"] == pytest.approx(0.25)
    assert value_bias(learner.agent, [make_episode("short", 9, success=False)]) == {}


def test_only_new_rollouts_without_help_are_judged(learner, make_episode):
    helped = make_episode("h", 10)
    helped.source[2] = HUMAN
    for episode in (helped, make_episode("d", 20, DEMONSTRATION), make_episode("t", 10, success=False)):
        learner.judge(episode)
    assert learner.bias is None
    learner.judge(make_episode("s", 10))
    first = learner.bias
    assert np.isfinite(first)
    learner.add(make_episode("s", 10))
    learner.judge(make_episode("s", 10))
    assert learner.bias == first, "known by now"
