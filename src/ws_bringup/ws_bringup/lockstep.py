"""The loop without ROS: twin, driver and observation stepped together at 10 Hz, as fast as the machine can."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ws_driver_a1x.options import RelayOptions
from ws_driver_a1x.relay import Relay
from ws_driver_a1x.reset import reset_joints
from ws_policy.observation import Observation, crop_resize, make_state
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import POLICY, STATE, VIEWS, Episode
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.task import Task
from ws_twin_a1x.cameras import INTRINSICS, optical_mount
from ws_twin_a1x.options import TwinOptions
from ws_twin_a1x.twin import Twin, TwinState

CONTROL_PERIOD = 0.1  # s
TICK = 0.02  # s, of the driver
CAMERA_RATE = 15.0  # Hz
CAMERA_DELAY = 0.02  # s, from exposure to the policy in the running graph
COMMAND_DELAYS = (1, 2)  # ticks from what the policy sees to the driver's that knows its command, in the running graph


@dataclass(frozen=True)
class EnvState:
    """For `Env.restore`; never changed, so that it can be restored any number of times."""

    twin: TwinState
    relay: Relay
    random: dict
    frames: dict[str, np.ndarray]
    stamp: float
    phase: float
    delay: float
    steps: int


class Env:
    """One robot and one task, with the delays of the running graph, whose clocks know nothing of each other.

    Cameras run at 15 Hz, in each episode at another phase to the policy, and the driver takes commands one or two ticks
    after what the policy saw. The same seed and actions give the same observations.

    Raises ValueError for an unknown scene.
    """

    def __init__(self, task: Task, seed: int = 0, twin: TwinOptions | None = None, relay: RelayOptions | None = None,
                 pictures: bool = True, rgbd_every: int = 0):
        """`pictures` false leaves all frames black, for those who do not look: three times as fast. With `rgbd_every`
        each so many-th exposure is kept with its depth, for `rgbd`."""
        self.task, self._pictures, self._rgbd_every = task, pictures, rgbd_every
        self.twin = Twin(task, seed, twin)
        self._rng = np.random.default_rng([seed, 1])
        self._relay_options = relay or RelayOptions()
        self.relay = Relay(self._relay_options, task)
        self._frames: dict[str, np.ndarray] = {}
        self._rgbd: list[tuple] = []
        self._exposures = 0
        self.exposed_pose = np.zeros(6), 0.0  # joints and opening at the newest exposure
        self._stamp = self._phase = self._delay = 0.0
        self._steps = 0

    def close(self) -> None:
        """Free the renderer."""
        self.twin.close()

    def reset(self, seed: int | None = None, arrange: Callable[[Twin], None] | None = None) -> Observation:
        """New object poses, the arm at rest near the task's reset joints; the first observation.

        With `seed` all that follows depends on it alone; without, the streams go on. `arrange` may move the objects
        before anything is seen of them.
        """
        if seed is not None:
            self.twin.restart(seed)
            self._rng, self._stamp = np.random.default_rng([seed, 1]), 0.0
        self._phase = self._rng.uniform(0.0, 1.0 / CAMERA_RATE)
        self._delay = TICK * self._rng.integers(*COMMAND_DELAYS, endpoint=True)
        self.twin.command_gripper(100.0 * self.task.gripper_opening)
        self.twin.place_arm(reset_joints(self.relay.kinematics, self.task, self._rng))
        self.twin.reset_world()  # after the arm: what a hand holds is put into it
        if arrange:
            arrange(self.twin)
        self.relay = Relay(self._relay_options, self.task, self.relay.kinematics)
        self._feed()
        self.relay.enable()
        self._steps = self._exposures = 0
        self._rgbd = []
        seen = self.twin.time + CONTROL_PERIOD
        self._advance(seen, seen)
        return self.observe()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool]:
        """Act for one control period: observation, reward, terminated, truncated. `action` (A,) as in Step."""
        linear = np.zeros(3)
        linear[: len(self.task.action_scale)] = np.multiply(action[:-1], self.task.action_scale) / CONTROL_PERIOD
        seen_next = self.twin.time + CONTROL_PERIOD
        now = self.twin.time + self._delay
        self._advance(now, seen_next)
        self.relay.on_command(linear, np.zeros(3), now)
        opening = self.task.opening(action[-1])
        if opening is not None:
            self.relay.on_gripper_command(opening, now)
        self._advance(seen_next, seen_next)
        self._steps += 1
        success = self.twin.success()
        return self.observe(), float(success), success, not success and self._steps >= self.task.episode_steps

    def observe(self) -> Observation:
        """The newest camera frames and the state now."""
        servo = self.relay.state()
        state = make_state(servo.position, servo.rotation, servo.gripper, servo.velocity, servo.target)
        stamp = round(self._stamp * 1e9)
        return Observation(dict(self._frames), state, dict.fromkeys(VIEWS, stamp))

    def snapshot(self) -> EnvState:
        """Everything that decides what follows; about 1 MB."""
        random = copy.deepcopy(self._rng.bit_generator.state)
        return EnvState(self.twin.snapshot(), self.relay.copy(), random, dict(self._frames), self._stamp, self._phase,
                        self._delay, self._steps)

    def restore(self, state: EnvState) -> None:
        """Go on from a snapshot of this environment: the same actions give the same observations, bit for bit."""
        self.twin.restore(state.twin)
        self.relay = state.relay.copy()
        self._rng.bit_generator.state = state.random
        self._frames, self._stamp, self._steps = dict(state.frames), state.stamp, state.steps
        self._phase, self._delay = state.phase, state.delay

    def rgbd(self) -> dict[str, RgbdStream]:
        """What the depth cameras saw since the last reset, by view; empty without `rgbd_every`."""
        if not self._rgbd:
            return {}
        stamps, joints, openings, pictures = zip(*self._rgbd, strict=True)
        return {view: RgbdStream(
            np.array(stamps), np.stack([each[view][0] for each in pictures]),
            np.stack([each[view][1] for each in pictures]), np.stack(joints), np.array(openings, np.float32),
            np.array(INTRINSICS), optical_mount(self.twin.mounts[view])) for view in VIEWS}

    @property
    def target(self) -> np.ndarray:
        """The driver's locked target, (3,) m."""
        return self.relay.state().target

    def _advance(self, end: float, seen: float) -> None:
        """Until `end`; of the camera's frames only the one that is the newest at `seen` is taken."""
        sent_by = seen - CAMERA_DELAY - self._phase
        exposure = np.floor(sent_by * CAMERA_RATE) / CAMERA_RATE + self._phase
        while self.twin.time < end - TICK / 2:
            if self._stamp < exposure <= self.twin.time + TICK / 2:
                self._expose(exposure)
            self._feed()
            target = self.relay.tick(self.twin.time)
            if target is not None:
                self.twin.command_arm(target.position, target.speed)
                self.twin.command_gripper(target.gripper)
            self.twin.step(TICK)

    def _feed(self) -> None:
        position, velocity, effort = self.twin.arm_feedback()
        self.relay.on_feedback(position[:6], velocity[:6], effort[:6], self.twin.time)
        self.relay.on_gripper(self.twin.gripper_feedback() / 100.0)

    def _expose(self, stamp: float) -> None:
        self._stamp, size = stamp, self.task.image_size
        if not self._pictures:
            self._frames = {view: np.zeros((size, size, 3), np.uint8) for view in VIEWS}
            return
        joints, opening = self.twin.arm_feedback()[0][:6].astype(np.float32), self.twin.gripper_feedback() / 100.0
        self.exposed_pose = joints, opening
        if self._rgbd_every and self._exposures % self._rgbd_every == 0:
            self._rgbd.append((round(stamp * 1e9), joints, opening, {v: self.twin.render_rgbd(v) for v in VIEWS}))
        self._exposures += 1
        pictures = {view: self.twin.render(view, cropped=True) for view in VIEWS}
        self._frames = {v: crop_resize(p, (0, 0, p.shape[1], p.shape[0]), size) for v, p in pictures.items()}


def ask(operator: ScriptedOperator, env: Env, seen: Observation) -> np.ndarray | None:
    """What the operator, who sees the scene itself, commands now: (A,), or None with hands off."""
    opening = float(seen.state[STATE["gripper"]][0])
    return operator.act(env.twin.object_poses(), env.twin.progress(), seen.state[STATE["position"]], opening)


def play(
    env: Env,
    act: Callable[[Observation], np.ndarray],
    episode_id: str,
    choose: Callable[[Observation, np.ndarray], tuple[np.ndarray, int]] | None = None,
) -> Episode:
    """Play one episode and return it.

    `act(observation) -> (A,)` is the policy; `choose(observation, action) -> (action, source)` may overrule it.
    """
    seen = env.reset()
    rows: list[tuple] = []
    reward, terminated, truncated, target = 0.0, False, False, env.target
    idle = np.zeros(env.task.action_size, np.float32)
    while True:
        over = terminated or truncated
        action, source = (idle, POLICY) if over else (act(seen), POLICY)
        if choose and not over:
            action, source = choose(seen, action)
        executed = (env.target - target)[: len(env.task.action_scale)] / env.task.action_scale
        target = env.target
        rows.append((seen, action, executed, reward, source, env.twin.time))
        if over:
            break
        seen, reward, terminated, truncated = env.step(action)
    return episode_of(env.task, episode_id, rows, terminated, truncated, env.rgbd())


def episode_of(task: Task, episode_id: str, rows: list[tuple], terminated: bool, truncated: bool,
               rgbd: dict[str, RgbdStream] | None = None) -> Episode:
    """An episode of `rows`: observation, action, executed, reward, source and time (s), one for each observation."""
    observations, actions, executed, rewards, sources, times = zip(*rows, strict=True)
    sources = (*sources[:-1], sources[-2])
    return Episode(
        episode_id=episode_id,
        task=task.name,
        frames={view: np.stack([o.frames[view] for o in observations]) for view in VIEWS},
        state=np.stack([o.state for o in observations]),
        action=np.stack(actions).astype(np.float32),
        executed=np.stack(executed).astype(np.float32),
        reward=np.array(rewards, np.float32),
        source=np.array(sources, np.uint8),
        stamp=(np.array(times) * 1e9).round().astype(np.int64),
        weights_version=np.zeros(len(rows), np.uint32),
        terminated=terminated,
        truncated=truncated,
        exposed={view: np.array([o.stamps[view] for o in observations], np.int64) for view in VIEWS},
        rgbd=rgbd or {},
    )
