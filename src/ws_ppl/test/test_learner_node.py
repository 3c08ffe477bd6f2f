"""The node in a process of its own: imagined rollouts are read once, and used while their maker can be trusted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from ws_interfaces.msg import LearnerStatus  # noqa: E402
from ws_node.conversions import from_time  # noqa: E402
from ws_node.testing import domain_environment, end_node, free_domain, refusal, start_node, wait_for  # noqa: E402
from ws_rollouts.bag import write_episode  # noqa: E402
from ws_rollouts.episode import SYNTHETIC  # noqa: E402
from ws_rollouts.testing import make_episode  # noqa: E402

MODULE = "ws_ppl.nodes.learner_node"
WITHIN = 1.0  # s from the death of the world model to the last update with imagined data
TINY = {
    "mode": "no_schedule", "learner.demonstrations": 1, "learner.offline_steps": 1, "learner.batch_size": 16,
    "learner.capacity": 500, "learner.synthetic_capacity": 500, "learner.synthetic_least": 10,
    "learner.training_starts": 10, "learner.updates_per_step": 100.0, "learner.imagined_capacity": 500,
    "learner.imagined_wait": 0.0, "network.channels": 8, "network.features": 16,
    "network.hidden": 32, "schedule.warm_up_steps": 0, "schedule.warm_up_episodes": 0, "schedule.ramp_steps": 5,
}


def synthetic(number, success, version=1):
    outcome = "success" if success else "timeout"
    episode = make_episode(12, episode_id=f"pushing-synthetic-t-{number:06d}", outcome=outcome, seed=50 + number)
    episode.source[:] = SYNTHETIC
    episode.notes.update(world_model_version=str(version), label="success" if success else "failure",
                         label_probability="0.95")
    return episode


@pytest.fixture
def folder(tmp_path):
    write_episode(tmp_path / "bags", make_episode(20, episode_id="pushing_demo", demonstration=True))
    write_episode(tmp_path / "bags", make_episode(60, episode_id="pushing_0000", outcome="timeout", seed=1))
    for number, success in enumerate((True, False, False)):
        write_episode(tmp_path / "synthetic", synthetic(number, success))
    (tmp_path / "synthetic" / "pushing-synthetic-t-000009").mkdir()  # no bag
    write_episode(tmp_path / "synthetic", synthetic(10, True, version=-1))  # imagined too long ago
    return tmp_path


def relocated(number, **notes):
    episode = synthetic(number, True, version=0)
    episode.notes.update(kind="relocated", proposal="relocate", parent="pushing_demo", **notes)
    return episode


@pytest.fixture
def moved(folder):
    """Two relocated demonstrations, and one whose label is odd, beside the others."""
    for number in (20, 21):
        write_episode(folder / "synthetic", relocated(number))
    write_episode(folder / "synthetic", relocated(22, label="failure"))
    return folder


@pytest.fixture
def heard():
    """Statuses of the learner in a domain of its own, with the moments they came at; `wait(condition, what)`."""
    domain = free_domain()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("listener", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    statuses = []
    node.create_subscription(LearnerStatus, "learner/status",
                             lambda m: statuses.append((1e-9 * from_time(m.header.stamp), m)), 10)

    def wait(condition, what, seconds=40.0):
        def look():
            executor.spin_once(timeout_sec=0.02)
            return next(((at, m) for at, m in statuses if condition(at, m)), None)

        return wait_for(look, seconds, what, lambda: statuses[-1:])

    wait.domain = domain
    yield wait
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def begin():
    """Starts the learner, or a world model; all of them end with the test."""
    processes = []

    def learner(domain, **values):
        words = (f"{name}:={value}" for name, value in {**TINY, **values}.items())
        processes.append(start_node(MODULE, *words, domain=domain))
        return processes[-1]

    def world_model(domain, folder, gate="open", *relocation):
        script = Path(__file__).with_name("fake_world_model.py")
        processes.append(subprocess.Popen([sys.executable, str(script), str(folder / "synthetic"), gate, *relocation],
                                          env={**os.environ, **domain_environment(domain)}))
        return processes[-1]

    learner.world_model = world_model
    yield learner
    for process in processes:
        process.kill()
        process.wait(10)


def test_a_dead_world_model_is_not_used_and_a_new_one_is(folder, heard, begin):
    learner = begin(heard.domain, run_dir=folder)
    heard(lambda _, m: m.learner_step > 5 and m.rho == 0.0, "learning from real rollouts")
    world_model = begin.world_model(heard.domain, folder)
    _, used = heard(lambda _, m: m.rho == pytest.approx(0.3) and m.synthetic_transitions == 36
                    and not m.synthetic_pending and m.synthetic_rejected, "imagined rollouts in use")
    assert (used.synthetic_positive, used.synthetic_negative) == (12, 24), "announced twice, read once"
    assert used.synthetic_rejected == 2 and used.synthetic_trusted
    assert 0.0 <= used.positive_share <= 1.0 and np.isfinite(used.q_positive)
    world_model.send_signal(signal.SIGKILL)
    died = time.time()
    at, without = heard(lambda at, m: at > died and m.rho == 0.0, "no imagined data", 5.0)
    assert at - died < WITHIN and not without.synthetic_trusted
    heard(lambda _, m: m.learner_step > without.learner_step + 5 and m.rho == 0.0, "training that goes on")
    again = time.time()
    begin.world_model(heard.domain, folder)
    _, back = heard(lambda at, m: at > again and m.rho == pytest.approx(0.3), "the full share again")
    assert back.synthetic_transitions == 36
    assert "Traceback" not in end_node(learner, signal.SIGINT)
    ended = time.time()
    begin(heard.domain, run_dir=folder)
    _, resumed = heard(lambda at, m: at > ended and m.rho > 0.0 and m.synthetic_transitions == 36,
                       "a new learner that uses all of them")
    assert resumed.learner_step >= back.learner_step


def test_nothing_is_used_while_the_gate_is_closed(folder, heard, begin):
    begin(heard.domain, run_dir=folder)
    begin.world_model(heard.domain, folder, "closed")
    _, status = heard(lambda _, m: m.synthetic_transitions == 36 and m.learner_step > 50, "everything read")
    assert status.rho == 0.0 and not status.synthetic_trusted


def test_the_first_weights_wait_for_relocated_demonstrations_and_they_outlive_their_maker(moved, heard, begin):
    patient = {"run_dir": moved, "learner.imagined_least": 2, "learner.imagined_wait": 600.0}
    learner = begin(heard.domain, **patient)
    _, waiting = heard(lambda _, m: m.waiting_for.startswith("relocated"), "a learner that waits")
    assert waiting.waiting_for == "relocated demonstrations: 0 of 2"
    assert (waiting.state, waiting.learner_step, waiting.weights_version) == ("waiting", 0, 0)
    world_model = begin.world_model(heard.domain, moved, "closed", "open")
    _, status = heard(lambda _, m: m.weights_version and not m.synthetic_pending and m.synthetic_rejected == 3,
                      "the first weights, and everything read")
    assert (status.imagined_episodes, status.imagined_transitions) == (2, 24) and not status.synthetic_trusted
    assert status.imagined_share == pytest.approx(0.5) and status.rho == 0.0
    assert status.synthetic_transitions == 36, "the others are where they were"
    world_model.send_signal(signal.SIGKILL)
    died = time.time()
    _, later = heard(lambda at, m: at > died + 2.0 and m.learner_step > status.learner_step, "learning that goes on")
    assert later.imagined_episodes == 2 and later.imagined_share == pytest.approx(0.5)
    assert "still imitated" in end_node(learner, signal.SIGINT)
    ended = time.time()
    begin(heard.domain, **patient)
    _, resumed = heard(lambda at, m: at > ended and m.learner_step > later.learner_step, "one that waits for nothing")
    assert resumed.imagined_share == 0.0
    begin.world_model(heard.domain, moved, "closed", "open")
    heard(lambda at, m: at > ended and m.imagined_episodes == 2 and m.imagined_share == pytest.approx(0.5),
          "what was announced again")


@pytest.mark.parametrize("gates", [("open", "closed", "no depth camera"), ("open", "")])
def test_nobody_waits_for_a_world_model_that_moves_nothing(folder, heard, begin, gates):
    begin(heard.domain, run_dir=folder, **{"learner.imagined_wait": 600.0})
    begin.world_model(heard.domain, folder, *gates)
    _, status = heard(lambda _, m: m.weights_version, "weights")
    assert status.imagined_share == 0.0


def test_a_gate_that_closes_with_a_reason_ends_imitation(moved, heard, begin):
    begin(heard.domain, run_dir=moved)
    begin.world_model(heard.domain, moved, "open", "closed", "seen from one side only")
    _, status = heard(lambda _, m: m.imagined_episodes == 2 and m.synthetic_trusted, "everything read")
    assert status.imagined_share == 0.0


def test_a_mode_that_imitates_none_refuses_them(moved, heard, begin):
    begin(heard.domain, run_dir=moved, mode="paper")
    begin.world_model(heard.domain, moved, "open", "open")
    heard(lambda _, m: m.synthetic_rejected >= 5 and m.imagined_episodes == 0, "all three counted")


def test_an_unknown_mode_is_refused(begin, tmp_path):
    known = "hil_serl, worldsample, no_schedule, no_qsel, no_ppl, paper, fidelity_paced"
    assert f"mode = 'dream': must be one of {known}" in refusal(begin(free_domain(), mode="dream", run_dir=tmp_path))
