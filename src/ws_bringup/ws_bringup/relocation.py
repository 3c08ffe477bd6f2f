"""Relocated demonstrations in lockstep: carried out by the twin itself (the oracle), or drawn from its depth."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
from scipy.spatial.transform import Rotation

from ws_bringup.lockstep import Env, episode_of
from ws_rollouts.episode import STATE, SYNTHETIC, VIEWS, Episode
from ws_twin_a1x.scenes import Pose
from ws_twin_a1x.twin import Twin
from ws_world_model.proposals.relocate import Hand, Places, RelocateOptions, Relocation, relocations
from ws_world_model.proposals.stage import EXTRA, LedTracker, Stage
from ws_world_model.scene.arm import FreeArm, fit_lag
from ws_world_model.scene.drawing import Pose as RobotPose
from ws_world_model.scene.memory import SceneMemory

IN_HAND = 0.06  # m over the table: what floats there at first is in the hand
SHIFT_PER_DEGREE = 0.0025  # m, of a mount that is wrong
TRIES = 3  # relocations tried for each that is wanted


class TwinStage:
    """Puts the twin's things where a relocation wants them and lets its arm do it. Keeps what really succeeds.

    With a `stage`, whose drawer knows the memory, each true pair of frames is kept in `compared` beside the drawn one.
    """

    def __init__(self, env: Env, memory: SceneMemory, options: RelocateOptions, worlds: dict[str, dict[str, Pose]],
                 stage: Stage | None = None):
        """`worlds`: episode id -> the twin's arrangement at its start."""
        self._env, self._memory, self._options, self._worlds = env, memory, options, worlds
        self._stage = stage
        self.counts: Counter[str] = Counter()
        self.compared: list[tuple[dict, dict]] = []
        self.tools: list[np.ndarray] = []  # (3,) m, where the tool was in each pair

    def play(self, relocation: Relocation | None) -> Episode | None:
        """The episode, or None."""
        if relocation is None:
            self.counts["things in each other"] += 1
            return None
        env, donor = self._env, relocation.donor
        relocation = replace(relocation, slip=np.zeros(3))  # the twin's own things slip
        seen = env.reset(arrange=lambda twin: self._arrange(twin, relocation))
        hand, tracker = Hand(relocation, env.task, self._options), LedTracker(donor, relocation, self._memory.reach)
        scale, target, rows, extra, success, reward = np.asarray(env.task.action_scale), env.target, [], 0, False, 0.0
        while True:
            tool = seen.state[STATE["position"]].astype(float)
            tracker.follow(tool, hand.part, hand.step)
            tracker.bodies(tool)
            if self._stage is not None:
                self._compare(relocation, hand, tracker, seen.frames)
            executed = (env.target - target)[: len(scale)] / scale
            target = env.target
            idle = np.zeros(env.task.action_size, np.float32)
            meant, done = (idle, idle) if success else hand.act(target, tracker.held)
            rows.append((seen, meant, executed, reward, SYNTHETIC, env.twin.time))
            extra += hand.over
            if success or extra > 3 * EXTRA or len(rows) > env.task.episode_steps:
                break
            seen, reward, success, _ = env.step(done)
        self.counts["made" if success else "no success"] += 1
        return episode_of(env.task, f"relocated-{relocation.seed[-2]:05d}", rows, True, False) if success else None

    def _arrange(self, twin: Twin, relocation: Relocation) -> None:
        donor, table = relocation.donor, self._env.task.table
        moved = {}
        for name, (position, quat) in self._worlds[donor.episode.episode_id].items():
            if position[2] - table > IN_HAND:
                continue
            gaps = [min(np.linalg.norm(c.xyz[:, :2] - position[:2], axis=1).min(initial=np.inf)
                        for c in self._clouds(donor, g)) for g in range(len(donor.groups))]
            motion = relocation.motions[int(np.argmin(gaps))]
            turned = Rotation.from_euler("z", motion.yaw) * Rotation.from_quat(quat, scalar_first=True)
            moved[name] = motion(position), turned.as_quat(scalar_first=True)
        twin.arrange(moved)

    @staticmethod
    def _clouds(donor, number: int) -> list:
        bodies = [c for body in donor.bodies if body.group == number for c in body.clouds.values()]
        return [*donor.groups[number].values(), *bodies]

    def _compare(self, relocation: Relocation, hand: Hand, tracker: LedTracker, true: dict[str, np.ndarray]) -> None:
        links, env = self._memory.unprojector.links, self._env
        joints, opening = env.exposed_pose
        pose = RobotPose(*links.poses(joints, opening), opening)
        tool = pose.positions[links.index("gripper_link")]
        tracker.follow(tool, hand.part, hand.step)
        drawn = self._stage.drawer.draw(relocation.donor, relocation.motions, tracker.moment, tracker.bodies(tool),
                                        pose)
        self.compared.append((true, drawn))
        self.tools.append(tool)


def misplaced(episodes: list[Episode], degrees: float, seed: int) -> list[Episode]:
    """The same with both mounts wrong: turned by `degrees` about a random axis, shifted by 2.5 mm for each."""
    if not degrees:
        return episodes
    rng = np.random.default_rng([seed, 8])
    wrong = {}
    for view in VIEWS:
        axis, way = (a / np.linalg.norm(a) for a in rng.standard_normal((2, 3)))
        error = np.eye(4)
        error[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
        error[:3, 3] = SHIFT_PER_DEGREE * degrees * way
        wrong[view] = error
    return [replace(episode, rgbd={view: replace(stream, mount=stream.mount @ wrong[view])
                                   for view, stream in episode.rgbd.items()}) for episode in episodes]


def relocated(kind: str, env: Env, demonstrations: list[Episode], worlds: dict[str, dict[str, Pose]], count: int,
              options: RelocateOptions, seed: int) -> tuple[list[Episode], dict[str, float]]:
    """`count` relocations of demonstrations with depth, by the "oracle" or "drawn", and what is to be reported."""
    began = time.process_time()
    memory = SceneMemory(env.task)
    for episode in demonstrations:
        memory.add(episode)
    places = Places(env.task, memory.donors, options)
    wanted = islice(relocations(places, (seed,)), TRIES * count)
    made: list[Episode] = []
    if kind == "oracle":
        stage = TwinStage(env, memory, options, worlds)
        play = stage.play
    else:
        lag = fit_lag(env.task, [(donor.episode, donor.start) for donor in memory.donors])
        stage = Stage(memory, FreeArm(env.task, lag), options, seed)
        stage.prepare()
        play = lambda each: stage.play(each).episode  # noqa: E731
    for each in wanted:
        if len(made) == count:
            break
        episode = play(each)
        if episode is not None:
            made.append(episode)
    spent = time.process_time() - began
    counts = {f"relocated_{reason.replace(' ', '_')}": n for reason, n in stage.counts.items()}
    return made, {**counts, "relocate_cpu_s": spent, "relocated_steps": sum(map(len, made))}

