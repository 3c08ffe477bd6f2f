"""Carries relocations out where nothing is real: the free arm moves, the scene memory draws, geometry judges."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ws_driver_a1x.reset import reset_joints
from ws_rollouts.episode import STATE, SYNTHETIC, VIEWS, Episode
from ws_world_model.proposals.relocate import Hand, RelocateOptions, Relocation, arrived
from ws_world_model.scene.arm import PERIOD, FreeArm
from ws_world_model.scene.donor import Donor
from ws_world_model.scene.drawing import Drawer, Pose
from ws_world_model.scene.following import SAME_PLACE, Following
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.store import RELOCATED

EXTRA = 4  # steps after the way's end in which the arm may arrive


@dataclass(frozen=True)
class Outcome:
    """The episode, or why there is none."""

    episode: Episode | None
    reason: str = ""


class LedTracker(Following):
    """Follows the tool through the parts that a hand leads it through."""

    def __init__(self, donor: Donor, relocation: Relocation, reach: float):
        super().__init__(donor, relocation.motions, reach, relocation.slip)

    def follow(self, tool: np.ndarray, part: int, limit: int) -> None:
        """The tool is at (3,) m and does part number `part`, whose steps up to `limit` were commanded."""
        if part >= len(self._donor.parts):
            part = len(self._donor.parts) - 1
        begin = self._donor.parts[part].start
        if limit <= begin:  # on the way there
            return
        self.step = max(self.step, begin)
        local = self._motions[self._donor.part_groups[part]].back(tool)
        gaps = np.linalg.norm(self._tools[self.step : limit + 1] - local, axis=1)
        if len(gaps):
            self.step += int(np.flatnonzero(gaps <= gaps.min() + SAME_PLACE)[-1])


class Stage:
    """One task's. `counts`: what was imagined, and why others were dropped."""

    def __init__(self, memory: SceneMemory, arm: FreeArm, options: RelocateOptions | None = None, seed: int = 0,
                 session: str = "stage"):
        self.memory, self.task, self.arm = memory, memory.task, arm
        self.options = options or RelocateOptions()
        self._rng = np.random.default_rng([seed, 7])
        self._session, self._made = session, 0
        self.counts: Counter[str] = Counter()
        self.drawer: Drawer | None = None
        self._ages: list[dict[str, np.ndarray]] = []

    def prepare(self) -> None:
        """Take in what the memory holds now."""
        self.drawer = Drawer(self.memory)
        episodes = [donor.episode for donor in self.memory.donors]
        self._ages = [{v: np.clip((e.stamp - e.exposed[v]) / 1e9, 0.0, PERIOD + 0.05) for v in VIEWS} for e in episodes]

    def play(self, relocation: Relocation | None) -> Outcome:
        """Imagine it. The episode is a success by geometry, or there is none."""
        outcome = Outcome(None, "things in each other") if relocation is None else self._play(relocation)
        self.counts[outcome.reason or "made"] += 1
        return outcome

    def _play(self, relocation: Relocation) -> Outcome:
        donor, arm, task = relocation.donor, self.arm, self.task
        hand, tracker = Hand(relocation, task, self.options), LedTracker(donor, relocation, self.memory.reach)
        ages = self._ages[self._rng.integers(len(self._ages))]
        first = int(self._rng.integers(len(ages["side"])))
        arm.reset(reset_joints(arm.kinematics, task, self._rng), hand.opening)
        rows, target, success, extra = [], arm.target, False, 0
        state = arm.state
        scale = np.asarray(task.action_scale)
        while True:
            tool = state[STATE["position"]].astype(float)
            frames = self._frames(donor, relocation, tracker, hand, {v: ages[v][(first + len(rows)) % len(ages[v])]
                                                                     for v in VIEWS})
            executed = (arm.target - target)[: len(scale)] / scale
            target = arm.target
            success = hand.over and arrived(donor, relocation.motions[donor.part_groups[-1]], tool + tracker.held, task)
            idle = np.zeros(task.action_size, np.float32)
            meant, done = (idle, idle) if success else hand.act(target, tracker.held)
            rows.append((frames, state, meant, executed))
            if success:
                return Outcome(self._episode(relocation, rows))
            extra += hand.over
            if extra > EXTRA:
                return Outcome(None, "did not arrive")
            if len(rows) > task.episode_steps:
                return Outcome(None, "takes too long")
            state = arm.step(done, hand.opening)

    def _frames(self, donor: Donor, relocation: Relocation, tracker: LedTracker, hand: Hand,
                ages: dict[str, float]) -> dict[str, np.ndarray]:
        links, arm, frames = self.memory.unprojector.links, self.arm, {}
        for view in VIEWS:
            joints = arm.at(arm.time - ages[view])
            pose = Pose(*links.poses(joints, arm.opening), arm.opening)
            tool = pose.positions[links.index("gripper_link")]
            tracker.follow(tool, hand.part, hand.step)
            frames |= self.drawer.draw(donor, relocation.motions, tracker.moment, tracker.bodies(tool), pose, (view,))
        return frames

    def _episode(self, relocation: Relocation, rows: list[tuple]) -> Episode:
        frames, states, actions, executed = zip(*rows, strict=True)
        count, parent = len(rows), relocation.donor.episode
        stamp = parent.stamp[0] + (np.arange(count) * PERIOD * 1e9).astype(np.int64)
        reward = np.zeros(count, np.float32)
        reward[-1] = 1.0
        self._made += 1
        motions = [[round(m.x, 5), round(m.y, 5), round(m.yaw, 5)] for m in relocation.motions]
        return Episode(
            episode_id=f"{parent.task}-relocated-{self._session}-{self._made:06d}", task=parent.task,
            frames={view: np.stack([f[view] for f in frames]) for view in VIEWS}, state=np.stack(states),
            action=np.stack(actions), executed=np.stack(executed).astype(np.float32), reward=reward,
            source=np.full(count, SYNTHETIC, np.uint8), stamp=stamp, weights_version=np.zeros(count, np.uint32),
            terminated=True, truncated=False,
            notes={"parent": parent.episode_id, "kind": RELOCATED, "proposal": "relocate",
                   "motions": json.dumps(motions), "seed": json.dumps(relocation.seed), "world_model_version": "0",
                   "label": "success", "label_probability": "1.0000"},
        )

