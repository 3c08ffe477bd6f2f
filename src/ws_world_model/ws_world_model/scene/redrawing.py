"""Draws what follows in an episode whose scene has been placed: one after the other, by where the tool goes."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from ws_driver_a1x.kinematics import Kinematics
from ws_rollouts.episode import STATE, TOOL_DOWN, VIEWS
from ws_world_model.scene.arm import GUESS
from ws_world_model.scene.drawing import Drawer, Pose
from ws_world_model.scene.following import FreeTracker
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.replay import Placed

FIRST, NEXT, CLOSE = 60, 4, 2e-4  # rounds of the inverse, and m and rad that are near enough


class Redrawer:
    """What several episodes share: the memory's drawer as it is now, and the arm's inverse kinematics."""

    def __init__(self, memory: SceneMemory, kinematics: Kinematics | None = None):
        self.memory, self.kinematics = memory, kinematics or Kinematics()
        self.drawer, self.donors = Drawer(memory), len(memory.donors)
        self._tool = memory.unprojector.links.index("gripper_link")

    def pose(self, state: np.ndarray, guess: np.ndarray | None) -> tuple[Pose, np.ndarray]:
        """Where the robot is by proprioception (13,), and its joints (6,), sought from `guess`."""
        turn = Rotation.from_rotvec(state[STATE["rotation"]].astype(float)).as_matrix() @ TOOL_DOWN
        joints, *_ = self.kinematics.solve(GUESS if guess is None else guess, state[STATE["position"]].astype(float),
                                           turn, FIRST if guess is None else NEXT, CLOSE)
        opening = float(np.clip(state[STATE["gripper"]][0], 0.0, 1.0))
        return Pose(*self.memory.unprojector.links.poses(joints, opening), opening), joints

    def begin(self, placed: Placed) -> Redraw:
        """At the start of an episode."""
        return Redraw(self, placed)


class Redraw:
    """One episode's. `follow` what is known, then `draw`."""

    def __init__(self, shared: Redrawer, placed: Placed):
        self._shared, self._placed = shared, placed
        self._tracker = FreeTracker(placed.donor, placed.motions, shared.memory.reach)
        self._joints: np.ndarray | None = None

    def follow(self, states: np.ndarray) -> None:
        """The tool went through (T, 13)."""
        for state in states:
            tool = state[STATE["position"]].astype(float)
            self._tracker.follow(tool, float(state[STATE["gripper"]][0]))
            self._tracker.bodies(tool)  # what is let go on the way stays there

    def draw(self, poses: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The next frame of each view, (S, S, 3) uint8; `poses`: view -> proprioception (13,) at its exposure."""
        frames: dict[str, np.ndarray] = {}
        pose = before = None
        for view in VIEWS:
            if before is None or not np.array_equal(poses[view], before):
                before = poses[view]
                pose, self._joints = self._shared.pose(before, self._joints)
                self.follow(before[None])
            tool = before[STATE["position"]].astype(float)
            frames |= self._shared.drawer.draw(self._placed.donor, self._placed.motions, self._tracker.moment,
                                               self._tracker.bodies(tool), pose, (view,))
        return frames
