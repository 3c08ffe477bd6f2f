"""The driver's process against an arm that only pretends, over real topics and services."""

import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("ws_interfaces.msg")

from geometry_msgs.msg import TwistStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from ws_interfaces.msg import ServoState  # noqa: E402
from ws_node.qos import best_effort, latched  # noqa: E402
from ws_node.testing import domain_environment, end_node, free_domain, refusal, start_node  # noqa: E402
from ws_rollouts.task import load_task  # noqa: E402

DRIVER = "ws_driver_a1x.nodes.driver_node"


class Arm(Node):
    """Vendor's driver and tracker, as far as ours can tell; 100 Hz. It goes a third of the way to its target."""

    def __init__(self):
        super().__init__("arm")
        self.joints = np.array(load_task("pushing").reset_joints)
        self.goal, self.alive = self.joints, True
        self.targets, self.seen = [], {}
        self._feedback = self.create_publisher(JointState, "hdas/feedback_arm", 1)
        self._gripper = self.create_publisher(JointState, "hdas/feedback_gripper", latched())
        self.twists = self.create_publisher(TwistStamped, "servo/delta_twist_cmds", 1)
        self.create_subscription(JointState, "motion_target/target_joint_state_arm", self._on_target, best_effort(1))
        for kind, topic, qos in ((ServoState, "servo/state", 5), (JointState, "joint_states", 5), (TFMessage, "/tf", 5),
                                 (TFMessage, "/tf_static", latched()), (String, "robot_description", latched())):
            self.create_subscription(kind, topic, lambda m, t=topic: self.seen.__setitem__(t, m), qos)
        self.services_of = {n: self.create_client(Trigger, f"driver/{n}") for n in ("enable", "reset", "estop")}
        self.create_timer(0.01, self._feed)

    def _on_target(self, message):
        self.goal = np.array(message.position)
        self.targets.append((time.monotonic(), message))

    def _feed(self):
        if self.alive:
            step = (self.goal - self.joints) / 3
            self.joints = self.joints + step
            message = JointState(position=[*self.joints, 0.0], velocity=[*step / 0.01, 0.0], effort=[0.0] * 7)
            message.header.stamp = self.get_clock().now().to_msg()
            self._feedback.publish(message)
            self._gripper.publish(JointState(position=[40.0]))


class World:
    """The pretended arm, spun here, and the driver's process."""

    def __init__(self, domain: int):
        self.process = start_node(DRIVER, domain=domain)
        self.arm = Arm()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.arm)

    def spin(self, until, seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "not within its time"
            self._executor.spin_once(timeout_sec=0.05)

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.spin(lambda: time.monotonic() >= end, seconds + 5)

    def call(self, name: str) -> Trigger.Response:
        client = self.arm.services_of[name]
        self.spin(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.spin(future.done)
        return future.result()

    @property
    def state(self) -> ServoState | None:
        return self.arm.seen.get("servo/state")

    def reaches(self, mode: int) -> None:
        self.spin(lambda: self.state is not None and self.state.mode == mode)

    def close(self) -> None:
        try:
            end_node(self.process, signal.SIGINT, 10.0)
        finally:
            self.arm.destroy_node()


@pytest.fixture
def world(monkeypatch):
    domain = free_domain()
    for name, value in domain_environment(domain).items():
        monkeypatch.setenv(name, value)
    rclpy.init()
    made = World(domain)
    yield made
    try:
        made.close()
    finally:
        rclpy.try_shutdown()


def test_locked_then_moving_then_without_feedback_silent(world):
    world.spin(lambda: world.state is not None and world.state.gripper > 0.0)
    assert world.state.mode == ServoState.MODE_LOCKED and not world.arm.targets
    np.testing.assert_allclose(world.state.gripper, 0.4)
    assert world.call("enable").success
    world.spin(lambda: world.arm.targets)
    start = world.state.position[1]
    for _ in range(8):
        twist = TwistStamped()
        twist.header.frame_id, twist.twist.linear.y = "base_link", 0.05
        world.arm.twists.publish(twist)
        world.wait(0.1)
    assert world.state.position[1] > start + 0.015 and world.state.accepted >= 4
    for _, target in world.arm.targets:
        assert np.all(np.isfinite(target.position)) and min(target.velocity) > 0 and len(target.position) == 6

    assert set(world.arm.seen) == {"servo/state", "joint_states", "/tf", "/tf_static", "robot_description"}
    names = world.arm.seen["joint_states"].name
    assert names[0] == "arm_joint1" and names[-1] == "gripper_finger_joint2"
    np.testing.assert_allclose(world.arm.seen["joint_states"].position[6:], [0.02, -0.02])
    assert "<robot" in world.arm.seen["robot_description"].data
    static = [t.child_frame_id for t in world.arm.seen["/tf_static"].transforms]
    assert static == ["gripper_link"]  # the cameras' mounts are the twin's to publish

    world.arm.alive, stopped = False, time.monotonic()
    world.reaches(ServoState.MODE_HOLD)
    world.wait(0.5)
    assert world.arm.targets[-1][0] - stopped < 0.4


def test_reset_and_estop(world):
    world.spin(lambda: world.state is not None and np.any(world.state.position))
    assert not world.call("reset").success  # locked
    assert world.call("enable").success
    assert world.call("reset").success
    world.reaches(ServoState.MODE_RESETTING)
    world.spin(lambda: world.state.mode != ServoState.MODE_RESETTING)
    assert world.state.mode == ServoState.MODE_ACTIVE
    assert world.call("estop").success
    world.reaches(ServoState.MODE_FAULT)
    assert not world.call("enable").success


@pytest.mark.parametrize(("parameter", "words"), [
    ("max_lead:=9.0", ["max_lead", "0.05"]), ("task:=juggling", ["juggling", "pushing"]),
    ("tick_rate:=fast", ["tick_rate", "float"]), ("max_leed:=0.01", ["max_leed"]),
])
def test_wrong_parameters_end_the_process_with_a_clear_error(parameter, words):
    said = refusal(start_node(DRIVER, parameter, domain=free_domain()))
    assert all(word in said for word in words), said
