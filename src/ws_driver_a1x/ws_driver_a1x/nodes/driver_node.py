"""Node `driver`: the safety relay between delta commands and the A1X, or its twin, on the maker's topics."""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32
from std_srvs.srv import Trigger

from ws_driver_a1x import vendor
from ws_driver_a1x.kinematics import JOINTS
from ws_driver_a1x.nodes.broadcaster import Broadcaster
from ws_driver_a1x.options import DriverOptions
from ws_driver_a1x.relay import ACTIVE, FAULT, HOLD, MODE_NAMES, Refused, Relay
from ws_driver_a1x.reset import reset_joints
from ws_interfaces.msg import ServoState
from ws_node.conversions import from_time
from ws_node.polling import Polled
from ws_node.qos import best_effort
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_main
from ws_rollouts.task import load_task

RELIABLE = QoSProfile(depth=5)
GRIPPER_TICKS = 5  # the gripper's unchanged target is repeated this seldom; the maker ignores single ones
BASE = "base_link"


class DriverNode(Node):
    """Each tick: take the newest feedback, ask the relay, publish. Commands are handed to the relay as they come."""

    def __init__(self):
        super().__init__("driver")
        self.options = declare(self, DriverOptions)
        self.task = load_task(self.options.task)
        self.relay = Relay(self.options, self.task)
        self._rng = np.random.default_rng(self.options.seed)
        self._simulated = self.get_parameter("use_sim_time").value
        self._last, self._offset = -np.inf, 0.0
        self._stamp, self._opening, self._ticks, self._gripper_sent = Time(), 0.0, 0, None
        self._broadcaster = Broadcaster(self, self.relay.kinematics, self.options.camera_mounts)
        self._make_topics()
        for name in ("enable", "hold", "reset", "clear_fault", "estop"):
            self.create_service(Trigger, f"~/{name}", self._service(name))
        Diagnostics(self, self._report)
        self.create_timer(1.0 / self.options.tick_rate, self._tick)
        self.get_logger().info(f"driver for task {self.task.name}, locked; call ~/enable to move")

    def _make_topics(self) -> None:
        self._feedback = Polled(self, JointState, vendor.FEEDBACK_ARM, best_effort(1))
        by_topic = self.options.gripper_feedback == "gripper"
        self._gripper = Polled(self, JointState, vendor.FEEDBACK_GRIPPER, best_effort(1)) if by_topic else None
        self.create_subscription(TwistStamped, "servo/delta_twist_cmds", self._on_twist, RELIABLE)
        self.create_subscription(Float32, "gripper_command", self._on_gripper_command, RELIABLE)
        self._arm_out = self.create_publisher(JointState, vendor.TARGET_ARM, QoSProfile(depth=1))
        self._gripper_out = self.create_publisher(JointState, vendor.TARGET_GRIPPER, QoSProfile(depth=1))
        self._state_out = self.create_publisher(ServoState, "servo/state", RELIABLE)
        self._arm_message, self._gripper_message = JointState(name=list(JOINTS)), JointState(name=["gripper_joint"])
        self._state_message = ServoState()
        self._state_message.header.frame_id = BASE

    def _now(self) -> float:
        """Seconds that never go back: monotonic, or simulated time where that drives the twin."""
        now = self.get_clock().now().nanoseconds * 1e-9 if self._simulated else time.monotonic()
        if now + self._offset < self._last:  # the twin was started anew
            self._offset = self._last - now
        self._last = now + self._offset
        return self._last

    # --- in ---

    def _take_feedback(self, now: float) -> bool:
        message = self._feedback.newest()
        if self._gripper is not None and (gripper := self._gripper.newest()) is not None and gripper.position:
            self._set_opening(vendor.opening_from_stroke(gripper.position[0]))
        if message is None:
            return False
        self._stamp = message.header.stamp
        if self._gripper is None and len(message.position) > 6:
            self._set_opening(vendor.opening_from_raw(message.position[6]))
        self.relay.on_feedback(message.position[:6], message.velocity[:6], message.effort[:6], now)
        return True

    def _set_opening(self, opening: float) -> None:
        if np.isfinite(opening):
            self._opening = opening
        self.relay.on_gripper(opening)

    def _on_twist(self, message: TwistStamped) -> None:
        if message.header.frame_id not in ("", BASE) or self._too_old(message.header.stamp):
            self.relay.rejected += 1
            return
        linear, angular = message.twist.linear, message.twist.angular
        self.relay.on_command((linear.x, linear.y, linear.z), (angular.x, angular.y, angular.z), self._now())

    def _too_old(self, stamp: Time) -> bool:
        if not self.options.max_command_age or not (stamp.sec or stamp.nanosec):
            return False
        age = (self.get_clock().now().nanoseconds - from_time(stamp)) * 1e-9
        return age > self.options.max_command_age

    def _on_gripper_command(self, message: Float32) -> None:
        self.relay.on_gripper_command(message.data, self._now())

    def _service(self, name: str):
        calls = {"hold": lambda: self.relay.hold("asked to hold"),
                 "reset": lambda: self.relay.reset(reset_joints(self.relay.kinematics, self.task, self._rng))}
        call = calls.get(name, getattr(self.relay, name))

        def answer(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                call()
                response.success = True
            except Refused as refusal:
                response.message = str(refusal)
            response.message = response.message or MODE_NAMES[self.relay.mode]
            self.get_logger().info(f"{name}: {response.message}")
            return response

        return answer

    # --- out ---

    def _tick(self) -> None:
        now = self._now()
        fresh = self._take_feedback(now)
        mode = self.relay.mode
        target = self.relay.tick(now)
        if target is not None:
            self._publish_target(target)
        self._publish_state()
        if fresh and self.relay.measured is not None:
            self._broadcaster.publish(self._stamp, *self.relay.measured, self._opening)
        if self.relay.mode == FAULT != mode:
            self.get_logger().error(f"fault: {self.relay.reason}")
        self._ticks += 1

    def _publish_target(self, target) -> None:
        stamp = self.get_clock().now().to_msg()
        arm, gripper = self._arm_message, self._gripper_message
        arm.header.stamp = stamp
        arm.position, arm.velocity = target.position.tolist(), target.speed.tolist()
        self._arm_out.publish(arm)
        if target.gripper != self._gripper_sent or self._ticks % GRIPPER_TICKS == 0:
            gripper.header.stamp, gripper.position, self._gripper_sent = stamp, [target.gripper], target.gripper
            self._gripper_out.publish(gripper)

    def _publish_state(self) -> None:
        state, message = self.relay.state(), self._state_message
        message.header.stamp = self._stamp
        message.mode, message.reason, message.gripper = state.mode, state.reason, state.gripper
        message.position, message.rotation = state.position, state.rotation
        message.velocity, message.target = state.velocity, state.target
        message.accepted, message.rejected, message.clipped = state.accepted, state.rejected, state.clipped
        self._state_out.publish(message)

    def _report(self) -> tuple[bytes, str, dict]:
        relay = self.relay
        command_age, feedback_age = relay.ages(self._now())
        stale = feedback_age > self.options.feedback_timeout
        level = ERROR if relay.mode == FAULT or stale else WARN if relay.mode == HOLD else OK
        message = MODE_NAMES[relay.mode] + (f": {relay.reason}" if relay.reason and relay.mode != ACTIVE else "")
        values = {"command_age_s": round(command_age, 3), "feedback_age_s": round(feedback_age, 3),
                  "accepted": relay.accepted, "rejected": relay.rejected, "clipped": relay.clipped}
        return level, message, values


def main() -> None:
    """Entry point."""
    run_main(DriverNode)
