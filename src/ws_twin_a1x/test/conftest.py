"""Shared by the twin's tests: the task, twins that close themselves, and a simple inverse kinematics."""

import mujoco
import numpy as np
import pytest

from ws_rollouts.task import load_task
from ws_twin_a1x.options import TwinOptions
from ws_twin_a1x.twin import Twin

FINGER = 0.078  # m, fingertips below gripper_link
SPEED = np.array([1.0, 1.0, 1.0, 1.5, 1.5, 1.5])


@pytest.fixture(scope="session")
def task():
    return load_task("pushing")


@pytest.fixture
def make_twin(task):
    twins = []

    def make(seed=0, **options):
        twins.append(Twin(task, seed, TwinOptions(**options)))
        return twins[-1]

    yield make
    for twin in twins:
        twin.close()


class Hand:
    """Moves a twin's gripper_link, tool down, in straight steps; knows everything, as no policy does."""

    def __init__(self, twin, task):
        self.twin, self._task = twin, task
        self._data = mujoco.MjData(twin.model)
        self._body = twin.model.body("gripper_link").id

    @property
    def position(self):
        return self.twin.data.xpos[self._body].copy()

    def joints_at(self, position):
        """Joints (6,) that hold gripper_link at `position` with the tool down: damped least squares."""
        down = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
        joints = np.array(self._task.reset_joints)
        for _ in range(12):
            self._data.qpos[:6] = joints
            mujoco.mj_kinematics(self.twin.model, self._data)
            mujoco.mj_comPos(self.twin.model, self._data)
            turned = self._data.xmat[self._body].reshape(3, 3)
            rotation = 0.5 * np.cross(turned, down, axis=0).sum(axis=1)
            error = np.concatenate([position - self._data.xpos[self._body], rotation])
            jacobian = np.zeros((6, self.twin.model.nv))
            mujoco.mj_jacBody(self.twin.model, self._data, jacobian[:3], jacobian[3:], self._body)
            jacobian = jacobian[:, :6]
            joints = joints + np.linalg.solve(jacobian.T @ jacobian + 1e-6 * np.eye(6), jacobian.T @ error)
        return joints

    def press(self, knob, steps=60):
        """Move above `knob` (3,), then down, 12 mm a step at 10 Hz; True once the task is done."""
        goals = [knob + [0, 0, FINGER + 0.02], knob + [0, 0, FINGER - 0.05]]
        command = self.position
        for _ in range(steps):
            if len(goals) == 2 and np.linalg.norm(goals[0] - command) < 1e-3:
                goals.pop(0)
            command = command + np.clip(goals[0] - command, -0.012, 0.012)
            lead = command - self.position
            lead *= min(1.0, 0.015 / max(1e-9, np.linalg.norm(lead)))
            self.twin.command_arm(self.joints_at(self.position + lead), SPEED)
            self.twin.step(0.1)
            if self.twin.success():
                return True
        return False


@pytest.fixture
def make_hand(task):
    return lambda twin: Hand(twin, task)
