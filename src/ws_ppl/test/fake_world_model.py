"""A node in a process of its own that announces the synthetic bags of a folder and says what its gates are.

python fake_world_model.py FOLDER GATE [RELOCATION_GATE [RELOCATION_REASON]]
"""

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
    said = dict(zip(("gate", "relocation_gate", "relocation_reason"), sys.argv[2:], strict=False))
    node.create_timer(0.2, lambda: status.publish(WorldModelStatus(version=1, **said)))
    rclpy.spin(node)


if __name__ == "__main__":
    main()
