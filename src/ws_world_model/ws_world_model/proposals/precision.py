"""How often geometry is right when it calls a way a success: real rollouts are looked at as relocations are."""

from __future__ import annotations

from collections import deque

import numpy as np

from ws_rollouts.episode import STATE, Episode
from ws_rollouts.task import Task
from ws_world_model.proposals.relocate import arrived
from ws_world_model.scene.donor import Donor
from ws_world_model.scene.drawing import Motion
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.parts import CLOSE, GRASP, OPEN, RELEASE
from ws_world_model.scene.replay import Placer

LEAST, NEWEST = 8, 40  # claims that tell something, and that count
ALL, EVERY = 12, 4  # rollouts that are all looked at, then one in so many: finding a thing takes half a second


class LabelPrecision:
    """`look` at rollouts with a first depth exposure; `value` is the share of claimed successes that really were."""

    def __init__(self, memory: SceneMemory):
        self._memory, self._placer = memory, Placer(memory)
        self._claimed: deque[bool] = deque(maxlen=NEWEST)
        self._offered = 0

    @property
    def value(self) -> float:
        """0 while too few were claimed to tell."""
        return float(np.mean(self._claimed)) if len(self._claimed) >= LEAST else 0.0

    def look(self, episode: Episode) -> None:
        """Note whether an episode that geometry calls a success is one."""
        self._offered += 1
        if not self._memory.donors or (self._offered > ALL and self._offered % EVERY):
            return
        found = self._placer.match(episode.episode_id, episode.rgbd)
        if isinstance(found, str):
            return
        donor = found.fits[0][0]
        if claims(donor, found.motion(donor.part_groups[-1]), episode, self._memory.task):
            self._claimed.append(bool(episode.success))


def claims(donor: Donor, motion: Motion, episode: Episode, task: Task) -> bool:
    """Whether the tool came to where the donor's ended, having done with the gripper what that did."""
    steps = np.arange(len(episode) + 1)
    for event, grip in ((GRASP, CLOSE), (RELEASE, OPEN)):
        if any(event in part.events for part in donor.parts):
            done = steps[episode.action[steps, -1] == grip]
            if not len(done):
                return False
            steps = steps[steps > done[0]]
    tools = episode.state[steps][:, STATE["position"]].astype(float)
    return bool(arrived(donor, motion, tools, task).any())
