"""The scripted operator as a joystick: looks at the twin's ground truth, publishes joy."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Joy

from ws_interfaces.msg import PolicyStatus, ServoState, Step, TaskState
from ws_node.options import option
from ws_node.polling import Polled
from ws_node.qos import best_effort
from ws_node.ros import OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_policy.resets import WAIT_DEMONSTRATION
from ws_policy.skills import Poses
from ws_rollouts.task import load_task


@dataclass(frozen=True)
class NodeOptions:
    """The node's own options; the rule's stand beside them."""

    task: str = option("pushing", "name of the task")
    seed: int = option(0, "seed of the hand and of the rule", low=0, high=2**31 - 1)
    joy_rate: float = option(20.0, "rate of joy", unit="Hz", low=5.0, high=100.0)


class OperatorNode(Node):
    """Demonstrates when the policy waits for a demonstration, and intervenes by `ScriptedOperator`'s rule."""

    def __init__(self) -> None:
        super().__init__("operator")
        options = declare(self, NodeOptions)
        task = load_task(options.task)
        self._operator = ScriptedOperator(task, declare(self, OperatorOptions), options.seed)
        self._size = task.action_size
        self._episode = ""
        self._poses: Poses = {}
        self._progress = 0.0
        self._position: np.ndarray | None = None
        self._opening = 0.0
        self._task_states = Polled(self, TaskState, "a1x/task/state", best_effort(1))
        self._servo_states = Polled(self, ServoState, "a1x/servo/state", best_effort(1))
        self.create_subscription(Step, "policy/step", self._on_step, 10)
        self.create_subscription(PolicyStatus, "policy/status", self._on_status, 10)
        self._joy = self.create_publisher(Joy, "joy", 5)
        self.create_timer(1.0 / options.joy_rate, self._publish)
        Diagnostics(self, self._report)

    def _on_status(self, status: PolicyStatus) -> None:
        if status.waiting_for.startswith(WAIT_DEMONSTRATION):  # what went wrong before may follow
            if not self._operator.driving:
                self._operator.begin(demonstration=True)
        elif status.state != "running":
            self._operator.finish()

    def _on_step(self, step: Step) -> None:
        if step.terminated or step.truncated:
            self._operator.finish()
            return
        if step.episode_id != self._episode:
            self._episode = step.episode_id
            if step.source != Step.SOURCE_DEMONSTRATION:
                self._operator.begin(demonstration=False)
        if self._look():
            self._operator.advance(self._poses, self._progress, self._position, self._opening)

    def _look(self) -> bool:
        """Take the newest ground truth; whether there is all it needs."""
        if (state := self._task_states.newest()) is not None:
            self._poses = {name: _pose(pose) for name, pose in zip(state.names, state.poses, strict=True)}
            self._progress = state.progress
        if (servo := self._servo_states.newest()) is not None:
            self._position, self._opening = np.array(servo.position), servo.gripper
        return bool(self._poses) and self._position is not None and bool(np.isfinite(self._position).all())

    def _publish(self) -> None:
        action = self._operator.action(self._poses, self._position) if self._look() else None
        message = Joy(buttons=[int(action is not None), 0, 0])
        message.header.stamp = self.get_clock().now().to_msg()
        message.axes = array("f", (np.zeros(self._size, np.float32) if action is None else action).tobytes())
        self._joy.publish(message)

    def _report(self) -> tuple[bytes, str, dict]:
        values = {"driving": self._operator.driving}
        if not self._poses or self._position is None:
            return WARN, "waits for task/state and servo/state", values
        return OK, "driving" if self._operator.driving else "hands off", values


def _pose(pose) -> tuple[np.ndarray, np.ndarray]:
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z])


def main() -> None:
    """Entry point of `operator`."""
    run_node(OperatorNode)


if __name__ == "__main__":
    main()
