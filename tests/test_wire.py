"""What should never be on the wire: each is refused where it arrives, counted, and the loop goes on."""

import dataclasses
import hashlib
import shutil
import time
from itertools import pairwise

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from graph import LEFT_LIMIT, NODES, seed_demonstrations
from probe import BEST_EFFORT, LATCHED, RELIABLE
from sensor_msgs.msg import Image, JointState, Joy
from std_srvs.srv import SetBool

from ws_interfaces.msg import PolicyWeights, Rollout, ServoState, Step
from ws_policy.nodes.messages import packet
from ws_policy.weights import pack
from ws_rollouts.task import load_task

pytestmark = pytest.mark.timeout(120)
TASK = load_task("pushing")
FASTEST = 0.3  # m/s, twice the driver's cap: the arm catches up with a target that waited for it


@pytest.fixture(scope="module")
def graph(make_graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wire") / "run"
    seed_demonstrations(folder)
    return make_graph(folder=folder)


@pytest.fixture(scope="module")
def probe(graph, make_probe):
    return make_probe(graph)


@pytest.fixture(scope="module")
def targets(probe):
    return probe.hear("motion_target/target_joint_state_arm", JointState, BEST_EFFORT)


@pytest.fixture
def send(probe):
    """Publishes a message again and again until something is seen; the publishers go with the test."""
    publishers = []

    def send(kind, topic, make, until, what, qos=RELIABLE, pause=0.0):
        publisher, due = probe.node.create_publisher(kind, topic, qos), 0.0
        publishers.append(publisher)

        def seen():
            nonlocal due
            if time.monotonic() >= due:
                publisher.publish(make())
                due = time.monotonic() + pause
            return until()

        return probe.wait_for(seen, 10.0, what)

    yield send
    for publisher in publishers:
        probe.node.destroy_publisher(publisher)


@pytest.fixture
def still_acting(probe):
    """The policy steps on at its rate through the whole test."""
    probe.running_episode(40.0)
    moment = time.time()
    yield
    probe.wait_for(lambda: probe.steps.since(time.time() - 0.1), 20.0, "more steps")
    steps = probe.steps.since(moment)
    gaps = [b.sent - a.sent for a, b in pairwise(steps) if a.content.episode_id == b.content.episode_id]
    assert max(gaps, default=0.0) < 0.5
    assert np.isfinite([m.content.action for m in steps]).all()


def stamped(probe, message):
    message.header.stamp = probe.node.get_clock().now().to_msg()
    return message


# Feedback of the arm

FEEDBACK = {
    "NaN": [0.0, 1.6, -1.2, float("nan"), 0.0, 0.0, 0.0],
    "five joints": [0.0, 1.6, -1.2, 1.0, 0.0],
    "out of range": [0.0, 1.6, -1.2, 9.0, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("position", FEEDBACK.values(), ids=FEEDBACK.keys())
def test_bad_feedback_is_a_fault_that_a_person_clears(probe, send, targets, position):
    probe.running_episode(40.0)
    message = JointState(position=position, velocity=[0.0] * len(position), effort=[0.0] * len(position))
    moment = time.time()
    fault = send(JointState, "hdas/feedback_arm", lambda: stamped(probe, message),
                 lambda: next((m for m in probe.servo.since(moment) if m.content.mode == ServoState.MODE_FAULT), None),
                 "the driver's fault")
    assert "feedback" in fault.content.reason or "joint 4" in fault.content.reason
    probe.wait_for(lambda: "clear_fault" in probe.status.last.waiting_for, 10.0, "the policy to wait for a person")
    assert not targets.since(fault.sent + 0.05), "nothing is sent at fault"
    assert not [m for m in targets.update() if not np.isfinite(m.content.position).all()]
    assert probe.call("a1x/driver/clear_fault").success
    probe.running_episode(40.0, after=time.time())


def test_a_robot_that_stands_still_is_not_commanded(probe, targets):
    probe.running_episode(40.0)
    moment = time.time()
    assert probe.call("a1x/twin/set_pause", SetBool, SetBool.Request(data=True)).success
    probe.wait_for(lambda: "stale" in probe.servo.last.reason, 2.0, "the driver to see it")
    probe.wait_for(lambda: probe.status.last.state in ("waiting", "reset"), 5.0, "the policy to stop")
    held = [m.sent for m in probe.servo.since(moment) if "stale" in m.content.reason]
    assert not targets.since(held[0] + 0.3)
    assert probe.call("a1x/twin/set_pause", SetBool, SetBool.Request(data=False)).success
    probe.running_episode(40.0, after=time.time())


# Cameras

def picture(width=424, height=240, encoding="rgb8", level=100, rest=0, old=False):
    return dict(width=width, height=height, encoding=encoding, level=level, rest=rest, old=old)


PICTURES = {
    "small": picture(width=320),
    "other encoding": picture(encoding="bgr8"),
    "mono": picture(encoding="mono8"),
    "black": picture(level=0),
    "too few bytes": picture(rest=-100),
    "no bytes": picture(rest=-424 * 240 * 3),
}


@pytest.mark.parametrize("what", PICTURES.values(), ids=PICTURES.keys())
def test_a_picture_that_is_not_the_cameras_is_rejected(probe, send, still_acting, what):
    before = probe.status.last.observations_rejected
    data = bytes([what["level"]]) * (3 * what["width"] * what["height"] + what["rest"])
    message = Image(width=what["width"], height=what["height"], encoding=what["encoding"], step=3 * what["width"])
    message.data.frombytes(data)
    send(Image, "a1x/side_camera/color/image_raw", lambda: stamped(probe, message),
         lambda: probe.status.last.observations_rejected > before, "a rejection in policy/status")


def test_an_old_picture_is_dropped(probe, send, still_acting):
    before = probe.status.last.frames_dropped
    message = Image(width=424, height=240, encoding="rgb8", step=3 * 424)
    message.data.frombytes(bytes([90]) * (3 * 424 * 240))
    message.header.stamp.sec = 1
    send(Image, "a1x/wrist_camera/color/image_raw", lambda: message,
         lambda: probe.status.last.frames_dropped > before, "a dropped frame in policy/status")


# Weights

@pytest.fixture(scope="module")
def good(probe):
    """Weights that the learner published and the policy took."""
    heard = probe.hear("policy/weights", PolicyWeights, LATCHED)
    return packet(probe.wait_for(lambda: heard.last, 40.0, "weights of the learner"))


def flipped(good):
    data = bytearray(good.data)
    data[len(data) // 2] ^= 1
    return dataclasses.replace(good, version=good.version + 1000, data=bytes(data))


def poisoned(good):
    from safetensors.numpy import load

    tensors = load(good.data)
    next(iter(tensors.values())).flat[0] = np.nan
    return pack(tensors, good.session, good.version + 1001, 0)


BOMB = b"\xff" * 16  # a safetensors header of 2^64 bytes
WEIGHTS = {
    "bit flipped": (flipped, "SHA-256"),
    "not finite": (poisoned, "not finite"),
    "cut": (lambda g: dataclasses.replace(g, version=g.version + 1002, data=g.data[:-7]), "announced"),
    "foreign": (lambda g: pack({"x": np.zeros(3, np.float32)}, g.session, g.version + 1003, 0), "architecture"),
    "long header": (lambda g: dataclasses.replace(
        g, version=g.version + 1004, data=BOMB, length=len(BOMB), sha256=hashlib.sha256(BOMB).hexdigest()), "header"),
    "older": (lambda g: dataclasses.replace(g, version=1), "not newer"),
    "empty": (lambda g: dataclasses.replace(g, version=g.version + 1005, data=b"", length=0), "SHA-256"),
}


@pytest.mark.parametrize(("change", "reason"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_bad_weights_are_refused_and_the_good_ones_act_on(probe, send, good, still_acting, change, reason):
    bad = change(good)
    acting = probe.status.last.weights_version
    message = PolicyWeights(**{**dataclasses.asdict(bad), "data": b""})
    message.data.frombytes(bad.data)
    moment = time.time()

    def report():  # again and again: of two messages within one step the policy looks at the newer
        return next((m for m in probe.reports.since(moment)
                     if m.content.version == bad.version and not m.content.accepted), None)

    report = send(PolicyWeights, "policy/weights", lambda: stamped(probe, message), report, "a report on the weights",
                  LATCHED, pause=0.5)
    assert reason in report.content.reason
    probe.wait_for(lambda: probe.status.since(report.sent), 5.0, "policy/status")
    assert acting <= probe.status.last.weights_version < bad.version or reason == "not newer"
    assert probe.status.last.weights_rejected


# Commands

def twist(x=0.0, frame="base_link", age=None):
    message = TwistStamped()
    message.header.frame_id = frame
    message.twist.linear.x = message.twist.linear.z = x
    if age is not None:
        message.header.stamp.sec = max(0, int(time.time() - age))
    return message


def test_twists_that_are_no_command_are_refused(probe, send, still_acting):
    for name, make in {"NaN": lambda: twist(float("nan")), "infinite": lambda: twist(float("inf")),
                       "old": lambda: twist(0.1, age=5.0), "another frame": lambda: twist(0.1, "tool")}.items():
        before, moment = probe.servo.last, time.time()
        send(TwistStamped, "a1x/servo/delta_twist_cmds", make,
             lambda before=before: probe.servo.last.rejected > before.rejected + 10, f"twists refused: {name}")
        assert all(np.isfinite(m.content.target).all() for m in probe.servo.since(moment))


def test_a_second_source_of_huge_twists_moves_the_arm_no_faster(probe, send, targets):
    probe.running_episode(40.0)
    before, moment = probe.servo.last, time.time()
    send(TwistStamped, "a1x/servo/delta_twist_cmds", lambda: twist(1e9),
         lambda: time.time() > moment + 2.0 and probe.servo.last.clipped > before.clipped + 20, "twists cut short")
    states = probe.servo.since(moment)
    places, times = np.array([m.content.position for m in states]), np.array([m.sent for m in states])
    ways = np.linalg.norm(places[10:] - places[:-10], axis=1)  # in about 0.2 s: the arm sways at its target meanwhile
    assert (ways / (times[10:] - times[:-10])).max() < FASTEST
    assert np.abs(places - np.clip(places, TASK.workspace_low, TASK.workspace_high)).max() < 0.03
    sent = targets.since(moment)
    positions, times = np.array([m.content.position for m in sent]), np.array([m.sent for m in sent])
    assert np.isfinite(positions).all()
    speed = np.abs(positions[10:] - positions[:-10]) / (times[10:] - times[:-10])[:, None]
    assert (speed.max(axis=0) < 1.5 * np.array([1.0, 1.0, 1.0, 1.5, 1.5, 1.5])).all(), speed.max(axis=0)
    probe.running_episode(60.0, after=time.time())


def test_a_broken_joystick_drives_nobody(probe, send, still_acting):
    moment = time.time()
    for axes, end in (([float("nan")] * 4, moment + 0.5), ([1.0], moment + 1.0)):
        send(Joy, "joy", lambda axes=axes: Joy(axes=axes, buttons=[1, 0, 0]),
             lambda end=end: time.time() > end, "half a second")
    assert {m.content.source for m in probe.steps.since(moment)} == {Step.SOURCE_POLICY}


# Rollouts

def test_bags_that_cannot_be_read_are_counted_and_left_out(probe, graph, tmp_path):
    whole = next((graph.folder / "bags").glob("pushing-before-*"))
    for name in ("empty", "truncated", "none", "headless"):
        if name != "none":
            shutil.copytree(whole, tmp_path / name)
    bag = {name: next((tmp_path / name).glob("*.mcap")) for name in ("empty", "truncated", "headless")}
    bag["empty"].write_bytes(b"")
    bag["truncated"].write_bytes(bag["truncated"].read_bytes()[:-bag["truncated"].stat().st_size // 2])
    bag["headless"].unlink()
    before = probe.learner.last
    publisher = probe.node.create_publisher(Rollout, "rollouts/recorded", LATCHED)
    try:
        for name in ("empty", "truncated", "none", "headless"):
            publisher.publish(Rollout(episode_id=f"other-{name}", task="other", uri=str(tmp_path / name), steps=9))
        probe.wait_for(lambda: probe.learner.last.bags_rejected == before.bags_rejected + 4, LEFT_LIMIT,
                       "four rejections")
    finally:
        probe.node.destroy_publisher(publisher)
    probe.wait_for(lambda: str(tmp_path / "truncated") in graph.log("learner"), 5.0, "the reason in the log")
    probe.finish_episode()
    probe.wait_for(lambda: probe.learner.last.episodes > before.episodes, LEFT_LIMIT, "a good bag to be taken")


def test_nobody_died_of_all_this(graph):
    assert "starts again" not in graph.output.read_text()
    assert set(graph.all_up()) == set(NODES)
    assert not [name for name in NODES if "Traceback" in graph.log(name)]
