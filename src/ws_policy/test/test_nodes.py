"""The policy and the operator node against a robot that only pretends, over real topics and services."""

import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("ws_interfaces.msg")

from geometry_msgs.msg import Pose, TwistStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ws_interfaces.msg import PolicyStatus, PolicyWeights, Rollout, ServoState, Step, TaskState, WeightsReport  # noqa: E402
from ws_interfaces.srv import ResetWorld  # noqa: E402
from ws_node.conversions import from_time  # noqa: E402
from ws_node.qos import latched  # noqa: E402
from ws_node.testing import domain_environment, free_domain  # noqa: E402
from ws_policy.networks import NetworkOptions, Policy  # noqa: E402
from ws_policy.nodes.messages import frame_message  # noqa: E402
from ws_policy.nodes.operator_node import OperatorNode  # noqa: E402
from ws_policy.nodes.policy_node import PolicyNode  # noqa: E402
from ws_policy.weights import arrays, pack  # noqa: E402
from ws_rollouts.episode import VIEWS  # noqa: E402
from ws_rollouts.task import load_task  # noqa: E402

TASK = load_task("pushing")
START, KNOB = np.array([0.26, 0.0, 0.22]), np.array([0.28, 0.01, 0.131])


class Robot(Node):
    """Driver, twin, cameras and learner in one, as far as the policy can tell. It moves as told at once."""

    def __init__(self):
        super().__init__("robot")
        self.mode, self.position, self.pressed = ServoState.MODE_LOCKED, START.copy(), 0.0
        self.worlds, self.blind, self._still = 0, False, None
        self.twists, self.steps, self.frames, self.statuses, self.reports = [], [], {v: [] for v in VIEWS}, [], []
        self._servo = self.create_publisher(ServoState, "a1x/servo/state", 10)
        self._task = self.create_publisher(TaskState, "a1x/task/state", 10)
        self._images = {v: self.create_publisher(Image, f"a1x/{v}_camera/color/image_raw", 5) for v in VIEWS}
        self._rollouts = self.create_publisher(Rollout, "rollouts/recorded", latched(10))
        self.weights = self.create_publisher(PolicyWeights, "policy/weights", latched(10))
        self.create_subscription(TwistStamped, "a1x/servo/delta_twist_cmds", self._on_twist, 10)
        self.create_subscription(PolicyStatus, "policy/status", self.statuses.append, 100)
        self.create_subscription(WeightsReport, "policy/weights_report", self.reports.append, 100)
        self.create_service(Trigger, "a1x/driver/enable", self._enable)
        self.create_service(Trigger, "a1x/driver/reset", self._reset)
        self.create_service(ResetWorld, "a1x/twin/reset_world", self._reset_world)
        self.create_timer(0.02, self._publish_state)
        self.create_timer(1 / 15, self._publish_frames)
        self._rng = np.random.default_rng(0)

    def _on_twist(self, twist):
        self.twists.append((time.monotonic(), twist))
        v = twist.twist.linear
        self.position += np.array([v.x, v.y, v.z]) * 0.1
        gap = self.position - (0, 0, 0.078) - KNOB
        if np.all(np.abs(gap[:2]) < (0.010, 0.017)):
            self.pressed = max(self.pressed, min(1.0, -gap[2] / 0.034))

    def take(self, step):
        self.steps.append(step)
        if step.terminated or step.truncated:
            outcome = "success" if step.reward > 0 else "timeout"
            first = next(s for s in self.steps if s.episode_id == step.episode_id)
            self._rollouts.publish(Rollout(episode_id=step.episode_id, task=step.task, outcome=outcome,
                                           source=first.source, steps=step.index))

    def _enable(self, _request, response):
        self.mode, response.success = ServoState.MODE_ACTIVE, True
        return response

    def _reset(self, _request, response):
        self.mode, self.position, response.success = ServoState.MODE_RESETTING, START.copy(), True
        self._still = self.create_timer(0.3, self._arrive)
        return response

    def _arrive(self):
        self.destroy_timer(self._still)
        self.mode = ServoState.MODE_ACTIVE

    def _reset_world(self, _request, response):
        self.worlds, self.pressed, response.success = self.worlds + 1, 0.0, True
        return response

    def _publish_state(self):
        state = ServoState(mode=self.mode, position=self.position, target=self.position)
        self._servo.publish(state)
        lever = Pose()
        lever.position.x, lever.position.y, lever.position.z = KNOB - (0, 0, 0.034 * max(0.0, self.pressed))
        self._task.publish(TaskState(task="pushing", world=self.worlds, success=self.pressed >= 1,
                                     progress=self.pressed, names=["lever"], poses=[lever]))

    def _publish_frames(self):
        if not self.blind:
            for publisher in self._images.values():
                pixels = self._rng.integers(0, 255, (240, 424, 3), dtype=np.uint8)
                publisher.publish(frame_message(pixels, self.get_clock().now().to_msg(), "camera"))

    def publish_weights(self, version, value=None):
        tensors = arrays(Policy(TASK, NetworkOptions()))
        if value is not None:
            next(iter(tensors.values())).fill(value)
        p = pack(tensors, "session", version, version)
        message = PolicyWeights(session=p.session, version=p.version, architecture=p.architecture, length=p.length,
                                sha256=p.sha256, data=p.data)
        message.header.stamp = self.get_clock().now().to_msg()
        self.weights.publish(message)


class Recorder(Node):
    """Listens for the robot."""

    def __init__(self, robot):
        super().__init__("recorder")
        self.create_subscription(Step, "policy/step", robot.take, 100)
        for view in VIEWS:
            self.create_subscription(Image, f"policy/{view}/image_raw", robot.frames[view].append, 100)


@pytest.fixture(autouse=True)
def _domain(monkeypatch):
    for name, value in domain_environment(free_domain()).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def graph():
    given = ("demonstrations:=1", "interventions:=false", "recorded:=true")
    rclpy.init(args=["--ros-args", *(word for value in given for word in ("-p", value))])
    executor, nodes = SingleThreadedExecutor(), []

    def join(node):
        nodes.append(node)
        executor.add_node(node)

    for kind in (Robot, PolicyNode, OperatorNode):
        join(kind())

    def until(done, limit=40.0):
        end = time.monotonic() + limit
        while not done():
            assert time.monotonic() < end, nodes[0].statuses[-1:]
            executor.spin_once(timeout_sec=0.05)

    yield nodes[0], until, join
    executor.shutdown()
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def test_demonstration_then_policy_then_a_blind_camera(graph):
    robot, until, join = graph
    until(lambda: robot.statuses and robot.statuses[-1].waiting_for == "the recorder")
    join(Recorder(robot))
    until(lambda: any(s.terminated for s in robot.steps))
    demonstration = list(robot.steps)
    _check_episode(robot, until, demonstration)
    assert {s.source for s in demonstration} == {Step.SOURCE_DEMONSTRATION}
    assert demonstration[-1].reward == 1.0
    moved = np.array([s.executed for s in demonstration[1:]])
    asked = np.array([s.action[:3] for s in demonstration[:-1]])
    assert np.allclose(moved.sum(axis=0), asked.sum(axis=0), atol=1e-3)

    until(lambda: robot.statuses[-1].waiting_for == "policy weights")
    assert robot.statuses[-1].demonstrations == 1 and robot.worlds == 2
    robot.publish_weights(1, value=np.nan)
    until(lambda: robot.reports)
    assert not robot.reports[-1].accepted and "finite" in robot.reports[-1].reason
    robot.publish_weights(2)
    until(lambda: len(robot.reports) == 2)
    assert robot.reports[-1].accepted
    until(lambda: len(robot.steps) > len(demonstration) + 5)
    assert robot.steps[-1].source == Step.SOURCE_POLICY and robot.steps[-1].weights_version == 2
    robot.publish_weights(3)
    until(lambda: robot.steps[-1].weights_version == 3)

    robot.blind, blind_since = True, time.monotonic()
    until(lambda: robot.steps[-1].truncated)
    ours = robot.steps[len(demonstration):]
    _check_episode(robot, until, ours)
    until(lambda: robot.statuses[-1].waiting_for.startswith("fresh frames"))
    assert robot.twists[-1][0] - blind_since < 0.7  # frames may be 0.5 s old, and the tick adds its period
    assert robot.statuses[-1].episodes == 1 and robot.statuses[-1].env_steps == ours[-1].index


def _check_episode(robot, until, steps):
    assert len({s.episode_id for s in steps}) == 1
    assert [s.index for s in steps] == list(range(len(steps)))
    assert not any(s.terminated or s.truncated or s.reward for s in steps[:-1])
    assert steps[-1].terminated != steps[-1].truncated and not np.any(steps[-1].action)
    assert not np.any(steps[0].executed)
    for view in VIEWS:
        frames = robot.frames[view]
        until(lambda frames=frames: any(f.header.stamp == steps[-1].header.stamp for f in frames))
        sizes = {from_time(f.header.stamp): f.height for f in frames}
        assert all(sizes[from_time(s.header.stamp)] == TASK.image_size for s in steps)


def test_a_robot_that_is_not_there_is_named():
    rclpy.init(args=[])
    node, executor, seen = PolicyNode(), SingleThreadedExecutor(), []
    node.create_subscription(PolicyStatus, "policy/status", seen.append, 10)
    executor.add_node(node)
    try:
        end = time.monotonic() + 10
        while not seen and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        assert seen and seen[-1].state == "waiting" and "servo/state" in seen[-1].waiting_for
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
