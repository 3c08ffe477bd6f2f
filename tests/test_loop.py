"""The whole loop on real processes: demonstrations, offline and online learning, weights, rollouts, interventions."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from graph import LEFT_LIMIT, NODES
from probe import LATCHED

from ws_interfaces.msg import PolicyWeights, ServoState
from ws_rollouts.bag import read_episode
from ws_rollouts.episode import DEMONSTRATION, HUMAN, POLICY, VIEWS
from ws_rollouts.task import load_task

pytestmark = pytest.mark.timeout(180)
TASK = load_task("pushing")
EAGER = {"interventions": True, "stall_steps": 3, "refractory": 3, "shortest": 3, "longest": 5, "probability": 1.0}


@pytest.fixture(scope="module")
def graph(make_graph):
    return make_graph(values={"operator": EAGER})


@pytest.fixture(scope="module")
def probe(graph, make_probe):
    return make_probe(graph)


@pytest.fixture(scope="module")
def held(probe):
    """What the policy waited for while a person had the driver hold; then the person enabled it again."""
    probe.wait_for(lambda: probe.servo.last and any(probe.servo.last.position), 30.0, "the driver with feedback")
    for service in ("enable", "hold"):
        assert probe.call(f"a1x/driver/{service}").success
    # the hold may come when a reset is on its way already: that one is broken off, the next one is refused
    waiting = probe.wait_for(lambda: next((m.content.waiting_for for m in probe.status.update()
                                           if "refused: hold" in m.content.waiting_for), None), 30.0, "a try refused")
    started = waiting, probe.steps.last, probe.servo.last.mode
    probe.wait_for(lambda: probe.learner.last, LEFT_LIMIT, "the learner, before there is anything to learn from")
    assert probe.call("a1x/driver/enable").success
    return started


@pytest.fixture(scope="module")
def learnt(probe, held):
    """The probe once the policy acts with weights of the learner and one of its episodes is recorded."""
    probe.wait_for(lambda: any(m.content.source == POLICY or m.content.interventions for m in probe.rollouts.update()),
                   90.0, "a recorded episode of the policy")
    return probe


def rollouts(probe, *sources):
    return [m.content for m in probe.rollouts.update() if m.content.source in sources]


def successes(probe):
    """Demonstrations that teach: the operator may miss once and give another."""
    return [r for r in rollouts(probe, DEMONSTRATION) if r.outcome == "success"]


def test_a_person_who_holds_the_arm_is_obeyed(held):
    waiting_for, step, mode = held
    assert "service reset refused: hold" in waiting_for and "asked to hold" in waiting_for
    assert step is None and mode == ServoState.MODE_HOLD


def test_demonstrations_come_first_and_each_is_a_bag(learnt):
    names = [m.content.episode_id for m in learnt.rollouts.update()]
    assert len(names) == len(set(names))
    first = [m.content for m in learnt.rollouts.update()][:2]
    assert [r.source for r in first] == [DEMONSTRATION] * 2
    assert len(successes(learnt)) == 2, "the policy acts after two, as asked for"
    for rollout in first:
        episode = read_episode(rollout.uri, TASK)
        assert episode.is_demonstration and len(episode) == rollout.steps
        assert episode.outcome == rollout.outcome
        assert not episode.weights_version.any()


def test_a_bag_holds_what_was_on_the_wire(learnt):
    rollout = rollouts(learnt, DEMONSTRATION)[-1]
    steps = [m.content for m in learnt.steps.update() if m.content.episode_id == rollout.episode_id]
    episode = read_episode(rollout.uri, TASK)
    stamps = [s.header.stamp.sec * 10**9 + s.header.stamp.nanosec for s in steps]
    assert stamps == episode.stamp.tolist()
    assert np.array_equal([s.action for s in steps], episode.action)
    assert np.array_equal([s.state for s in steps], episode.state)
    assert np.array_equal([s.executed for s in steps], episode.executed)
    for view in VIEWS:
        frames = episode.frames[view]
        assert frames.shape == (len(steps), TASK.image_size, TASK.image_size, 3)
        assert len({frame.tobytes() for frame in frames}) > len(frames) // 2, "the picture moves with the arm"


def test_the_arm_does_what_the_demonstration_says(learnt):
    episode = read_episode(rollouts(learnt, DEMONSTRATION)[0].uri)
    way = episode.state[-1, :3] - episode.state[0, :3]
    assert np.linalg.norm(way) > 0.03
    assert np.linalg.norm(episode.executed.sum(axis=0) * TASK.action_scale - way) < 0.03


def test_the_learner_goes_online_and_reports_numbers(learnt):
    learnt.wait_for(lambda: learnt.learner.last.state == "online", LEFT_LIMIT, "the learner online")
    status = learnt.learner.last
    states = list(dict.fromkeys(m.content.state for m in learnt.learner.update()))
    assert states in (["waiting", "offline", "online"], ["waiting", "online"]), "offline may last less than a second"
    assert status.learner_step >= 5 and status.demonstrations == 2 and not status.bags_rejected
    assert status.demo_transitions >= sum(r.steps for r in successes(learnt))
    assert np.isfinite([status.critic_loss, status.actor_loss, status.q_mean, status.temperature]).all()


def test_weights_are_swapped_between_steps_and_acknowledged(learnt):
    learnt.wait_for(lambda: len(learnt.reports.update()) >= 3, 60.0, "three reports of weights")
    reports = [m.content for m in learnt.reports.update()]
    assert all(r.accepted and not r.reason for r in reports), reports
    versions = [r.version for r in reports]
    assert versions == sorted(set(versions)) and versions[0] == 1
    assert len({r.session for r in reports}) == 1
    assert all(0.0 <= r.lag_s < 2.0 for r in reports), reports
    learnt.wait_for(lambda: learnt.steps.last.weights_version >= versions[2], 60.0, "steps with the third weights")
    acting = [m.content.weights_version for m in learnt.steps.update()]
    assert acting == sorted(acting)


def test_weights_on_the_wire_are_safetensors_with_their_hash(learnt):
    heard = learnt.hear("policy/weights", PolicyWeights, LATCHED)
    message = learnt.wait_for(lambda: heard.last, 10.0, "the latched weights")
    assert message.length == len(message.data) and len(message.sha256) == len(message.architecture) == 64
    assert bytes(message.data[8:9]) == b"{"


def test_rollouts_of_the_policy_are_recorded_and_learning_goes_on(learnt):
    before = learnt.learner.last
    rollout = learnt.finish_episode(steps=6)  # worth at least one update
    episode = read_episode(rollout.uri, TASK)
    assert (len(episode), episode.outcome) == (rollout.steps, rollout.outcome)
    assert episode.interventions == rollout.interventions
    assert episode.weights_version[0] > 0
    learnt.wait_for(lambda: learnt.learner.last.episodes > before.episodes, LEFT_LIMIT, "it to be taken")
    learnt.wait_for(lambda: learnt.learner.last.learner_step > before.learner_step, LEFT_LIMIT, "more updates")
    learnt.running_episode(30.0, after=time.time())


def test_the_operator_intervenes_and_both_sources_stand_in_the_bag(learnt):
    def corrected():
        return next((r for r in rollouts(learnt, POLICY, HUMAN) if 0 < r.interventions < r.steps), None)

    rollout = learnt.wait_for(corrected, 60.0, "a recorded episode with interventions")
    episode = read_episode(rollout.uri, TASK)
    assert set(episode.source) == {POLICY, HUMAN}
    assert episode.interventions == rollout.interventions
    learnt.wait_for(lambda: learnt.status.last.intervention_rate > 0, 5.0, "the rate in policy/status")


def test_control_keeps_its_rate(learnt):
    learnt.running_episode(steps=12)
    status = learnt.status.last
    assert 95.0 < status.control_period_p50_ms < 105.0
    assert status.image_to_command_p50_ms < 200.0
    assert status.camera_delivery > 0.9


def test_a_second_run_of_the_same_name_is_refused(learnt, graph):
    began = time.monotonic()
    second = subprocess.run([sys.executable, "-m", "ws_bringup", "run", "--headless", f"run_dir:={graph.folder}"],
                            env=graph.environment, capture_output=True, text=True, timeout=20)
    assert second.returncode == 2 and "still running" in second.stderr and "NAME" in second.stderr
    assert time.monotonic() - began < 10.0
    assert set(graph.all_up()) == set(NODES)
    learnt.running_episode(after=time.time())


def test_progress_and_metrics_are_written(learnt, graph):
    rows = learnt.wait_for(lambda: [json.loads(line) for line in
                                    (graph.folder / "metrics.jsonl").read_text().splitlines()], 10.0, "metrics.jsonl")
    assert {"policy_episodes", "learner_learner_step", "cpu_s", "peak_rss_mib", "wall_s"} <= set(rows[-1])
    assert rows[-1]["policy_demonstrations"] == 2
    assert json.loads((graph.folder / "progress.json").read_text())["wall_s"] >= rows[-1]["wall_s"]


def test_no_node_complains(learnt, graph):
    assert graph.complaints() == []
    assert "starts again" not in graph.output.read_text()
