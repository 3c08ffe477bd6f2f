"""The success detector as a real process, beside a policy that only pretends: it tells each success once."""

import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("ws_interfaces.msg")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ws_interfaces.msg import Step  # noqa: E402
from ws_node.testing import domain_environment, end_node, free_domain, refusal, start_node  # noqa: E402
from ws_rollouts.bag import serialised  # noqa: E402
from ws_rollouts.schema import STEP  # noqa: E402
from ws_world_model.observations import TOPICS  # noqa: E402

MODULE = "ws_world_model.nodes.success_detector_node"


class FakePolicy(Node):
    """Publishes episodes with the stamps of now, answers policy/success, hears the detector's diagnostics."""

    def __init__(self):
        super().__init__("policy")
        self.running, self.called, self.health = "", [], {}
        self._topics = {t: self.create_publisher(Step if t == STEP else Image, t, 50) for t in TOPICS}
        self.create_service(Trigger, "~/success", self._on_success)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_success(self, _request, response):
        self.called.append(self.running)
        response.success = True
        return response

    def _on_diagnostics(self, message):
        status = message.status[0]
        self.health = {"message": status.message, **{v.key: v.value for v in status.values}}

    @property
    def heard(self):
        return all(publisher.get_subscription_count() for publisher in self._topics.values())

    def play(self, episode, spin, damage=lambda topic, raw: raw):
        """All but the last observation, at 20 Hz; the episode is broken off, not ended."""
        self.running = episode.episode_id
        episode.stamp = time.time_ns() + np.arange(len(episode) + 1) * 50_000_000
        for name, raw, stamp in list(serialised(episode))[:-3]:
            while time.time_ns() < stamp:
                spin()
            self._topics[name[1:]].publish(damage(name[1:], raw))


@pytest.fixture
def domain(monkeypatch):
    domain = free_domain()
    for name, value in domain_environment(domain).items():
        monkeypatch.setenv(name, value)
    return domain


@pytest.fixture
def policy(domain):
    rclpy.init(args=[])
    node, executor = FakePolicy(), SingleThreadedExecutor()
    executor.add_node(node)

    def until(done, what, seconds=30.0):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, (what, node.health, node.called)
            executor.spin_once(timeout_sec=0.02)

    yield node, until, lambda: executor.spin_once(timeout_sec=0.005)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def start(domain):
    """Starts detectors that end with the test."""
    started = []

    def begin(*parameters):
        started.append(start_node(MODULE, *parameters, domain=domain))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_it_waits_for_weights_and_tells_each_success_once(policy, start, lamp_model, lamp_episode, write_version,
                                                          tmp_path):
    node, until, spin = policy
    process = start(f"run_dir:={tmp_path}")
    until(lambda: node.heard and node.health, "the detector")
    node.play(lamp_episode(lit=0, episode_id="pushing-1"), spin)
    until(lambda: "no weights" in node.health["message"], "its word that there are none")

    (tmp_path / "world_model").mkdir()
    (tmp_path / "world_model" / "v000001.safetensors").write_bytes(b"something else")
    write_version(tmp_path / "world_model" / "v000002.safetensors", lamp_model, 2)
    until(lambda: node.health["weights_version"] == "2", "the weights")
    node.play(lamp_episode(lit=99, success=False, episode_id="pushing-2", seed=2), spin)
    until(lambda: node.health["probability"] != "nan", "a probability")
    for number in (3, 4):
        node.play(lamp_episode(lit=3, steps=24, episode_id=f"pushing-{number}", seed=number), spin)
        until(lambda number=number: node.called[-1:] == [f"pushing-{number}"], "the success")

    def damage(topic, raw):
        return raw if topic == STEP else raw.replace(b"rgb8", b"bgr8")

    node.play(lamp_episode(lit=0, episode_id="pushing-5", seed=5), spin, damage)
    until(lambda: "bgr8" in node.health["message"], "its word that frames are damaged")
    node.play(lamp_episode(lit=3, steps=24, episode_id="pushing-6", seed=6), spin)
    until(lambda: node.called == ["pushing-3", "pushing-4", "pushing-6"] and node.health["detections"] == "3",
          "three successes, each once")
    output = end_node(process, signal.SIGINT)
    assert "Traceback" not in output
    assert "the operator tells success" in output and "reward model of version 2" in output


def test_a_wrong_file_is_named_and_does_nothing(policy, start, tmp_path):
    node, until, spin = policy
    (tmp_path / "mine.safetensors").write_bytes(b"something else")
    process = start(f"weights:={tmp_path / 'mine.safetensors'}")
    until(lambda: "no weights" in node.health.get("message", ""), "its word that there are none")
    assert "mine.safetensors: not a safetensors file" in end_node(process, signal.SIGTERM)
    assert node.called == []


@pytest.mark.parametrize(("parameters", "reason"), [
    ((), "run_dir = ''"),
    (("run_dir:=/tmp", "consecutive:=0"), "consecutive = 0: must be in 1 .. 20"),
    (("run_dir:=/tmp", "colour:=red"), "unknown parameter 'colour'"),
])
def test_a_wrong_start_ends_at_once_and_says_why(start, parameters, reason):
    assert reason in refusal(start(*parameters))
