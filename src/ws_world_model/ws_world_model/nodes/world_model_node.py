"""World model node: follows rollouts/recorded and says on world_model/status what it does with them."""

from __future__ import annotations

from rclpy.node import Node

from ws_interfaces.msg import Rollout, WorldModelStatus
from ws_node.memory import rss_mib
from ws_node.qos import latched
from ws_node.ros import OK, Diagnostics
from ws_node.ros import main as run_node

OFF = "generation is off: this mode uses real data only"


class WorldModelNode(Node):
    """Generates nothing: the mode that runs uses real data only. It counts what it could have used."""

    def __init__(self):
        super().__init__("world_model")
        self._seen: set[str] = set()
        self.create_subscription(Rollout, "rollouts/recorded", self._on_rollout, latched(1000))
        self._status = self.create_publisher(WorldModelStatus, "world_model/status", 10)
        self.create_timer(1.0, self._report)
        self._diagnostics = Diagnostics(self, lambda: (OK, OFF, {"rollouts seen": len(self._seen)}))
        self.get_logger().info(OFF)

    def _on_rollout(self, message: Rollout) -> None:
        self._seen.add(message.episode_id)

    def _report(self) -> None:
        status = WorldModelStatus(state="off", reason=OFF, rollouts_seen=len(self._seen))
        status.header.stamp = self.get_clock().now().to_msg()
        status.rss_mib = rss_mib()
        self._status.publish(status)


def main() -> None:
    """Entry point of `world_model`."""
    run_node(WorldModelNode)
