import numpy as np
import pytest

from ws_node.options import build
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_rollouts.task import Task, load_task

TASK = load_task("pushing")
TIP, TRAVEL = np.array([0, 0, 0.078]), 0.034


class Toaster:
    """A point finger and a knob of 20 by 34 mm that sinks under it; the arm covers 70 % of each step at once."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.tip = np.array([0.215, 0.0, 0.157]) + rng.uniform(-0.02, 0.02, 3)
        self.knob = np.array([0.28, 0.0, 0.131]) + rng.uniform(-0.03, 0.03, 3) * (1, 1, 0)
        self.pressed, self.lag, self.scraped = 0.0, np.zeros(3), False

    @property
    def sight(self):
        lever = self.knob - (0, 0, self.pressed)
        return {"lever": (lever, np.array([1, 0, 0, 0]))}, self.pressed / TRAVEL, self.tip + TIP

    def step(self, action):
        motion = self.lag + np.asarray(action[:3]) * TASK.action_scale
        self.lag = 0.3 * motion
        before = self.tip[2]
        self.tip = self.tip + 0.7 * motion
        if np.all(np.abs(self.tip - self.knob)[:2] < (0.010, 0.017)):
            depth = self.knob[2] - self.tip[2]
            self.scraped |= self.pressed == 0 and before < self.knob[2] - 0.005
            self.pressed = max(self.pressed, min(depth, TRAVEL))
        return self.pressed >= TRAVEL


def play(operator, seed, policy=None, steps=100):
    world, human = Toaster(seed), 0
    for step in range(steps):
        action = operator.act(*world.sight)
        human += action is not None
        if world.step(action if action is not None else policy(step)):
            return True, human, world
    return False, human, world


def drift(_step):
    return np.array([-0.3, 0.3, 0.1, 0])


def still(_step):
    return np.zeros(4)


def test_demonstrations_succeed_from_above():
    operator, results = ScriptedOperator(TASK, seed=1), []
    for seed in range(200):
        operator.begin(True)
        success, _, world = play(operator, seed)
        operator.finish()
        results.append(success)
        assert not world.scraped
    assert np.mean(results) >= 0.95


def test_actions_are_in_range_and_of_the_task():
    operator = ScriptedOperator(TASK, OperatorOptions(noise=1.0), 1)
    operator.begin(True)
    for seed in range(20):
        action = operator.act(*Toaster(seed).sight)
        assert action.shape == (4,) and action.dtype == np.float32
        assert np.all(np.abs(action) <= 1) and action[3] == 0


def test_same_seed_same_operator():
    runs = []
    for _ in range(2):
        operator = ScriptedOperator(TASK, seed=7)
        operator.begin(False)
        runs.append(play(operator, 3, still)[:2])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("policy, first", [(still, 20), (drift, 8)])
def test_it_takes_over_for_its_reasons_and_not_before(policy, first):
    rule = OperatorOptions(probability=1.0, stall_steps=20, retreat=0.05, shortest=8, longest=15, refractory=25)
    operator = ScriptedOperator(TASK, rule, 1)
    operator.begin(False)
    world, owners = Toaster(0), []
    for step in range(60):
        action = operator.act(*world.sight)
        owners.append(action is not None)
        world.step(policy(step))  # whatever it does, nothing gets better
    assert not any(owners[:first]) and any(owners[:22])
    start = owners.index(True)
    drove = owners[start:].index(False)
    assert 8 <= drove <= 15
    assert not any(owners[start + drove : start + drove + 25])


def test_it_leaves_a_good_policy_alone():
    expert, operator = ScriptedOperator(TASK, OperatorOptions(noise=0.0), 1), ScriptedOperator(TASK, seed=2)
    human = 0
    for seed in range(30):
        world = Toaster(seed)
        expert.begin(True)
        operator.begin(False)
        for _ in range(100):
            human += operator.act(*world.sight) is not None
            if world.step(expert.act(*world.sight)):
                break
    assert human == 0


def test_no_interventions_in_evaluation():
    operator = ScriptedOperator(TASK, OperatorOptions(interventions=False), 1)
    for seed in range(20):
        operator.begin(False)
        assert play(operator, seed, still)[1] == 0


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_chance_is_the_stated_one(probability):
    operator, count = ScriptedOperator(TASK, OperatorOptions(probability=probability, stall_steps=20), 5), 0
    world = Toaster(0)
    for _ in range(400):
        operator.begin(False)
        for _ in range(21):
            operator.act(*world.sight)
        count += operator.driving
    assert count / 400 == pytest.approx(probability, abs=0.08)


def test_hands_off_outside_of_episodes():
    operator = ScriptedOperator(TASK, seed=1)
    assert not operator.driving and operator.act(*Toaster(0).sight) is None


def test_unknown_tasks_and_senseless_options_are_refused():
    with pytest.raises(ValueError, match="hanoi"):
        ScriptedOperator(build(Task, {"name": "hanoi", "scene": "hanoi"}))
    with pytest.raises(ValueError, match="shortest"):
        ScriptedOperator(TASK, OperatorOptions(shortest=9, longest=8))
