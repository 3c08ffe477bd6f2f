"""Evaluation: what it says of the episodes played, and of those played before it was interrupted."""

import numpy as np
import pytest

from ws_bringup.evaluate import evaluate
from ws_rollouts.task import load_task

TASK = load_task("pushing", {"episode_steps": 3})


class Idle:
    """Does nothing; interrupted at one of its steps."""

    def __init__(self, interrupted_at=0):
        self.steps, self.interrupted_at = 0, interrupted_at

    def act(self, seen, exploration):
        self.steps += 1
        if self.steps == self.interrupted_at:
            raise KeyboardInterrupt
        return np.zeros(TASK.action_size, np.float32)


def test_all_episodes_count():
    result = evaluate(Idle(), TASK, 3, seed=1)
    assert (result["episodes"], result["successes"], result["steps"], result["success_rate"]) == (3, 0, 9, 0.0)


def test_an_interrupted_evaluation_counts_the_episodes_that_are_over():
    result = evaluate(Idle(interrupted_at=8), TASK, 50, seed=1)
    assert (result["episodes"], result["steps"]) == (2, 6)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Idle(interrupted_at=2), TASK, 50, seed=1)
