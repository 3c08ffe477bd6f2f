"""Transfer in a world of points: it grips, carries, lets go, and takes up the task wherever it was left."""

import numpy as np
import pytest

from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_policy.skills import make_skill
from ws_rollouts.task import load_task, task_names

TIP = 0.078
HANDLED = [name for name in task_names() if load_task(name).handling.thing]
LEARNED = [name for name in HANDLED if load_task(name).gripper == "learned"]


class World:
    """A tool that trails its target, fingers that take time, a thing of 35 mm that goes with closed fingers."""

    WIDTH, SPEED = 0.35, 0.08

    def __init__(self, task, seed=0):
        rng = np.random.default_rng(seed)
        self.task, self.how = task, task.handling
        goal = np.array([0.30, -0.05, 0.05]) + rng.uniform(-0.02, 0.02, 3) * (1, 1, 0)
        self.goal = goal if self.how.goal else None
        self.thing = np.array([0.29, 0.07, 0.02]) + rng.uniform(-0.02, 0.02, 3) * (1, 1, 0)
        self.tip = np.array([0.25, 0.0, 0.11])
        self.opening = self.wanted = task.gripper_opening
        self.lag = np.zeros(3)
        self.held = task.gripper == "fixed"
        if self.held:
            self.opening, self.thing = 0.16, self.grip_point(self.tip)

    def grip_point(self, tip):
        return tip - (0, 0, self.how.grip)

    @property
    def sight(self):
        still = np.array([1, 0, 0, 0])
        poses = {self.how.thing: (self.thing, still)} | ({self.how.goal: (self.goal, still)} if self.how.goal else {})
        return poses, 0.0, self.tip + (0, 0, TIP), self.opening

    def step(self, action):
        motion = self.lag + np.asarray(action[:3]) * self.task.action_scale
        self.lag = 0.4 * motion
        self.tip = self.tip + 0.6 * motion
        if self.task.gripper == "learned":
            self.move_fingers(self.task.opening(action[3]))
        if self.held:
            self.thing = self.grip_point(self.tip)

    def move_fingers(self, wanted):
        self.wanted = self.wanted if wanted is None else wanted
        between = np.linalg.norm(self.grip_point(self.tip) - self.thing) < 0.02
        stop = self.WIDTH if between else 0.0
        self.opening = float(np.clip(self.wanted, max(self.opening - self.SPEED, stop), self.opening + self.SPEED))
        self.held = between and self.opening <= self.WIDTH

    @property
    def done(self):
        if not self.how.goal:
            return self.held and self.thing[2] > self.task.table + self.how.over - 0.02
        gap = self.thing - self.goal
        there = np.linalg.norm(gap[:2]) < 4 * self.how.precision and gap[2] < self.how.release + 0.006
        return there and (self.task.gripper == "fixed" or not self.held)


def play(operator, world, steps=200):
    """Actions until it is done; an empty list when it never is."""
    actions = []
    for _ in range(steps):
        actions.append(operator.act(*world.sight))
        world.step(actions[-1])
        if world.done:
            return actions
    return []


def demonstrator(task, seed=1, **options):
    operator = ScriptedOperator(task, OperatorOptions(**options), seed)
    operator.begin(True)
    return operator


@pytest.mark.parametrize("name", HANDLED)
def test_demonstrations_succeed(name):
    task, operator = load_task(name), ScriptedOperator(load_task(name), seed=1)
    won = 0
    for seed in range(40):
        operator.begin(True)
        won += bool(play(operator, World(task, seed)))
        operator.finish()
    assert won >= 38


@pytest.mark.parametrize("name", LEARNED)
def test_it_closes_once_and_opens_once(name):
    task = load_task(name)
    classes = np.array([action[3] for action in play(demonstrator(task), World(task))])
    assert set(classes) <= {-1.0, 0.0, 1.0}
    closing, opening = np.flatnonzero(classes < 0), np.flatnonzero(classes > 0)
    assert len(closing) and np.all(np.diff(closing) == 1)
    assert bool(len(opening)) == bool(task.handling.goal) and np.all(np.diff(opening) == 1)


def test_a_fixed_gripper_is_left_alone():
    task = load_task("insertion")
    assert {action[3] for action in play(demonstrator(task), World(task))} == {0.0}


@pytest.mark.parametrize("name", LEARNED)
def test_it_takes_up_a_thing_that_is_held(name):
    task, world = load_task(name), World(load_task(name))
    world.tip = world.thing + (0, 0, task.handling.grip)
    for _ in range(12):
        world.move_fingers(0.0)
    assert world.held
    actions = play(demonstrator(task), world)
    assert actions and min(action[3] for action in actions) == 0.0, "nothing to close"


@pytest.mark.parametrize("name", LEARNED)
def test_it_opens_fingers_that_hold_nothing(name):
    task, world = load_task(name), World(load_task(name))
    for _ in range(12):
        world.move_fingers(0.0)
    actions = play(demonstrator(task), world)
    assert actions and actions[0][3] == 1.0


@pytest.mark.parametrize("name", LEARNED)
def test_it_goes_back_for_a_thing_that_was_lost(name):
    world, operator = World(load_task(name)), demonstrator(load_task(name))
    while not (world.held and world.thing[2] > 0.05):
        world.step(operator.act(*world.sight))
    world.thing = np.array([0.30, 0.05, 0.02])  # dropped
    world.held = False
    assert play(operator, world)


@pytest.mark.parametrize("name", HANDLED)
def test_it_leaves_a_good_policy_alone(name):
    task = load_task(name)
    expert, watcher = ScriptedOperator(task, OperatorOptions(noise=0.0, slowest=0.7), 1), ScriptedOperator(task, seed=2)
    human = 0
    for seed in range(10):
        world = World(task, seed)
        expert.begin(True)
        watcher.begin(False)
        for _ in range(200):
            human += watcher.act(*world.sight) is not None
            world.step(expert.act(*world.sight))
            if world.done:
                break
    assert human == 0


@pytest.mark.parametrize("name", HANDLED)
def test_it_helps_a_policy_that_does_nothing(name):
    task, operator = load_task(name), ScriptedOperator(load_task(name), seed=3)
    world = World(task)
    operator.begin(False)
    for _ in range(400):
        action = operator.act(*world.sight)
        world.step(np.zeros(4) if action is None else action)
        if world.done:
            return
    pytest.fail("never done")


def test_a_skill_is_needed():
    with pytest.raises(ValueError, match="'nothing'.*handling.thing"):
        make_skill(load_task("sorting", {"handling": {"thing": ""}, "name": "nothing"}), 0.025, TIP)
