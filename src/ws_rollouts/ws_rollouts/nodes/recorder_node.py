"""The recorder: one bag per episode from the topics, announced when it is whole."""

from __future__ import annotations

import importlib
import os
import resource
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ws_interfaces.msg import Rollout
from ws_node.options import option
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_rollouts.recorder import Recorder, RecorderOptions, claim
from ws_rollouts.recovery import recover
from ws_rollouts.schema import CAMERA_TOPICS, POLICY_TOPICS, ROBOT_TOPICS, Topic
from ws_rollouts.summary import Summary

_TICK = 0.1  # s


@dataclass(frozen=True)
class NodeOptions(RecorderOptions):
    """The core's options, where to record, and what beside the policy's topics."""

    run_dir: str = option("", "existing folder of the run; bags go to <run_dir>/bags")
    record_robot: bool = option(True, "record joint states, commands, tf and diagnostics")
    record_cameras: bool = option(True, "record the compressed camera streams; the cameras then encode JPEG")


class RecorderNode(Node):
    """Raw subscriptions in, `rollouts/recorded` out."""

    def __init__(self) -> None:
        super().__init__("recorder")
        options = declare(self, NodeOptions)
        bags = self._bags_folder(options.run_dir)
        self._lock = claim(bags)
        latched = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE,
                             durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._rollouts = self.create_publisher(Rollout, "rollouts/recorded", latched)
        self._recover(bags)
        topics = [*POLICY_TOPICS, *(ROBOT_TOPICS if options.record_robot else ()),
                  *(CAMERA_TOPICS if options.record_cameras else ())]
        resolved = [replace(topic, name=self.resolve_topic_name(topic.name)) for topic in topics]
        self._recorder = Recorder(bags, resolved, options, self._announce)
        for topic in resolved:
            self._subscribe(topic)
        self.create_timer(_TICK, self._recorder.tick)
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
        for found in recover(bags):
            self.get_logger().warning(f"recovered {found.episode_id}: {found.lost or 'nothing lost'}")
            if found.summary is not None:
                self._announce(found.summary)

    def _subscribe(self, topic: Topic) -> None:
        reliability = ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT
        durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=topic.depth, reliability=reliability, durability=durability)
        callback = partial(self._on_raw, topic.name)
        self.create_subscription(message_class(topic.type), topic.name, callback, qos, raw=True)

    def _on_raw(self, topic: str, raw: bytes) -> None:
        self._recorder.on_message(topic, raw, self.get_clock().now().nanoseconds)

    def _announce(self, summary: Summary) -> None:
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
        values = {"episode": recorder.episode_id, **asdict(recorder.counters), "peak_rss_mib": f"{rss_mib:.0f}"}
        if recorder.error:
            return ERROR, recorder.error, values
        if recorder.counters.missing_frames or recorder.counters.gaps:
            return WARN, "messages were lost", values
        return OK, "recording" if recorder.episode_id else "waiting for an episode", values

    def close(self) -> None:
        """Finish the open bag and let go of the folder."""
        self._recorder.close()
        os.close(self._lock)


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
