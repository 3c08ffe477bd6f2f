"""How a run ends and how it goes on: Ctrl-C at any time, the same folder again, the end of its minutes, kill -9."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
from graph import END_LIMIT, LEFT_LIMIT, Graph, free_domain, seed_demonstrations, wait_for
from probe import Probe

from ws_ppl import checkpoint
from ws_rollouts.bag import read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import DEMONSTRATION

pytestmark = pytest.mark.timeout(240)
SUMMARY = {
    "task", "mode", "seed", "commit", "machine", "profile", "wall_minutes", "cpu_minutes", "env_steps",
    "learner_steps", "episodes", "demos", "success_rate", "success_ci", "eval_episodes", "bc_success_rate",
    "intervention_rate", "control_period_p50_ms", "control_period_p99_ms", "image_to_command_p50_ms",
    "image_to_command_p99_ms", "weight_lag_s", "updates_per_s", "peak_rss_mib",
}  # fmt: skip
MINUTES = 1.4  # of the second session
HIL_SERL = "mode:=hil_serl"  # the other tests of the whole graph run the default mode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ending") / "run"
    seed_demonstrations(folder)
    return folder


@pytest.fixture(scope="module")
def first(folder, make_graph):
    """A run that recorded two episodes and was ended by Ctrl-C: what it was, and what was seen of its end."""
    graph = make_graph(HIL_SERL, folder=folder)
    probe = Probe(graph)
    try:
        probe.running_episode(60.0)
        for _ in range(2):
            probe.finish_episode()
        probe.wait_for(lambda: probe.learner.last.episodes == 4 and probe.learner.last.weights_version > 1,
                       LEFT_LIMIT, "the learner to have taken both")
        probe.running_episode()
    finally:
        probe.close()
    memory = graph.shared_memory()
    took = graph.interrupt()
    return graph, took, {path for path in memory if path.exists()}


@pytest.fixture(scope="module")
def second(first, make_graph):
    """The same folder run again until its minutes are over; the probe, after the first step of the policy."""
    graph = make_graph("--minutes", str(MINUTES), HIL_SERL, "evaluation_episodes:=1", folder=first[0].folder)
    probe = Probe(graph)
    yield probe
    probe.close()


def bags(folder):
    return {s.episode_id: s for s in finished(folder / "bags")[0]}


def test_interrupt_ends_all_processes_and_frees_their_memory(first):
    graph, took, memory = first
    assert graph.runner.returncode == 0, graph.describe()
    assert took < END_LIMIT
    assert graph.leftovers() == []
    assert memory == set()


def test_no_node_complains_where_nothing_is_imagined(first):
    assert first[0].complaints() == []


def test_interrupt_leaves_whole_bags_and_a_checkpoint_of_them(first, folder):
    graph, *_ = first
    assert not list((folder / "bags" / ".open").glob("*"))
    for summary in bags(folder).values():
        assert len(read_episode(summary.uri)) == summary.steps
    assert len(bags(folder)) in (4, 5), "two from before, two, and the one that was running"
    known = checkpoint.read(folder / "checkpoints")[1]["episodes"]
    assert len(known) == len(set(known)) >= 4


def test_the_summary_says_what_the_run_was(first, folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) >= SUMMARY
    assert (summary["task"], summary["mode"], summary["seed"], summary["demos"]) == ("pushing", "hil_serl", 0, 2)
    assert summary["success_rate"] is None, "nobody evaluated"
    assert summary["episodes"] >= 2 and summary["env_steps"] > 0 and summary["learner_steps"] > 5
    assert 0 < summary["wall_minutes"] < 3 and summary["peak_rss_mib"] > 500
    assert summary["control_period_p50_ms"] > 0


def test_the_same_folder_goes_on_where_it_was(second, folder):
    known, step = bags(folder), checkpoint.read(folder / "checkpoints")[1]["learner_step"]
    rollouts = [s for s in known.values() if s.source != DEMONSTRATION]
    told = second.wait_for(lambda: [m.content for m in second.status.update() if m.content.state != "running"], 40.0,
                           "the policy between two episodes")[0]  # whoever listens late misses those before the first
    assert told.demonstrations == 2 and told.episodes >= len(rollouts)
    second.wait_for(lambda: len(bags(folder)) - 2 >= told.episodes, 15.0, "the bags of all episodes it tells of")
    rollouts += [s for name, s in bags(folder).items() if name not in known][: told.episodes - len(rollouts)]
    assert (told.episodes, told.env_steps) == (len(rollouts), sum(s.steps for s in rollouts))
    learner = second.wait_for(second.learner.update, LEFT_LIMIT,
                              "the learner, which is silent until it has resumed")[0].content
    assert learner.learner_step >= step and learner.demonstrations == 2
    second.wait_for(lambda: second.learner.last.episodes == len(bags(folder)), LEFT_LIMIT,
                    "the learner to have each bag")
    version = checkpoint.read(folder / "checkpoints")[1]["version"]
    name = second.running_episode(40.0)
    assert name not in known
    assert second.steps.last.weights_version >= version > 0, "it acts with what was learnt before"
    assert not [m for m in second.steps.update() if m.content.source == DEMONSTRATION]


def test_a_run_ends_with_its_minutes_and_an_evaluation(second, folder):
    graph = second.graph
    wait_for(lambda: graph.runner.poll() is not None, 90.0 + END_LIMIT, "the end of the minutes", graph.describe)
    assert graph.runner.returncode == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["eval_episodes"] == 1 and summary["success_rate"] in (0.0, 1.0), graph.describe()
    low, high = summary["success_ci"]
    assert 0.0 <= low < high <= 1.0
    assert MINUTES * 0.75 < summary["wall_minutes"] < 4, "of both; this one had all but the evaluation's quarter"
    assert graph.leftovers() == []


def test_no_process_outlives_a_killed_runner_and_the_next_run_starts(second, make_graph, folder):
    wait_for(lambda: second.graph.runner.poll() is not None, 120.0, "the run before", second.graph.describe)
    graph = make_graph(folder=folder)
    wait_for(graph.all_up, 20.0, "all processes", graph.describe)
    memory = wait_for(graph.shared_memory, 20.0, "shared memory in use", graph.describe)
    graph.runner.kill()
    graph.runner.wait(5.0)
    wait_for(lambda: not graph.leftovers(), 5.0, "the end of all nodes", graph.leftovers)
    again = make_graph(folder=folder)
    wait_for(again.all_up, 20.0, "all processes of the next run", again.describe)
    again.interrupt()
    assert not {path for path in memory if path.exists()}, "the next run tidies up"


INTERRUPTED = """
import os, signal, sys
from ws_bringup import session
from ws_bringup.cli import main

make = session.make_graph

def interrupted(settings):
    os.kill(os.getpid(), signal.SIGINT)
    return make(settings)

session.make_graph = interrupted
sys.exit(main(sys.argv[1:]))
"""


def test_interrupt_before_anything_has_started(tmp_path):
    words = [sys.executable, "-c", INTERRUPTED, "run", "--headless", f"run_dir:={tmp_path / 'run'}"]
    run = subprocess.run(words, env={**os.environ, "ROS_DOMAIN_ID": str(free_domain())}, timeout=30,
                         capture_output=True, text=True)
    assert run.returncode == 0 and "SIGINT: ending" in run.stdout, run


@pytest.mark.parametrize("seconds", [0.3, 1.5, 4.0])
def test_interrupt_while_it_starts(tmp_path, seconds):
    graph = Graph(tmp_path / "run", free_domain()).start()
    try:
        time.sleep(seconds)  # the moment is what is tested
        graph.interrupt()
        assert graph.runner.returncode in (0, 130, -2), graph.describe()
        assert graph.leftovers() == []
    finally:
        graph.close()


def test_interrupt_again_and_again(tmp_path):
    """Somebody leans on the keys: it still ends in order."""
    graph = Graph(tmp_path / "run", free_domain()).start()
    try:
        wait_for(graph.all_up, 20.0, "all processes", graph.describe)
        for _ in range(5):
            if graph.runner.poll() is None:
                graph.runner.send_signal(psutil.signal.SIGINT)
            time.sleep(0.05)
        wait_for(lambda: graph.runner.poll() is not None, END_LIMIT, "the end", graph.describe)
        assert graph.runner.returncode == 0, graph.describe()
        assert graph.leftovers() == []
    finally:
        graph.close()
