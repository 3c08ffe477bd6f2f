"""What depth cameras saw survives a bag; what is not whole is left out and counted, and the steps stay readable."""

import dataclasses

import numpy as np
import pytest

from ws_rollouts import messages
from ws_rollouts.bag import read_episode, serialised, write_episode
from ws_rollouts.geometry import pose_of, quaternion_of
from ws_rollouts.metadata import read_information
from ws_rollouts.reader import mcap_path, read_messages
from ws_rollouts.rgbd_bag import ARM, FINGERS, rgbd_messages
from ws_rollouts.schema import CAMERA_INFO, COLOR_IMAGES, DEPTH_IMAGES, JOINT_STATES, TF_STATIC, Topic
from ws_rollouts.summary import Summary
from ws_rollouts.testing import make_episode, make_rgbd
from ws_rollouts.writer import BagWriter

TYPES = {"image_raw": "sensor_msgs/msg/Image", "camera_info": "sensor_msgs/msg/CameraInfo",
         "joint_states": "sensor_msgs/msg/JointState", "tf_static": "tf2_msgs/msg/TFMessage",
         "step": "ws_interfaces/msg/Step"}


def seen(**changes):
    episode = make_episode(9)
    episode.rgbd = make_rgbd(episode, **changes)
    return episode


def write_parts(bags, episode, parts, namespace=""):
    """A bag of hand-made messages: absolute topic, CDR, stamp."""
    writer = BagWriter(bags, episode.episode_id)
    for name, raw, stamp in parts:
        name = name if name == TF_STATIC else namespace + name
        writer.add_topic(Topic(name, TYPES[name.split("/")[-1]]))
        writer.write(name, raw, stamp)
    return writer.finish(Summary.of(episode).notes())


def edited(episode, topic, edit):
    """The depth part of the episode with `edit(index, message)` on one topic; None drops a message."""
    counts = {}
    for name, raw, stamp in rgbd_messages(episode.rgbd):
        index = counts[name] = counts.get(name, -1) + 1
        if name.endswith("/" + topic.lstrip("/")):
            message = edit(index, messages.decode(raw, TYPES[name.split("/")[-1]]))
            if message is None:
                continue
            raw = messages.encode(message)
        yield name, raw, stamp


def read_edited(tmp_path, topic, edit, episode=None):
    episode = episode or seen()
    parts = [*edited(episode, topic, edit), *serialised(episode)]
    return read_episode(write_parts(tmp_path, episode, parts), rgbd=True)


def assert_same_streams(one, other):
    assert one.keys() == other.keys()
    for view in one:
        for field in dataclasses.fields(one[view]):
            a, b = getattr(one[view], field.name), getattr(other[view], field.name)
            assert a.dtype == b.dtype and a.shape == b.shape, field.name
            if field.name == "mount":  # goes through a quaternion
                np.testing.assert_allclose(a, b, atol=1e-14)
            else:
                np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("views", [("side", "wrist"), ("side",), ("wrist",)])
def test_round_trip(tmp_path, views):
    for seed in range(4):
        episode = make_episode(11, episode_id=f"e{seed}", seed=seed)
        episode.rgbd = make_rgbd(episode, views, every=1 + seed, size=(24 + seed, 40), seed=seed)
        read = read_episode(write_episode(tmp_path, episode), rgbd=True)
        assert_same_streams(episode.rgbd, read.rgbd)
        assert read.problems == {f"{view}: no depth": 1 for view in ("side", "wrist") if view not in views}
        np.testing.assert_array_equal(read.state, episode.state)


def test_depth_is_read_only_when_it_is_asked_for(tmp_path):
    plain, rich = make_episode(9, episode_id="plain"), dataclasses.replace(seen(), episode_id="rich")
    folders = [write_episode(tmp_path, each) for each in (plain, rich)]
    for folder in folders:
        episode = read_episode(folder)
        assert not episode.rgbd and not episode.problems
        np.testing.assert_array_equal(episode.frames["side"], plain.frames["side"])
        assert read_information(folder)["custom_data"]["schema"] == "2" and "schema" not in episode.notes
    topics = {m.topic for m in read_messages(mcap_path(folders[1]))}
    assert {"/" + name for names in (COLOR_IMAGES, DEPTH_IMAGES, CAMERA_INFO) for name in names.values()} < topics
    assert {TF_STATIC, "/" + JOINT_STATES} < topics
    assert read_episode(folders[0], rgbd=True).problems == {"side: no depth": 1, "wrist: no depth": 1}


def test_a_namespace_changes_nothing(tmp_path):
    episode = seen()
    parts = [*rgbd_messages(episode.rgbd), *serialised(episode)]
    read = read_episode(write_parts(tmp_path, episode, parts, namespace="/lab/left"), rgbd=True)
    assert_same_streams(episode.rgbd, read.rgbd)


@pytest.mark.parametrize(("topic", "edit", "reason"), [
    (CAMERA_INFO["side"], lambda i, m: None, "no camera_info"),
    (CAMERA_INFO["side"], lambda i, m: dataclasses.replace(m, k=np.zeros(9)), "without focal length"),
    (CAMERA_INFO["side"], lambda i, m: dataclasses.replace(m, width=41), "differ in size"),
    (COLOR_IMAGES["side"], lambda i, m: None, "no color within 33 ms"),
    (DEPTH_IMAGES["side"], lambda i, m: dataclasses.replace(m, data=0 * m.data), "depth all zero"),
    (DEPTH_IMAGES["side"], lambda i, m: dataclasses.replace(m, encoding="32FC1"), "encoding '32FC1'"),
    (DEPTH_IMAGES["side"], lambda i, m: dataclasses.replace(m, height=23, data=m.data[:-80]), "differ in size"),
    (DEPTH_IMAGES["side"], lambda i, m: dataclasses.replace(m, data=m.data[:-2]), "do not fit"),
    (TF_STATIC, lambda i, m: dataclasses.replace(m, transforms=m.transforms[1:]), "no chain of fixed frames"),
])
def test_a_view_that_cannot_be_had_is_left_out_and_says_why(tmp_path, topic, edit, reason):
    read = read_edited(tmp_path, topic, edit)
    assert list(read.rgbd) == ["wrist"] and len(read) == 9
    [(text, count)] = read.problems.items()
    assert reason in text and text.startswith("side: ") and count == 4


@pytest.mark.parametrize(("topic", "edit", "reason"), [
    (COLOR_IMAGES["wrist"], lambda i, m: None if i == 2 else m, "no color within 33 ms"),
    (DEPTH_IMAGES["wrist"], lambda i, m: dataclasses.replace(m, data=0 * m.data) if i == 2 else m, "all zero"),
    (COLOR_IMAGES["wrist"], lambda i, m: dataclasses.replace(m, encoding="bgr8") if i == 2 else m, "encoding 'bgr8'"),
])
def test_an_exposure_that_is_not_whole_is_left_out(tmp_path, topic, edit, reason):
    episode = seen()
    read = read_edited(tmp_path, topic, edit, episode)
    assert read.rgbd["wrist"].stamp.tolist() == np.delete(episode.rgbd["wrist"].stamp, 2).tolist()
    assert len(read.rgbd["side"]) == 4
    assert list(read.problems.values()) == [1] and reason in next(iter(read.problems))


def test_without_joint_states_around_it_an_exposure_is_left_out(tmp_path):
    late = lambda i, m: m if messages.nanoseconds(m.header.stamp) > make_episode().stamp[5] else None  # noqa: E731
    read = read_edited(tmp_path / "late", JOINT_STATES, late)
    assert [len(read.rgbd[view]) for view in ("side", "wrist")] == [2, 2]
    assert read.problems == {"side: no joint state within 50 ms": 2, "wrist: no joint state within 50 ms": 2}
    none = read_edited(tmp_path / "none", JOINT_STATES, lambda i, m: None)
    assert not none.rgbd and sum(none.problems.values()) == 8
    strange = read_edited(tmp_path / "strange", JOINT_STATES, lambda i, m: dataclasses.replace(m, name=["a"] * 8))
    assert not strange.rgbd and strange.problems["joint_states: names or positions are missing"] == 8


def test_joints_are_interpolated_between_joint_states(tmp_path):
    """The robot tells its joints at 50 Hz, the cameras see at other times."""
    episode = seen()
    start = int(episode.stamp[0])
    parts = [p for p in rgbd_messages(episode.rgbd) if p[0] != "/" + JOINT_STATES]
    for t in range(start - 13_000_000, int(episode.stamp[-1]) + 40_000_000, 20_000_000):
        seconds = (t - start) / 1e9
        header = messages.new("std_msgs/msg/Header", stamp=messages.time_message(t), frame_id="")
        position = [*(0.3 * seconds * np.arange(6)), 0.05 * 0.5 * seconds, -0.05 * 0.5 * seconds]
        state = messages.new("sensor_msgs/msg/JointState", header=header, name=[*ARM, *FINGERS],
                             position=np.array(position), velocity=np.zeros(0), effort=np.zeros(0))
        parts.append(("/" + JOINT_STATES, messages.encode(state), t))
    read = read_episode(write_parts(tmp_path, episode, [*parts, *serialised(episode)]), rgbd=True)
    for stream in read.rgbd.values():
        seconds = (stream.stamp - start) / 1e9
        np.testing.assert_allclose(stream.joints, 0.3 * seconds[:, None] * np.arange(6), atol=1e-6)
        np.testing.assert_allclose(stream.opening, 0.5 * seconds, atol=1e-6)


def test_a_moved_camera_has_another_mount_and_a_chain_is_walked(tmp_path):
    """Camera link, color frame and optical frame as realsense2_camera has them; the newest word on a frame counts."""
    episode = seen()
    mounts = {view: stream.mount for view, stream in episode.rgbd.items()}
    moved = mounts["side"].copy()
    moved[:3, 3] += 0.05

    def link(parent, child, pose):
        header = messages.new("std_msgs/msg/Header", stamp=messages.time_message(0), frame_id=parent)
        x, y, z = pose[:3, 3].tolist()
        turn = dict(zip("xyzw", quaternion_of(pose[:3, :3]).tolist(), strict=True))
        transform = messages.new("geometry_msgs/msg/Transform",
                                 translation=messages.new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                                 rotation=messages.new("geometry_msgs/msg/Quaternion", **turn))
        return messages.new("geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child,
                            transform=transform)

    lens = np.eye(4)
    lens[:3] = [[0, 0, 1, 0], [-1, 0, 0, 0.015], [0, -1, 0, 0]]
    chain = [link("base_link", "side_camera_link", moved @ np.linalg.inv(lens)),
             link("side_camera_link", "side_camera_color_optical_frame", lens)]
    chain = messages.encode(messages.new("tf2_msgs/msg/TFMessage", transforms=chain))
    parts = [*rgbd_messages(episode.rgbd)]
    read = read_episode(write_parts(tmp_path, episode, [*parts, (TF_STATIC, chain, 5), *serialised(episode)]),
                        rgbd=True)
    np.testing.assert_allclose(read.rgbd["side"].mount, moved, atol=1e-12)
    np.testing.assert_allclose(read.rgbd["wrist"].mount, mounts["wrist"], atol=1e-12)


def test_junk_on_the_depth_topics_harms_no_step(tmp_path):
    episode = seen()
    junk = [(name, b"\0\1\0\0" + b"\xff" * 20, 7) for name in {p[0] for p in rgbd_messages(episode.rgbd)}]
    junk += [(name, b"", 8) for name, _, _ in junk]
    read = read_episode(write_parts(tmp_path, episode, [*junk, *serialised(episode)]), rgbd=True)
    assert len(read) == 9 and not read.rgbd and read.problems


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_and_matrices_agree(seed):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    if seed == 0:
        turn = np.diag([1.0, -1.0, -1.0])  # half a turn
    x, y, z, w = 2.0 * quaternion_of(turn)  # any length will do
    transform = messages.new("geometry_msgs/msg/Transform",
                             translation=messages.new("geometry_msgs/msg/Vector3", x=1.0, y=2.0, z=3.0),
                             rotation=messages.new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w))
    pose = pose_of(transform)
    np.testing.assert_allclose(pose[:3, :3], turn, atol=1e-14)
    assert pose[:3, 3].tolist() == [1, 2, 3] and pose[3].tolist() == [0, 0, 0, 1]
