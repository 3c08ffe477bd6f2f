"""What a step sends: the command first, then the record of what was seen and done, all with one stamp."""

from __future__ import annotations

import time

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float32

from ws_interfaces.msg import Step
from ws_node.conversions import to_time
from ws_policy.nodes import messages
from ws_policy.observation import Observation
from ws_policy.statistics import Window
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task


class StepOutput:
    """Publishers of commands and steps; measures the control period and the way from image to command, in ms."""

    def __init__(self, node: Node, task: Task, command_period: float):
        self.period, self.latency = Window(), Window()
        self._node, self._task = node, task
        self._speed = np.asarray(task.action_scale) / command_period  # m/s of a full action
        self._stepped = self._target = None
        reliable = QoSProfile(depth=50)
        self._twists = node.create_publisher(TwistStamped, "a1x/servo/delta_twist_cmds", 1)
        self._grippers = node.create_publisher(Float32, "a1x/gripper_command", 1)
        self._steps = node.create_publisher(Step, "policy/step", reliable)
        self._frames = {v: node.create_publisher(Image, f"policy/{v}/image_raw", reliable) for v in VIEWS}

    def recorder_listens(self) -> bool:
        """A node named recorder subscribes to the steps and to both views' frames: none of an episode is lost."""
        topics = [publisher.topic_name for publisher in (self._steps, *self._frames.values())]
        return all(any(end.node_name == "recorder" for end in self._node.get_subscriptions_info_by_topic(topic))
                   for topic in topics)

    def begin(self) -> None:
        """The next step is an episode's first."""
        self._stepped = self._target = None

    def command(self, action: np.ndarray, observation: Observation) -> int:
        """Send `action` (A,) to the driver; returns its stamp, ns."""
        stamp = self._clock()
        self._twists.publish(messages.twist_message(action[:-1] * self._speed, to_time(stamp)))
        opening = self._task.opening(action[-1])
        if opening is not None:
            self._grippers.publish(Float32(data=float(opening)))
        now = time.monotonic()
        self.latency.add(now, (self._clock() - min(observation.stamps.values())) * 1e-6)
        if self._stepped is not None:
            self.period.add(now, (now - self._stepped) * 1e3)
        self._stepped = now
        return stamp

    def record(self, observation: Observation, action: np.ndarray, target: np.ndarray, stamp: int = 0, **fields):
        """Publish frames and Step. `target` (3,) m is the driver's now; `fields` are Step's others; stamp 0 is now."""
        before = target if self._target is None else self._target
        moved = (target - before)[: len(self._task.action_scale)]
        executed = np.nan_to_num(moved / self._task.action_scale)
        self._target = target
        at = to_time(stamp or self._clock())
        for view, publisher in self._frames.items():  # before the step, which tells that they are there
            frame_id = f"{view}_camera_color_optical_frame"
            publisher.publish(messages.frame_message(observation.frames[view], at, frame_id))
        self._steps.publish(messages.step_message(observation, action, executed, at, task=self._task.name, **fields))

    def _clock(self) -> int:
        return self._node.get_clock().now().nanoseconds
