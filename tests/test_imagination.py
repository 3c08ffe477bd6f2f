"""World model and learner as real processes: what one imagines the other uses, until it is killed, and again after."""

import signal
import time

import numpy as np
import pytest
import rclpy

from ws_interfaces.msg import LearnerStatus, WorldModelStatus
from ws_node.conversions import from_time
from ws_node.testing import end_node, free_domain, start_node, wait_for
from ws_rollouts.bag import write_episode
from ws_rollouts.episode import STATE
from ws_rollouts.testing import make_episode

pytestmark = pytest.mark.timeout(180)
WITHIN = 1.0  # s from the death of the world model to the last use of what it imagined
# the shipped code, but tiny networks, and a gate and labels that let everything pass
WORLD_MODEL = {
    "active": True, "worker.demonstrations": 3, "worker.adapt_steps": 2, "worker.round_steps": 2,
    "worker.reward_steps": 2, "trainer.clips": 1, "trainer.drawn": 1, "dynamics.hidden": 8, "dynamics.width": 8,
    "rewards.members": 1, "rewards.channels": 4, "rewards.features": 8, "rewards.capacity": 500,
    "rewards.imagined_capacity": 200, "rewards.min_updates": 1, "rewards.min_successes": 1,
    "labels.success_probability": 0.5, "labels.failure_probability": 0.5, "labels.tolerated": 1.0,
    "labels.stopped_from": 1.0, "gate.margin": -60.0, "gate.reward_auc": 0.0, "store.min_free_mib": 1,
    "counterfactuals.variants": 2,
}
LEARNER = {
    "mode": "no_schedule", "learner.demonstrations": 3, "learner.offline_steps": 1, "learner.batch_size": 16,
    "learner.capacity": 500, "learner.synthetic_capacity": 500, "learner.synthetic_least": 10,
    "learner.training_starts": 10, "learner.updates_per_step": 100.0, "network.channels": 8, "network.features": 16,
    "network.hidden": 32, "schedule.warm_up_steps": 0, "schedule.warm_up_episodes": 0, "schedule.ramp_steps": 20,
}


@pytest.fixture
def folder(tmp_path):
    """A run folder with demonstrations and two rollouts along a straight line."""
    for number in range(6):
        demonstration = number > 1  # the newest measure the reward model, which needs successes
        episode = make_episode(14, episode_id=f"pushing_{number:04d}", demonstration=demonstration, seed=number,
                               outcome="success" if demonstration else "timeout")
        episode.state[:] = 0.0
        episode.state[:, STATE["position"]] = np.linspace((0.22, -0.03, 0.2), (0.28, 0.03, 0.16), 15)
        episode.action[:-1, :3] = 0.1
        write_episode(tmp_path / "bags", episode)
    return tmp_path


@pytest.fixture
def wait():
    """`wait(topic, condition, what, seconds)`: the moment and the status that first fulfilled it."""
    domain, context = free_domain(), rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("listener", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard = {"learner": [], "world_model": []}
    for name, kind in (("learner", LearnerStatus), ("world_model", WorldModelStatus)):
        keep = heard[name]
        node.create_subscription(kind, f"{name}/status",
                                 lambda m, keep=keep: keep.append((1e-9 * from_time(m.header.stamp), m)), 10)

    def wait(name, condition, what, seconds=60.0):
        def look():
            executor.spin_once(timeout_sec=0.02)
            return next(((at, m) for at, m in heard[name] if condition(at, m)), None)

        return wait_for(look, seconds, what, lambda: [statuses[-1:] for statuses in heard.values()])

    wait.domain = domain
    yield wait
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def start(wait, folder):
    """Starts a node on the run folder; all of them end with the test."""
    processes = []

    def start(module, values):
        words = (f"{name}:={value}" for name, value in {**values, "run_dir": folder}.items())
        processes.append(start_node(module, *words, domain=wait.domain))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def test_what_is_imagined_is_used_while_its_maker_lives(wait, start):
    learner = start("ws_ppl.nodes.learner_node", LEARNER)
    world_model = start("ws_world_model.nodes.world_model_node", WORLD_MODEL)
    _, used = wait("learner", lambda _, m: m.rho == pytest.approx(0.3), "the full share of imagined data")
    assert used.synthetic_trusted and used.synthetic_transitions >= 10
    _, generous = wait("world_model", lambda _, m: m.gate == "open" and m.synthetic > 0, "an open gate")
    assert 0.0 <= generous.confidence <= 1.0
    world_model.send_signal(signal.SIGKILL)
    died = time.time()
    at, without = wait("learner", lambda at, m: at > died and m.rho == 0.0, "no imagined data", 5.0)
    assert at - died < WITHIN
    wait("learner", lambda _, m: m.learner_step > without.learner_step + 5 and m.rho == 0.0, "training that goes on")
    again = time.time()
    start("ws_world_model.nodes.world_model_node", WORLD_MODEL)
    wait("learner", lambda at, m: at > again and m.rho == pytest.approx(0.3), "the full share again")
    assert "Traceback" not in end_node(learner, signal.SIGINT)
