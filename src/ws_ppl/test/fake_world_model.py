"""A node in a process of its own that says its gate is open and announces the synthetic bags of a folder."""

import sys
from pathlib import Path

import rclpy

from ws_interfaces.msg import Rollout, WorldModelStatus
from ws_node.qos import alive, latched


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("world_model")
    rollouts = node.create_publisher(Rollout, "rollouts/synthetic", latched(1000))
    status = node.create_publisher(WorldModelStatus, "world_model/status", alive())
    for bag in sorted(Path(sys.argv[1]).glob("[!.]*")):
        for _ in range(2):  # announced twice, as after a restart
            rollouts.publish(Rollout(episode_id=bag.name, uri=str(bag)))
    node.create_timer(0.2, lambda: status.publish(WorldModelStatus(gate=sys.argv[2], version=1)))
    rclpy.spin(node)


if __name__ == "__main__":
    main()
