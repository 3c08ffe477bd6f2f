"""The arm's way from target to target: jerk-limited in tool space for commands, in joint space for reset and hold."""

from __future__ import annotations

from collections.abc import Sequence

import mink
import numpy as np

from ws_driver_a1x.kinematics import Kinematics
from ws_driver_a1x.options import RelayOptions
from ws_driver_a1x.rotations import rotation_vector
from ws_driver_a1x.stream import Stream, samples

PATH_SAMPLES = 24  # of a joint move, checked against the floor
STILL = np.zeros(6)


class Refused(Exception):
    """A request that is not followed; the message says why."""


class ArmMotion:
    """Produces the streamed joints, `position` (6,) rad.

    Commands move the tool on a line from target to target, so that it leaves neither its box nor its orientation in
    between; each tick's joints follow by one step of differential inverse kinematics.
    """

    def __init__(self, kinematics: Kinematics, options: RelayOptions):
        self._kinematics, self._options = kinematics, options
        self._joints = Stream([options.joint_acceleration] * 6, [options.joint_jerk] * 6, together=True)
        self._tool = Stream([options.linear_acceleration] * 3 + [options.angular_acceleration] * 3,
                            [options.linear_jerk] * 3 + [options.angular_jerk] * 3, together=False)
        self._tool_speed = [options.max_linear_speed] * 3 + [max(options.max_angular_speed, 0.1)] * 3
        self._top_speed = np.array(options.joint_speed)
        self.start(STILL)

    def start(self, joints: np.ndarray, velocity: np.ndarray = STILL) -> None:
        """Be at `joints`, at rest or at so many rad/s (6,)."""
        self.in_tool_space, self.off_path = False, False
        self._joints.start(joints)
        self.position, self.velocity, self._acceleration = np.array(joints, float), velocity, STILL

    def shift(self, joints: np.ndarray) -> None:
        """Be (6,) rad elsewhere, in the same motion; the course is to be set anew."""
        self.position = self.position + joints
        if self.in_tool_space:
            place = np.append(self._kinematics.forward(self.position)[0], self._tool.position[3:])
            self._tool.start(place, self._tool.velocity, self._tool.acceleration)
        else:
            self._joints.start(self.position, self.velocity, self._acceleration)

    def go_to_joints(self, joints: np.ndarray, speed: Sequence[float], floor: float | None = None) -> None:
        """Head for `joints` (6,); each joint no faster than `speed` (6,) rad/s.

        Raises Refused where there is no way, or none whose tool stays above `floor` m (or above its start).
        """
        self._leave_tool_space()
        trajectory = self._joints.plan(joints, speed)
        if trajectory is None:
            raise Refused("no way to the joints")
        if floor is not None:
            heights = [self._kinematics.forward(q)[0][2] for q in samples(trajectory, PATH_SAMPLES)]
            if min(heights) < min(floor, heights[0]) - 1e-3:
                raise Refused("the way there goes below the floor")
        self._joints.follow(trajectory, joints)

    def go_to_pose(self, position: np.ndarray, rotation: np.ndarray) -> bool:
        """Head for a pose of the tool, (3,) m and (3, 3); False leaves the old course as it was."""
        if not self.in_tool_space:
            self._enter_tool_space()
        return self._tool.aim(np.append(position, rotation_vector(rotation @ self._reference.T)), self._tool_speed)

    def advance(self, duration: float) -> np.ndarray:
        """Move on by `duration` s; the joints then, (6,)."""
        before, velocity = self.position, self.velocity
        if self.in_tool_space:
            if not self._tool.done and duration > 0.0:
                self.position = self._follow_tool(duration)
                self.velocity = (self.position - before) / duration
                self._acceleration = (self.velocity - velocity) / duration
            elif self._tool.done:
                self.velocity = self._acceleration = STILL
        else:
            self.position = self._joints.advance(duration)
            self.velocity, self._acceleration = self._joints.velocity, self._joints.acceleration
        return self.position

    @property
    def done(self) -> bool:
        return self._tool.done if self.in_tool_space else self._joints.done

    @property
    def joint_goal(self) -> np.ndarray:
        """Where the last joint move leads, (6,)."""
        return self._joints.goal

    def _follow_tool(self, duration: float) -> np.ndarray:
        joints = self._inverse(self._tool.peek(duration))
        ratio = np.max(np.abs(joints - self.position) / (self._top_speed * duration))
        if ratio > 1.0:  # go slower along the same line
            duration /= ratio
            joints = self._inverse(self._tool.peek(duration))
        pose = self._tool.advance(duration)
        step = duration * max(1.0, ratio) * self._top_speed
        joints = np.clip(joints, self.position - step, self.position + step)
        error = np.linalg.norm(self._kinematics.forward(joints)[0] - pose[:3])
        self.off_path = bool(error > self._options.ik_position_tolerance)
        return joints

    def _inverse(self, pose: np.ndarray) -> np.ndarray:
        rotation = mink.SO3.exp(pose[3:]).as_matrix() @ self._reference
        try:
            return self._kinematics.differential(self.position, pose[:3], rotation)
        except mink.NoSolutionFound:
            return self.position

    def _enter_tool_space(self) -> None:
        position, self._reference = self._kinematics.forward(self.position)
        pose = np.append(position, STILL[:3])
        jacobian = self._kinematics.jacobian(self.position)
        self._tool.start(pose, jacobian @ self.velocity, jacobian @ self._acceleration)
        self.in_tool_space = True

    def _leave_tool_space(self) -> None:
        if self.in_tool_space:
            self._joints.start(self.position, self.velocity, self._acceleration)
            self.in_tool_space, self.off_path = False, False
