"""The node in a process of its own: off unless active; then it learns, imagines, and survives a kill."""

import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from sensor_msgs.msg import Image  # noqa: E402

from ws_interfaces.msg import Rollout, WorldModelStatus  # noqa: E402
from ws_node.qos import latched  # noqa: E402
from ws_node.testing import end_node, free_domain, refusal, start_node, wait_for  # noqa: E402
from ws_rollouts.bag import read_episode, write_episode  # noqa: E402
from ws_rollouts.episode import STATE, SYNTHETIC  # noqa: E402
from ws_rollouts.testing import make_episode  # noqa: E402

MODULE = "ws_world_model.nodes.world_model_node"
# the shipped code, but tiny, and a gate and labels that let everything pass
TINY = {
    "active": True, "worker.demonstrations": 3, "worker.adapt_steps": 2, "worker.round_steps": 2,
    "worker.reward_steps": 2, "worker.every_episodes": 2, "trainer.clips": 1, "trainer.drawn": 1, "dynamics.hidden": 8,
    "dynamics.width": 8, "rewards.members": 1, "rewards.channels": 4, "rewards.features": 8, "rewards.capacity": 500,
    "rewards.imagined_capacity": 200, "rewards.min_updates": 1, "rewards.min_successes": 1,
    "labels.success_probability": 0.5, "labels.failure_probability": 0.5, "gate.margin": -60.0, "gate.reward_auc": 0.0,
    "gate.recall": 0.0, "labels.enough": 1, "worker.replays": 4,
    "store.min_free_mib": 1, "counterfactuals.variants": 2,
}


def start(domain, **values):
    return start_node(MODULE, *(f"{name}:={value}" for name, value in values.items()), domain=domain)


def record(folder, *numbers):
    for number in numbers:
        episode = make_episode(14, episode_id=f"pushing_{number:04d}", demonstration=True, seed=number)
        episode.state[:] = 0.0
        episode.state[:, STATE["position"]] = np.linspace((0.22, -0.03, 0.2), (0.28, 0.03, 0.16), 15)
        episode.action[:-1, :3] = 0.1
        write_episode(folder / "bags", episode)


class Listener:
    """Hears what the node says in its domain."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.status, self.rollouts, self.images = [], [], []
        for kind, topic, heard, qos in (
            (WorldModelStatus, "world_model/status", self.status, 10),
            (Rollout, "rollouts/synthetic", self.rollouts, latched(1000)),
            (Image, "world_model/imagined/wrist/image_raw", self.images, 10),
        ):
            self.node.create_subscription(kind, topic, heard.append, qos)
        self.recorded = self.node.create_publisher(Rollout, "rollouts/recorded", latched(10))

    def wait(self, condition, what, seconds=40.0):
        def looked():
            self.executor.spin_once(timeout_sec=0.05)
            return condition()

        return wait_for(looked, seconds, what, lambda: self.status[-1:])

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def listener():
    listener = Listener(domain := free_domain())
    listener.domain = domain
    yield listener
    listener.close()


def test_it_says_that_generation_is_off_and_ends_cleanly():
    node = start(free_domain())
    assert "generation is off: this mode uses real data only" in node.stdout.readline()
    assert "generation is off" not in end_node(node, signal.SIGINT)


@pytest.mark.parametrize(("values", "reason"), [
    ({"active": True}, "run_dir = ''"),
    ({**TINY, "run_dir": ".", "worker.held_out": 0}, "worker.held_out = 0"),
])
def test_a_wrong_start_is_refused(values, reason):
    assert reason in refusal(start(free_domain(), **values))


def test_it_learns_imagines_and_goes_on_after_a_kill(tmp_path, listener):
    record(tmp_path, 0, 1, 2, 3)
    begin = partial(start, listener.domain, **TINY, run_dir=tmp_path)
    node = begin()
    try:
        listener.wait(lambda: len(listener.rollouts) > 2 and listener.images, "imagined rollouts and frames")
        node.send_signal(signal.SIGKILL)
        node.wait(10)
        made = [Path(message.uri) for message in listener.rollouts]
        whole = [p for p in (tmp_path / "synthetic").iterdir() if not p.name.startswith(".")]
        assert {p.name for p in made} <= {p.name for p in whole}
        for folder in whole:
            assert (read_episode(folder).source == SYNTHETIC).all()
        message = listener.images[-1]
        assert (message.encoding, message.width, message.height) == ("rgb8", 64, 64)
        node = begin()
        listener.status.clear()
        first = listener.wait(lambda: listener.status and listener.status[-1], "a status")
        assert first.version >= 1 and first.steps >= 2, "resumed, not begun anew"
        (tmp_path / "bags" / "broken").mkdir()
        record(tmp_path, 4, 5)
        for name in ("broken", "pushing_0004", "pushing_0005"):
            listener.recorded.publish(Rollout(episode_id=name, uri=str(tmp_path / "bags" / name)))
        # the held-out episodes of before are new to it, so that a version may come before the new ones are read
        last = listener.wait(lambda: listener.status[-1].episodes == 6 and listener.status[-1].version > first.version
                             and listener.status[-1], "a version")
        assert last.bags_rejected == 1 and last.holdout_psnr > 10.0 and last.gate == "open"
        assert "Traceback" not in end_node(node, signal.SIGINT)
    finally:
        node.kill()
