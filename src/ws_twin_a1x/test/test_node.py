"""The node in a process of its own: topics, QoS and units of the vendor and of realsense2_camera, and its services."""

import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from ws_interfaces.msg import TaskState  # noqa: E402
from ws_interfaces.srv import ResetWorld  # noqa: E402
from ws_node.qos import best_effort, latched  # noqa: E402
from ws_node.testing import end_node, free_domain, refusal, start_node  # noqa: E402

BEST_EFFORT, PATIENCE = best_effort(5), 30.0  # s


@pytest.fixture(scope="module")
def domain():
    return free_domain()


def start(domain, *parameters):
    return start_node("ws_twin_a1x.nodes.twin_node", *parameters, domain=domain, words=("-r", "__ns:=/a1x"))


class Probe:
    """A node of the test's own: keeps the last message of each topic."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.last, self.count = {}, {}
        self.arm = self.node.create_publisher(JointState, "/a1x/motion_target/target_joint_state_arm", 1)

    def listen(self, kind, topic, qos=BEST_EFFORT):
        self.count[topic] = 0

        def keep(message):
            self.last[topic] = message
            self.count[topic] += 1

        self.node.create_subscription(kind, topic, keep, qos)

    def until(self, condition, patience=PATIENCE):
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"waited {patience:g} s in vain; heard {self.count}"
            self.executor.spin_once(timeout_sec=0.05)

    def next(self, topic):
        count = self.count[topic]
        self.until(lambda: self.count[topic] > count)
        return self.last[topic]

    def call(self, kind, service, **fields):
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(kind.Request(**fields))
        self.until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


FEEDBACK, STATE, SIDE = "/a1x/hdas/feedback_arm", "/a1x/task/state", "/a1x/side_camera/color/image_raw"


@pytest.fixture(scope="module")
def twin(domain):
    process, probe = start(domain, "seed:=7"), Probe(domain)
    probe.listen(JointState, FEEDBACK)
    probe.listen(TaskState, STATE)
    probe.next(FEEDBACK)
    yield probe
    probe.close()
    end_node(process, signal.SIGTERM)


def test_arm_feedback_is_the_vendors(twin):
    message = twin.next(FEEDBACK)
    assert list(message.name) == [f"arm_joint{i}" for i in range(1, 7)] + ["gripper_joint"]
    assert len(message.position) == len(message.velocity) == len(message.effort) == 7
    publisher = twin.node.get_publishers_info_by_topic(FEEDBACK)[0].qos_profile
    assert publisher.reliability == ReliabilityPolicy.RELIABLE
    assert publisher.durability == DurabilityPolicy.VOLATILE
    twin.listen(JointState, "/a1x/hdas/feedback_gripper", latched())
    assert 0.0 <= twin.next("/a1x/hdas/feedback_gripper").position[0] <= 100.0


def test_commands_are_taken_best_effort_as_the_vendor_does(twin):
    for topic in ("target_joint_state_arm", "target_position_gripper"):
        subscriber = twin.node.get_subscriptions_info_by_topic(f"/a1x/motion_target/{topic}")[0].qos_profile
        assert subscriber.reliability == ReliabilityPolicy.BEST_EFFORT
        assert subscriber.durability == DurabilityPolicy.VOLATILE


@pytest.mark.parametrize("view", ["side", "wrist"])
def test_camera_topics_are_those_of_realsense(twin, view):
    base, frame = f"/a1x/{view}_camera/color", f"{view}_camera_color_optical_frame"
    infos = {}
    twin.node.create_subscription(CameraInfo, f"{base}/camera_info",
                                  lambda m: infos.update({(m.header.stamp.sec, m.header.stamp.nanosec): m}), 10)
    twin.listen(Image, f"{base}/image_raw")
    image = twin.next(f"{base}/image_raw")
    assert (image.width, image.height, image.step, image.encoding) == (424, 240, 1272, "rgb8")
    assert image.header.frame_id == frame and len(image.data) == 240 * 1272
    assert np.frombuffer(image.data, np.uint8).std() > 10
    key = lambda m: (m.header.stamp.sec, m.header.stamp.nanosec)  # noqa: E731
    twin.until(lambda: key(twin.last[f"{base}/image_raw"]) in infos)
    info = infos[key(twin.last[f"{base}/image_raw"])]
    assert info.header.frame_id == frame and info.distortion_model == "plumb_bob" and list(info.d) == [0.0] * 5
    assert list(info.k) == [306.20, 0, 209.13, 0, 305.32, 118.89, 0, 0, 1]
    assert twin.node.get_publishers_info_by_topic(f"{base}/image_raw")[0].qos_profile.reliability == (
        ReliabilityPolicy.RELIABLE)


@pytest.mark.parametrize("view", ["side", "wrist"])
def test_depth_is_that_of_a_color_frame(twin, view):
    base, depth_base = f"/a1x/{view}_camera/color", f"/a1x/{view}_camera/aligned_depth_to_color"
    stamps = {"color": set(), "info": set()}
    key = lambda m: (m.header.stamp.sec, m.header.stamp.nanosec)  # noqa: E731
    twin.node.create_subscription(Image, f"{base}/image_raw", lambda m: stamps["color"].add(key(m)), 20)
    twin.node.create_subscription(CameraInfo, f"{depth_base}/camera_info", lambda m: stamps["info"].add(key(m)), 20)
    twin.listen(Image, f"{depth_base}/image_raw")
    twin.next(f"{depth_base}/image_raw")  # its color frame may have come before anybody listened
    depth = twin.next(f"{depth_base}/image_raw")
    assert (depth.width, depth.height, depth.step, depth.encoding) == (424, 240, 848, "16UC1")
    assert depth.header.frame_id == f"{view}_camera_color_optical_frame" and not depth.is_bigendian
    millimetres = np.frombuffer(depth.data, "<u2").reshape(240, 424)
    assert millimetres[millimetres > 0].min() > 50 and millimetres.max() < 10_000
    twin.until(lambda: key(depth) in stamps["color"] & stamps["info"])


def test_jpeg_is_there_for_who_asks(twin):
    twin.listen(CompressedImage, SIDE + "/compressed")
    message = twin.next(SIDE + "/compressed")
    assert message.format == "rgb8; jpeg compressed bgr8"
    assert bytes(message.data[:2]) == b"\xff\xd8"


def test_the_cameras_frames_hang_on_the_arm(twin):
    twin.listen(TFMessage, "/tf_static", latched())
    twin.until(lambda: "/tf_static" in twin.last)
    parents = {t.child_frame_id: t.header.frame_id for t in twin.last["/tf_static"].transforms}
    for view, mount in (("side", "base_link"), ("wrist", "gripper_link")):
        assert parents[f"{view}_camera_color_optical_frame"] == f"{view}_camera_color_frame"
        assert parents[f"{view}_camera_color_frame"] == f"{view}_camera_link"
        assert parents[f"{view}_camera_link"] == mount


def command(position, speed):
    return JointState(position=[float(v) for v in position], velocity=[float(v) for v in speed])


def test_a_command_moves_the_arm_and_bad_ones_do_not(twin):
    twin.until(lambda: twin.arm.get_subscription_count() > 0)
    home = np.array(twin.next(FEEDBACK).position[:6])
    for bad in (command([np.nan] * 6, [1] * 6), command([0] * 5, [1] * 6), command([0] * 6, []),
                command([0.5] * 6, [0] * 6)):  # the last is in order, but its speed of zero stalls
        twin.arm.publish(bad)
        for _ in range(20):
            twin.next(FEEDBACK)
        assert np.abs(np.array(twin.last[FEEDBACK].position[:6]) - home).max() < 1e-3
    goal = home + [0.1, 0.05, -0.05, 0.0, 0.1, -0.1]
    twin.arm.publish(command(goal, [1] * 6))
    twin.until(lambda: np.abs(np.array(twin.last[FEEDBACK].position[:6]) - goal).max() < 2e-3)


def test_reset_world_places_the_objects_by_seed(twin):
    def place(seed):
        response = twin.call(ResetWorld, "/a1x/twin/reset_world", seed=seed)
        assert response.success, response.message
        world = int(response.message.split()[-1])
        twin.until(lambda: twin.last[STATE].world == world)
        state = twin.last[STATE]
        assert state.task == "pushing" and state.header.frame_id == "base_link" and not state.success
        assert list(state.names) == ["lever", "toaster"]
        return np.array([(p.position.x, p.position.y, p.position.z) for p in state.poses])

    twin.next(STATE)
    first, second, again = place(1), place(2), place(1)
    # the lever springs into its rest within the first ticks, of which any may have been published
    assert np.abs(first - again).max() < 1e-3 < np.abs(first - second).max()
    assert np.abs(place(-1) - place(-1)).max() > 1e-3
    assert not twin.call(ResetWorld, "/a1x/twin/reset_world", seed=-2).success


def test_pause_and_single_steps():
    domain = free_domain()  # there is one twin in the other already
    process, probe = start(domain, "publish_clock:=true", "real_time_factor:=2.0"), Probe(domain)
    try:
        probe.listen(JointState, FEEDBACK, 10)
        probe.next(FEEDBACK)
        assert not probe.call(Trigger, "/a1x/twin/step_simulation").success
        assert probe.call(SetBool, "/a1x/twin/set_pause", data=True).success
        before = probe.call(Trigger, "/a1x/twin/step_simulation")
        after = probe.call(Trigger, "/a1x/twin/step_simulation")
        first, second = (float(r.message.split()[1]) for r in (before, after))
        assert second - first == pytest.approx(0.1)

        def stamp():
            header = probe.last[FEEDBACK].header.stamp
            return header.sec + 1e-9 * header.nanosec

        probe.until(lambda: stamp() == pytest.approx(second, abs=1e-6))  # simulated time, and not beyond it
        assert probe.call(SetBool, "/a1x/twin/set_pause", data=False).success
        probe.until(lambda: stamp() > second + 0.2)
    finally:
        probe.close()
        end_node(process, signal.SIGINT)


@pytest.mark.parametrize(("parameter", "text"), [
    ("task:=baking", "task = 'baking': must be one of"),
    ("camera_rate:=-1.0", "camera_rate = -1.0"),
    ("feedback_rate:=fast", "feedback_rate = 'fast'"),
])
def test_wrong_options_end_the_node_with_a_message(parameter, text):
    assert text in refusal(start(free_domain(), parameter))
