"""The recorder: one bag per episode from the topics, announced when it is whole."""

from __future__ import annotations

import importlib
import os
import resource
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ws_interfaces.msg import Rollout
from ws_node.options import option
from ws_node.polling import Polled
from ws_node.qos import latched
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_rollouts.recorder import Recorder, RecorderOptions, claim
from ws_rollouts.recovery import recover
from ws_rollouts.schema import CAMERA_TOPICS, POLICY_TOPICS, RGBD_NEEDS, RGBD_TOPICS, ROBOT_TOPICS, Topic
from ws_rollouts.summary import Summary

_PERIOD = 0.1  # s between looks at the topics; every queue holds more than comes in that time


@dataclass(frozen=True)
class NodeOptions(RecorderOptions):
    """The core's options, where to record, and what beside the policy's topics."""

    run_dir: str = option("", "existing folder of the run; bags go to <run_dir>/bags")
    record_robot: bool = option(True, "record joint states, commands, tf and diagnostics")
    record_cameras: bool = option(True, "record the compressed camera streams; the cameras then encode JPEG")
    record_depth: bool = option(True, "record full color frames with aligned depth, each depth_period")


class RecorderNode(Node):
    """Raw subscriptions in, `rollouts/recorded` out."""

    def __init__(self) -> None:
        super().__init__("recorder")
        options = declare(self, NodeOptions)
        bags = self._bags_folder(options.run_dir)
        self._lock = claim(bags)
        self._rollouts = self.create_publisher(Rollout, "rollouts/recorded", latched(1000))
        self._recover(bags)
        resolved = [replace(topic, name=self.resolve_topic_name(topic.name)) for topic in _topics(options)]
        self._recorder = Recorder(bags, resolved, options, self._announce)
        self._inputs = [(topic.name, self._subscribe(topic)) for topic in resolved]
        self._sim_time = self.get_parameter("use_sim_time").value
        self.create_timer(_PERIOD, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._warned = ""
        Diagnostics(self, self._report)

    @staticmethod
    def _bags_folder(run_dir: str) -> Path:
        if not run_dir:
            raise ValueError("run_dir = '': must be the folder of the run")
        if not Path(run_dir).is_dir():
            raise FileNotFoundError(f"run_dir = {run_dir!r}: no such folder")
        return Path(run_dir).resolve() / "bags"

    def _recover(self, bags: Path) -> None:
        try:
            recovered = recover(bags)
        except OSError as error:  # they stay open for the next start
            self.get_logger().error(f"open bags were not recovered: {error}")
            return
        for found in recovered:
            self.get_logger().warning(f"recovered {found.episode_id}: {found.lost or 'nothing lost'}")
            if found.summary is not None and found.summary.steps:
                self._announce(found.summary)

    def _subscribe(self, topic: Topic) -> Polled:
        reliability = ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT
        durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=topic.depth, reliability=reliability, durability=durability)
        return Polled(self, message_class(topic.type), topic.name, qos, raw=True)

    def _poll(self) -> None:
        now = self.get_clock().now().nanoseconds
        for name, messages in self._inputs:
            for taken in messages.take():
                self._recorder.on_message(name, taken.content, now if self._sim_time else taken.received_ns)
        self._recorder.tick()

    def _announce(self, summary: Summary) -> None:
        if not self.context.ok():  # on the way out: whoever comes next finds the bag in the folder
            return
        message = Rollout(episode_id=summary.episode_id, task=summary.task, uri=summary.uri, outcome=summary.outcome,
                          source=summary.source, steps=summary.steps, interventions=summary.interventions,
                          bytes=summary.bytes)
        message.header.stamp = self.get_clock().now().to_msg()
        self._rollouts.publish(message)
        self.get_logger().info(f"{summary.episode_id}: {summary.outcome}, {summary.steps} steps, {summary.bytes} bytes")

    def _report(self) -> tuple[bytes, str, dict]:
        recorder = self._recorder
        if recorder.error and recorder.error != self._warned:
            self.get_logger().error(recorder.error)
        self._warned = recorder.error
        rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        values = {"episode": recorder.episode_id, **asdict(recorder.counters), "depth": recorder.depth_status,
                  **recorder.depth.counts, "peak_rss_mib": f"{rss_mib:.0f}"}
        if recorder.error:
            return ERROR, recorder.error, values
        if recorder.counters.missing_frames or recorder.counters.gaps:
            return WARN, "messages were lost", values
        return OK, "recording" if recorder.episode_id else "waiting for an episode", values

    def close(self) -> None:
        """Finish the open bag and let go of the folder."""
        self._recorder.close()
        os.close(self._lock)


def _topics(options: NodeOptions) -> list[Topic]:
    """In the order in which they are read: when a step ends the episode, what the robot did until then is there."""
    robot = [topic for topic in ROBOT_TOPICS
             if options.record_robot or (options.record_depth and topic.name in RGBD_NEEDS)]
    return [*robot, *(CAMERA_TOPICS if options.record_cameras else ()), *POLICY_TOPICS,
            *(RGBD_TOPICS if options.record_depth else ())]


def message_class(msgtype: str) -> type:
    """The Python class of a type such as sensor_msgs/msg/Image. Raises ValueError when it is not installed."""
    package, _, name = msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"message type {msgtype} is not installed") from error


def main() -> None:
    """Entry point of `recorder`."""
    run_node(RecorderNode)


if __name__ == "__main__":
    main()
