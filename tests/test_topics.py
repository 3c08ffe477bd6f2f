"""Names, types, quality of service and encodings on the wire, in a namespace and on the twin's clock."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import LEFT_LIMIT, NODES, seed_demonstrations
from probe import BEST_EFFORT, LATCHED
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from ws_interfaces.msg import TaskState, WorldModelStatus
from ws_rollouts.bag import read_episode
from ws_rollouts.episode import VIEWS

pytestmark = pytest.mark.timeout(180)
SPACE = "/lab/left"
JOINTS = [f"arm_joint{i}" for i in range(1, 7)]
# topic in the graph's namespace -> type, node that publishes it, latched. All of them are reliable.
TOPICS = {
    "hdas/feedback_arm": ("sensor_msgs/msg/JointState", "twin", False),
    "hdas/feedback_gripper": ("sensor_msgs/msg/JointState", "twin", True),
    "motion_target/target_joint_state_arm": ("sensor_msgs/msg/JointState", "driver", False),
    "motion_target/target_position_gripper": ("sensor_msgs/msg/JointState", "driver", False),
    **{f"a1x/{v}_camera/color/image_raw": ("sensor_msgs/msg/Image", "twin", False) for v in VIEWS},
    **{f"a1x/{v}_camera/color/camera_info": ("sensor_msgs/msg/CameraInfo", "twin", False) for v in VIEWS},
    **{f"a1x/{v}_camera/aligned_depth_to_color/image_raw": ("sensor_msgs/msg/Image", "twin", False) for v in VIEWS},
    **{f"a1x/{v}_camera/aligned_depth_to_color/camera_info": ("sensor_msgs/msg/CameraInfo", "twin", False)
       for v in VIEWS},
    **{f"a1x/{v}_camera/color/image_raw/compressed": ("sensor_msgs/msg/CompressedImage", "twin", False)
       for v in VIEWS},
    "a1x/task/state": ("ws_interfaces/msg/TaskState", "twin", False),
    "a1x/servo/state": ("ws_interfaces/msg/ServoState", "driver", False),
    "a1x/servo/delta_twist_cmds": ("geometry_msgs/msg/TwistStamped", "policy", False),
    "a1x/gripper_command": ("std_msgs/msg/Float32", "policy", False),
    "joint_states": ("sensor_msgs/msg/JointState", "driver", False),
    "robot_description": ("std_msgs/msg/String", "driver", True),
    "joy": ("sensor_msgs/msg/Joy", "operator", False),
    "policy/step": ("ws_interfaces/msg/Step", "policy", False),
    **{f"policy/{v}/image_raw": ("sensor_msgs/msg/Image", "policy", False) for v in VIEWS},
    "policy/status": ("ws_interfaces/msg/PolicyStatus", "policy", False),
    "policy/weights": ("ws_interfaces/msg/PolicyWeights", "learner", True),
    "policy/weights_report": ("ws_interfaces/msg/WeightsReport", "policy", False),
    "rollouts/recorded": ("ws_interfaces/msg/Rollout", "recorder", True),
    "learner/status": ("ws_interfaces/msg/LearnerStatus", "learner", False),
    "world_model/status": ("ws_interfaces/msg/WorldModelStatus", "world_model", False),
    "rollouts/synthetic": ("ws_interfaces/msg/Rollout", "world_model", True),
    **{f"world_model/imagined/{v}/image_raw": ("sensor_msgs/msg/Image", "world_model", False) for v in VIEWS},
}
EVERYWHERE = {
    "/tf": ("tf2_msgs/msg/TFMessage", {"driver"}),
    "/tf_static": ("tf2_msgs/msg/TFMessage", {"driver", "twin"}),
    "/clock": ("rosgraph_msgs/msg/Clock", {"twin"}),
    "/diagnostics": ("diagnostic_msgs/msg/DiagnosticArray", set(NODES) - {"monitor"}),
}
SERVICES = [*(f"a1x/driver/{name}" for name in ("enable", "hold", "reset", "clear_fault", "estop")),
            *(f"a1x/twin/{name}" for name in ("reset_world", "set_pause", "step_simulation")),
            *(f"policy/{name}" for name in ("success", "failure", "abort"))]


@pytest.fixture(scope="module")
def probe(make_graph, make_probe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("topics") / "run"
    seed_demonstrations(folder)
    probe = make_probe(make_graph(f"namespace:={SPACE}", "use_sim_time:=true", folder=folder), SPACE)
    probe.running_episode(60.0)
    world_model = probe.hear("world_model/status", WorldModelStatus)
    for heard, name in ((probe.learner, "learner"), (world_model, "world model")):  # they get what others leave
        probe.wait_for(lambda heard=heard: heard.last, 30.0, f"the {name}, which starts late")
    return probe


def one(probe, topic, kind, qos=BEST_EFFORT):
    heard = probe.hear(topic, kind, qos)
    return probe.wait_for(lambda: heard.last, 5.0, f"a message on {topic}")


def stamp(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


@pytest.mark.parametrize("topic", TOPICS)
def test_topic_has_its_type_quality_and_one_publisher(probe, topic):
    kind, name, latched = TOPICS[topic]
    publishers = probe.node.get_publishers_info_by_topic(f"{SPACE}/{topic}")
    assert [p.node_name for p in publishers] == [name]
    publisher = publishers[0]
    assert publisher.topic_type == kind
    assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    wanted = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    assert publisher.qos_profile.durability == wanted


@pytest.mark.parametrize("topic", EVERYWHERE)
def test_topic_that_no_namespace_moves(probe, topic):
    kind, names = EVERYWHERE[topic]
    publishers = probe.node.get_publishers_info_by_topic(topic)
    assert {p.topic_type for p in publishers} == {kind}
    assert {p.node_name for p in publishers} == names


def test_no_topic_but_these(probe):
    names = {name for name, _ in probe.node.get_topic_names_and_types()}
    known = {f"{SPACE}/{t}" for t in TOPICS} | set(EVERYWHERE) | {"/rosout", "/parameter_events"}
    assert names - known <= {f"{SPACE}/parameter_events"}


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_there(probe, service):
    assert f"{SPACE}/{service}" in dict(probe.node.get_service_names_and_types())


def test_nodes_are_where_they_belong(probe):
    nodes = {f"{space.rstrip('/')}/{name}" for name, space in probe.node.get_node_names_and_namespaces()}
    robot = {"twin", "driver"}
    wanted = {f"{SPACE}/{'a1x/' if name in robot else ''}{name}" for name in NODES}
    assert wanted <= nodes


def test_the_makers_topics(probe):
    arm = one(probe, "hdas/feedback_arm", JointState)
    assert list(arm.name) == [*JOINTS, "gripper_joint"]
    assert len(arm.position) == len(arm.velocity) == len(arm.effort) == 7
    assert -2.831 <= arm.position[6] <= 0.001
    assert 0.0 <= one(probe, "hdas/feedback_gripper", JointState).position[0] <= 100.0
    target = one(probe, "motion_target/target_joint_state_arm", JointState)
    assert len(target.position) == len(target.velocity) == 6 and min(target.velocity) > 0.0
    assert 0.0 <= one(probe, "motion_target/target_position_gripper", JointState).position[0] <= 100.0


@pytest.mark.parametrize("view", VIEWS)
def test_depth_is_aligned_to_color(probe, view):
    depth = one(probe, f"a1x/{view}_camera/aligned_depth_to_color/image_raw", Image)
    info = one(probe, f"a1x/{view}_camera/aligned_depth_to_color/camera_info", CameraInfo)
    assert (depth.encoding, depth.width, depth.height, depth.step) == ("16UC1", 424, 240, 2 * 424)
    assert {m.header.frame_id for m in (depth, info)} == {f"{view}_camera_color_optical_frame"}
    assert (info.width, info.height) == (424, 240)


@pytest.mark.parametrize("view", VIEWS)
def test_a_camera_speaks_as_realsense_does(probe, view):
    image = one(probe, f"a1x/{view}_camera/color/image_raw", Image)
    info = one(probe, f"a1x/{view}_camera/color/camera_info", CameraInfo)
    jpeg = one(probe, f"a1x/{view}_camera/color/image_raw/compressed", CompressedImage)
    frame = f"{view}_camera_color_optical_frame"
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 424, 240, 3 * 424)
    assert {m.header.frame_id for m in (image, info, jpeg)} == {frame}
    assert (info.width, info.height, info.distortion_model, list(info.d)) == (424, 240, "plumb_bob", [0.0] * 5)
    assert info.k[0] > 0 and info.p[0] == info.k[0]
    assert jpeg.format.startswith("rgb8; jpeg") and bytes(jpeg.data[:3]) == b"\xff\xd8\xff"


def test_the_robot_as_others_see_it(probe):
    states = one(probe, "joint_states", JointState)
    description = ElementTree.fromstring(one(probe, "robot_description", String, LATCHED).data)
    movable = {j.get("name") for j in description.findall("joint") if j.get("type") != "fixed"}
    assert set(states.name) == movable and len(states.position) == len(states.name)


def test_frames_form_one_tree(probe):
    still, moving = probe.hear("/tf_static", TFMessage, LATCHED), probe.hear("/tf", TFMessage)

    def tree():
        messages = [m.content for m in still.update() + moving.update()]
        return {t.child_frame_id: t.header.frame_id for m in messages for t in m.transforms}

    def root(frame, parents):
        for _ in parents:  # a loop has no root
            frame = parents.get(frame, frame)
        return frame

    def whole():  # the still frames may be heard before the first moving ones
        parents = tree()
        return all(root(frame, parents) == "base_link" for frame in (*lenses, "gripper_link", *parents))

    lenses = [f"{view}_camera_color_optical_frame" for view in VIEWS]
    probe.wait_for(whole, 5.0, "one tree of all frames")
    assert len({(t.child_frame_id, t.header.frame_id) for m in still.update() for t in m.content.transforms}) == len(
        {t.child_frame_id for m in still.update() for t in m.content.transforms}), "a frame has two parents"


def test_all_stamps_follow_the_twins_clock(probe):
    def now():
        clock = one(probe, "/clock", Clock).clock
        return clock.sec + 1e-9 * clock.nanosec

    assert now() < 600.0
    for topic, kind in (("hdas/feedback_arm", JointState), ("joint_states", JointState), ("a1x/task/state", TaskState)):
        assert abs(stamp(one(probe, topic, kind)) - now()) < 5.0, topic
    heard = probe.hear("/diagnostics", DiagnosticArray)
    probe.wait_for(lambda: len(heard.update()) > 2 * len(NODES), 8.0, "diagnostics of all nodes")
    newest = now()
    late = {m.content.status[0].name for m in heard.update() if abs(stamp(m.content) - newest) > 10.0}
    assert not late
    probe.running_episode()
    step, newest = probe.steps.last, now()
    assert abs(stamp(step) - newest) < 5.0
    assert all(abs(seen.sec - newest) < 5.0 for seen in (step.side_stamp, step.wrist_stamp))


def test_a_step_says_what_it_must(probe):
    step = probe.steps.last
    assert re.fullmatch(r"pushing-\d{8}T\d{6}-[0-9a-f]{6}-\d{6}", step.episode_id)
    assert (step.task, len(step.state), len(step.action), len(step.executed)) == ("pushing", 13, 4, 3)
    assert np.abs(step.action).max() <= 1.0
    frame = one(probe, "policy/side/image_raw", Image)
    assert (frame.encoding, frame.width, frame.height) == ("rgb8", 64, 64)


def test_simulated_time_records_and_learns_too(probe):
    before = probe.learner.last.learner_step
    episode = read_episode(probe.finish_episode().uri, rgbd=True)
    assert 0.05 < np.diff(episode.stamp).mean() * 1e-9 < 0.2
    assert not episode.problems
    for stream in episode.rgbd.values():
        assert len(stream) >= 2 and stream.stamp[0] <= episode.stamp[0] < stream.stamp[1]
    assert set(episode.rgbd) == set(VIEWS)
    probe.wait_for(lambda: probe.learner.last.learner_step > before, LEFT_LIMIT, "more updates")
