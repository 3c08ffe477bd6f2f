"""A relay with an arm that follows it: what the relay's tests share."""

import numpy as np
import pytest

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.options import RelayOptions
from ws_driver_a1x.relay import Relay
from ws_node.options import build
from ws_rollouts.task import load_task

PERIOD = 0.02
TASK = load_task("pushing", {  # numbers of our own: the relay's tests are not about one task
    "reset_joints": [0, 1.6, -1.3, 1.27, 0, 0], "reset_jitter": [0.02, 0.02, 0.02], "gripper": "fixed",
    "gripper_opening": 0.0, "workspace_low": [0.12, -0.2, 0.09], "workspace_high": [0.42, 0.2, 0.36],
})


class Bench:
    """Drives a relay by a clock of its own. The arm goes `follow` of the way to its target in each tick."""

    def __init__(self, kinematics: Kinematics, follow: float = 0.3, **options):
        self.task = TASK
        self.relay = Relay(build(RelayOptions, options), self.task, kinematics)
        self.joints = np.array(self.task.reset_joints)
        self.velocity = np.zeros(6)
        self.follow, self.now, self.targets = follow, 100.0, []

    def feed(self) -> None:
        self.relay.on_feedback(self.joints, self.velocity, np.zeros(6), self.now)

    def tick(self, feed: bool = True, period: float = PERIOD):
        """One tick; the target, also kept with its time."""
        self.now += period
        if feed:
            self.feed()
        target = self.relay.tick(self.now)
        if target is not None:
            step = self.follow * (target.position - self.joints)
            self.joints, self.velocity = self.joints + step, step / period
            self.targets.append((self.now, target))
        return target

    def run(self, seconds: float, command=None, **how) -> None:
        """Tick for so long; with `command` (3,) m/s sent at 10 Hz."""
        for i in range(round(seconds / PERIOD)):
            if command is not None and i % 5 == 0:
                self.relay.on_command(command, [0, 0, 0], self.now)
            self.tick(**how)

    @property
    def position(self) -> np.ndarray:
        return self.relay.kinematics.forward(self.joints)[0]


@pytest.fixture(scope="session")
def kinematics():
    return Kinematics()


@pytest.fixture(scope="session")
def bench(kinematics):
    """Makes a Bench; enabled unless told otherwise."""

    def make(enable: bool = True, **options) -> Bench:
        made = Bench(kinematics, **options)
        made.feed()
        if enable:
            made.relay.enable()
        return made

    return make
