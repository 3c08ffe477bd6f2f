"""Plays a bag's messages onto their topics, where `ros2 bag play` is not installed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ws_node.options import option
from ws_node.ros import declare
from ws_node.ros import main as run_node
from ws_rollouts.nodes.recorder_node import message_class
from ws_rollouts.reader import Raw, mcap_path, read_messages
from ws_rollouts.recovery import known_topic
from ws_rollouts.schema import Topic

_TICK = 0.005  # s


@dataclass(frozen=True)
class ReplayOptions:
    """What to play and how."""

    bag: str = option("", "folder of the bag")
    rate: float = option(1.0, "speed, 1 as recorded", low=0.01, high=100.0)
    loop: bool = option(False, "begin again at the end")
    discovery_wait: float = option(1.0, "time for subscribers to find the topics", unit="s", low=0.0, high=60.0)


class ReplayNode(Node):
    """Publishes serialised messages in the order in which they were received."""

    def __init__(self) -> None:
        super().__init__("replay")
        self._options = declare(self, ReplayOptions)
        if not self._options.bag:
            raise ValueError("bag = '': must be the folder of a bag")
        messages = read_messages(mcap_path(Path(self._options.bag)))
        self._messages: list[Raw] = sorted(messages, key=lambda m: m.log_ns)
        if not self._messages:
            raise ValueError(f"{self._options.bag}: no messages")
        types = {message.topic: message.type for message in self._messages}
        self._out = {name: self._publisher(known_topic(name, kind)) for name, kind in types.items()}
        self._next = 0
        self._start = time.monotonic() + self._options.discovery_wait
        self.create_timer(_TICK, self._play)
        self.get_logger().info(f"playing {len(self._messages)} messages on {', '.join(sorted(types))}")

    def _publisher(self, topic: Topic):
        durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=topic.depth, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        return self.create_publisher(message_class(topic.type), topic.name, qos)

    def _play(self) -> None:
        played = (time.monotonic() - self._start) * self._options.rate * 1e9
        first = self._messages[0].log_ns
        while self._next < len(self._messages) and self._messages[self._next].log_ns - first <= played:
            message = self._messages[self._next]
            self._out[message.topic].publish(message.data)
            self._next += 1
        if self._next < len(self._messages):
            return
        if not self._options.loop:
            for publisher in self._out.values():
                publisher.wait_for_all_acked(Duration(seconds=1))
            self.context.try_shutdown()  # ends the node as a signal does
            return
        self._next = 0
        self._start = time.monotonic()


def main() -> None:
    """Entry point of `replay`."""
    run_node(ReplayNode)


if __name__ == "__main__":
    main()
