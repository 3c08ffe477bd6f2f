"""The arm as commands move it where nothing is in its way: the driver's own relay, then the lag of the real joints."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.options import RelayOptions
from ws_driver_a1x.relay import Relay
from ws_policy.observation import make_state
from ws_rollouts.episode import STATE, TOOL_DOWN, Episode
from ws_rollouts.task import Task

PERIOD = 0.1  # s, of a control step
TICK = 0.02  # s, of the driver
STAGES = 2  # first-order lags in a row: a servo's step response starts flat
DELAYS, TAUS = (0.0, 0.02, 0.04, 0.06, 0.08), (0.02, 0.04, 0.06, 0.1, 0.14)  # s, what is tried
FREE, FITTED = 12, 3  # steps of how many episodes
GUESS = np.array([0.0, 1.6552, -1.1680, 1.0836, 0.0, 0.0])  # rad, where the inverse begins: tool down, before the base
ROUNDS = 60  # of the inverse at most
COMMAND_TICKS = 2  # from what the policy sees to the driver's tick that knows its command


@dataclass(frozen=True)
class Lag:
    """From streamed to measured joints: a dead time, then `STAGES` lags of `tau` / STAGES each; s."""

    delay: float = 0.04
    tau: float = 0.04


class FreeRelay(Relay):
    """A relay whose arm is imagined: it may be put anywhere, which one that drives a real arm must not."""

    def resume(self, joints, velocity, target) -> None:
        """Enable in the middle of a motion: it streamed joints (6,) rad at (6,) rad/s, on the way to (3,) m."""
        self.enable()
        self._motion.start(np.asarray(joints, float), np.asarray(velocity, float))
        self.lead(target)

    def lead(self, target, shift=None) -> None:
        """Head for (3,) m, whatever was commanded; with `shift` (6,) rad from joints so far off."""
        if shift is not None:
            self._motion.shift(shift)
        self._target.place(target)
        self._motion.go_to_pose(self._target.position, self._target.rotation)


class FreeArm:
    """Steps of 0.1 s; frame base_link. `history` holds time (s) and joints (6,) of every tick since the start."""

    def __init__(self, task: Task, lag: Lag | None = None, relay: RelayOptions | None = None,
                 kinematics: Kinematics | None = None):
        self.task, self.lag = task, lag or Lag()
        self._options = relay or RelayOptions()
        self._relay = FreeRelay(self._options, task, kinematics)
        self.kinematics = self._relay.kinematics

    def reset(self, joints: np.ndarray, opening: float) -> None:
        """At rest at `joints` (6,) rad."""
        self._relay = FreeRelay(self._options, self.task, self.kinematics)
        self.joints, self._stages = np.array(joints, float), [np.array(joints, float)] * STAGES
        self._velocity = np.zeros(6)
        self._streamed = deque([self.joints] * (1 + round(self.lag.delay / TICK)), 1 + round(self.lag.delay / TICK))
        self.opening, self.time = opening, 0.0
        self.history: list[tuple[float, np.ndarray]] = [(0.0, self.joints)]
        self._feed()
        self._relay.enable()
        self._advance(round(PERIOD / TICK))

    def resume(self, state: np.ndarray, guess: np.ndarray = GUESS) -> None:
        """In the middle of a motion, as proprioception (13,) shows it; `guess` (6,) rad: joints near those sought.

        The lags are those of a motion at constant speed.
        """
        turn = Rotation.from_rotvec(state[STATE["rotation"]].astype(float)).as_matrix() @ TOOL_DOWN
        position = state[STATE["position"]].astype(float)
        joints, *_ = self.kinematics.solve(guess, position, turn, ROUNDS)
        speed = np.append(state[STATE["velocity"]].astype(float), np.zeros(3))
        moving = np.linalg.solve(self.kinematics.jacobian(joints), speed)
        self._relay = FreeRelay(self._options, self.task, self.kinematics)
        self.joints, self._velocity = joints, moving
        behind = self.lag.tau / STAGES
        self._stages = [joints + moving * behind * (STAGES - 1 - n) for n in range(STAGES)]
        count = 1 + round(self.lag.delay / TICK)
        self._streamed = deque([joints + moving * (self.lag.tau + TICK * n) for n in range(count)], count)
        self.opening, self.time = float(state[STATE["gripper"]][0]), 0.0
        self.history = [(0.0, joints)]
        self._feed()
        self._relay.resume(self._streamed[-1], moving, position + state[STATE["lag"]])

    def retrace(self, states: np.ndarray) -> None:
        """Be where proprioception (k+1, 13) ended, in the motion that led there: that is seen from how it went."""
        self.resume(states[0])
        for state in states[1:]:
            self.trace(state)

    def trace(self, state: np.ndarray) -> None:
        """One control period that ended in (13,)."""
        position = state[STATE["position"]].astype(float)
        target = position + state[STATE["lag"]]
        self._advance(COMMAND_TICKS)
        self._relay.on_command(np.zeros(3), np.zeros(3), self.time)
        self._relay.lead(target)
        self._advance(round(PERIOD / TICK) - COMMAND_TICKS)
        self.opening = float(state[STATE["gripper"]][0])
        gap = np.append(position - self.kinematics.forward(self.joints)[0], np.zeros(3))
        shift = np.linalg.solve(self.kinematics.jacobian(self.joints), gap)
        self.joints = self.joints + shift
        self._stages = [stage + shift for stage in self._stages]
        self._streamed = deque([each + shift for each in self._streamed], self._streamed.maxlen)
        self._feed()
        self._relay.lead(target, shift)

    def copy(self) -> FreeArm:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other._relay, other._streamed, other.history = self._relay.copy(), self._streamed.copy(), list(self.history)
        return other

    def roll(self, actions: np.ndarray) -> np.ndarray:
        """Positions m and velocities m/s of the tool after each of (T, A): (T, 6) float32."""
        rows = [self.step(action, self.opening) for action in actions]
        return np.stack([np.append(row[STATE["position"]], row[STATE["velocity"]]) for row in rows])

    @property
    def target(self) -> np.ndarray:
        """The locked target (3,) m."""
        return self._relay.state().target

    @property
    def state(self) -> np.ndarray:
        """Proprioception (13,) float32, as the policy sees it."""
        servo = self._relay.state()
        return make_state(servo.position, servo.rotation, self.opening, servo.velocity, servo.target)

    def step(self, action: np.ndarray, opening: float) -> np.ndarray:
        """One control period under `action` (A,); the gripper is at `opening` after it. Returns `state`."""
        linear = np.zeros(3)
        linear[: len(self.task.action_scale)] = np.multiply(action[:-1], self.task.action_scale) / PERIOD
        self._advance(COMMAND_TICKS)
        self._relay.on_command(linear, np.zeros(3), self.time)
        self._advance(round(PERIOD / TICK) - COMMAND_TICKS)
        self.opening = opening
        self._relay.on_gripper(opening)
        return self.state

    def at(self, time: float) -> np.ndarray:
        """Joints (6,) at an earlier moment, s."""
        index = min(max(int(round(time / TICK)), 0), len(self.history) - 1)
        return self.history[index][1]

    def _advance(self, ticks: int) -> None:
        keep = np.exp(-TICK * STAGES / max(self.lag.tau, 1e-6))
        for _ in range(ticks):
            self._feed()
            target = self._relay.tick(self.time)
            self._streamed.append(self.joints if target is None else target.position)
            value, stages = self._streamed[0], []
            for stage in self._stages:
                value = value + (stage - value) * keep
                stages.append(value)
            self._stages = stages
            self._velocity, self.joints = (value - self.joints) / TICK, value
            self.time += TICK
            self.history.append((self.time, self.joints))

    def _feed(self) -> None:
        self._relay.on_feedback(self.joints, self._velocity, np.zeros(6), self.time)
        self._relay.on_gripper(self.opening)


def fit_lag(task: Task, runs: Sequence[tuple[Episode, np.ndarray]], relay: RelayOptions | None = None) -> Lag:
    """The lag whose arm comes nearest to the recorded tool on the free first steps of episodes that began at rest.

    `runs`: episode and joints (6,) rad at its start.
    """
    arm, best = FreeArm(task, relay=relay), (np.inf, Lag())
    for delay in DELAYS:
        for tau in TAUS:
            arm.lag = Lag(delay, tau)
            gaps = [gap for episode, joints in runs[:FITTED] for gap in _gaps(arm, episode, joints)]
            best = min(best, (float(np.mean(gaps)) if gaps else np.inf, arm.lag), key=lambda each: each[0])
    return best[1]


def _gaps(arm: FreeArm, episode: Episode, joints: np.ndarray) -> list[float]:
    """Distances of the tool from the recorded one, m, less the one at the start."""
    arm.reset(joints, float(episode.state[0, STATE["gripper"]][0]))
    position = episode.state[:, STATE["position"]]
    offset, gaps = position[0] - arm.state[STATE["position"]], []
    for step in range(min(FREE, len(episode))):
        state = arm.step(episode.action[step], float(episode.state[step + 1, STATE["gripper"]][0]))
        gaps.append(float(np.linalg.norm(state[STATE["position"]] + offset - position[step + 1])))
    return gaps
