"""Which of a donor's steps an imagined tool is at, and where the things are that move with it."""

from __future__ import annotations

import numpy as np

from ws_rollouts.episode import STATE
from ws_world_model.scene.donor import LIFTED, PATCH, Body, Donor
from ws_world_model.scene.drawing import STILL, Motion
from ws_world_model.scene.parts import PRESS, REACH

SAME_PLACE = 0.0015  # m, within which the later of two of the donor's steps is taken
JUMP = 6  # of the donor's steps that one of the tool's may skip
OPENING = 0.1  # m that the whole opening of the gripper counts as
NEAR = 0.015  # m from where the donor's fingers closed or opened in which that counts as done
BESIDE = 0.01  # m around a skill part's reach in which it has begun
ALIGNS = 0.5  # share of its turn that closing fingers take from a thing: 0.4 to 0.7 of the twin's banana and eggplant


class Following:
    """`step` is the donor's; `motions` those of its groups; `reach` m of the fingertips along the tool; `slip`: x, y in
    m and yaw in rad, by which the thing moves in the hand as it is lifted.

    held (3,) m: by how much it lies elsewhere in the hand than in the donor's.
    """

    def __init__(self, donor: Donor, motions: list[Motion], reach: float, slip: np.ndarray | None = None):
        self._donor, self._motions, self._reach = donor, motions, reach
        self._slip = np.zeros(3) if slip is None else slip
        self._gripped: np.ndarray | None = None
        self.held = np.zeros(3)
        self._tools = donor.episode.state[:, STATE["position"]].astype(float)
        self._last: list[tuple[Motion, float]] = [(STILL, 0.0) for _ in donor.bodies]
        self.step = 0

    @property
    def moment(self) -> int:
        """The newest shot of the donor that is not later than that step."""
        return int(max(0, np.searchsorted(self._donor.steps, self.step, "right") - 1))

    def bodies(self, tool: np.ndarray) -> list[tuple[Motion, float]]:
        """The motion of each body and by how much it is raised, m, with the tool at (3,) m."""
        for i, body in enumerate(self._donor.bodies):
            motion = STILL if body.group is None else self._motions[body.group]
            if body.kind == PRESS:
                self._last[i] = motion, -self._sunk(body, motion, tool)
            elif self.step < body.start:
                self._last[i] = motion, 0.0
            elif self.step < body.end:  # let go, it stays where it was
                self._last[i] = self._in_hand(body, motion, tool)
        return list(self._last)

    def _in_hand(self, body: Body, motion: Motion, tool: np.ndarray) -> tuple[Motion, float]:
        """Fingers center what they close on; along them, and in height, it stays where they found it."""
        if body.group is None:  # from the start
            return Motion.about(body.tool[:2], tool[:2], motion.yaw), float(tool[2] - body.tool[2])
        if self._gripped is None:
            gap = motion(body.tool) - tool
            self._gripped = gap - (gap @ body.across) * body.across
        raised = float(tool[2] - body.tool[2] + self._gripped[2])
        slip = self._slip * np.clip(raised / LIFTED, 0.0, 1.0)
        self.held = self._gripped + (*slip[:2], 0.0)
        place = tool + self.held + body.shift
        yaw = _turned(body, motion) + float(slip[2])
        return Motion.about(body.tool[:2], place[:2], yaw), raised + float(body.shift[2])

    def _sunk(self, body: Body, motion: Motion, tool: np.ndarray) -> float:
        return max(0.0, body.top - (tool[2] - self._reach)) if self.step >= body.start else 0.0


class FreeTracker(Following):
    """Follows a tool that nobody leads: by its place and its gripper alone, never back."""

    def __init__(self, donor: Donor, motions: list[Motion], reach: float):
        super().__init__(donor, motions, reach)
        self._openings = donor.episode.state[:, STATE["gripper"]][:, 0].astype(float)
        self._part = 0

    def follow(self, tool: np.ndarray, opening: float) -> None:
        """The tool is at (3,) m, its gripper at `opening`."""
        parts = self._donor.parts
        if self._part + 1 < len(parts) and self._over(tool) and self._within(self._part + 1, tool):
            self._part += 1
        part = parts[self._part]
        if self.step < part.start:
            if not self._within(self._part, tool):
                return
            self.step = part.start
        local = self._motions[self._donor.part_groups[self._part]].back(tool)
        ahead = slice(self.step, min(self.step + JUMP, part.end, len(self._tools) - 1) + 1)
        gaps = np.linalg.norm(self._tools[ahead] - local, axis=1) + OPENING * np.abs(self._openings[ahead] - opening)
        for event in part.events.values():
            at = event - self.step
            if 0 < at < len(gaps) and gaps[at] > NEAR:
                gaps = gaps[:at]
        self.step += int(np.flatnonzero(gaps <= gaps.min() + SAME_PLACE)[-1])

    def _over(self, tool: np.ndarray) -> bool:
        part = self._donor.parts[self._part]
        return self.step >= max(part.events.values()) and not self._within(self._part, tool)

    def _within(self, number: int, tool: np.ndarray) -> bool:
        part, motion = self._donor.parts[number], self._motions[self._donor.part_groups[number]]
        return np.linalg.norm(motion.back(tool)[:2] - part.place[:2]) < REACH + BESIDE

    def _sunk(self, body: Body, motion: Motion, tool: np.ndarray) -> float:
        """Nobody promises that the fingertips are over it."""
        over = np.linalg.norm(motion.back(tool)[:2] - body.tool[:2]) < PATCH
        return super()._sunk(body, motion, tool) if over else 0.0


def _turned(body: Body, motion: Motion) -> float:
    """Yaw of a thing in the hand against how it lay in the donor's scene: fingers align it, in part, and grip it as
    well turned by half a turn. Where that was not seen: as it lies."""
    if body.turn is None:
        return motion.yaw
    half = np.pi * round(motion.yaw / np.pi)
    return body.turn + half + (1.0 - ALIGNS) * (motion.yaw - half)
