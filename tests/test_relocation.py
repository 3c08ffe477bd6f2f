"""The whole graph on real processes: depth is recorded with demonstrations, these are moved, and the learner imitates
both from its first step on."""

import json
from pathlib import Path

import pytest
from probe import LATCHED

from ws_interfaces.msg import Rollout, WorldModelStatus
from ws_ppl.synthetic import check_synthetic, is_relocated
from ws_rollouts.bag import read_episode
from ws_rollouts.episode import DEMONSTRATION, VIEWS
from ws_rollouts.task import load_task

pytestmark = pytest.mark.timeout(240)
TASK = load_task("pushing")
LEAST = 3
WITHIN = 120.0  # s for two demonstrations and what is made of them; the world model gets only what others leave


@pytest.fixture(scope="module")
def graph(make_graph):
    return make_graph(values={"learner": {"learner.imagined_least": LEAST},
                              "world_model": {"worker.relocations": 60}})  # two of five demonstrations give four


@pytest.fixture(scope="module")
def heard(graph, make_probe):
    """The probe once the learner has imitated what was moved, with what the world model says."""
    probe = make_probe(graph)
    probe.world_model = probe.hear("world_model/status", WorldModelStatus)
    probe.synthetic = probe.hear("rollouts/synthetic", Rollout, LATCHED)
    probe.wait_for(lambda: probe.learner.last and probe.learner.last.learner_step > 0, WITHIN, "a step of the learner")
    probe.wait_for(lambda: probe.world_model.last.relocated >= 4, WITHIN, "all relocations")
    probe.wait_for(lambda: probe.learner.last.imagined_episodes >= 4, WITHIN, "all of them with the learner")
    return probe


def test_demonstrations_are_recorded_with_depth(heard):
    rollout = next(m.content for m in heard.rollouts.update() if m.content.source == DEMONSTRATION)
    episode = read_episode(Path(rollout.uri), TASK, rgbd=True)
    assert set(episode.rgbd) == set(VIEWS)
    for stream in episode.rgbd.values():
        assert len(stream) >= 4 and stream.depth.any(axis=(1, 2)).all()


def test_the_learner_waits_for_relocated_ones_and_imitates_them(heard):
    trained = [m.content for m in heard.learner.update() if m.content.learner_step > 0]
    assert all(status.imagined_episodes >= LEAST and status.imagined_transitions > 0 for status in trained)
    assert all(status.imagined_share > 0.0 for status in trained) and not trained[-1].bags_rejected


def test_relocated_bags_are_fit_and_come_from_what_was_shown(heard):
    shown = {m.content.episode_id for m in heard.rollouts.update() if m.content.source == DEMONSTRATION}
    announced = [m.content for m in heard.synthetic.update()]
    assert len(announced) >= 4 and len({rollout.episode_id for rollout in announced}) == len(announced)
    for rollout in announced:
        episode = read_episode(Path(rollout.uri), TASK)
        check_synthetic(episode, newest=0)
        assert is_relocated(episode) and episode.notes["parent"] in shown and len(episode) == rollout.steps


def test_the_world_model_says_what_it_does(heard, graph):
    status = heard.world_model.last
    assert (status.relocation_gate, status.relocation_reason, status.relocated) == ("open", "", 4)
    assert 1 <= status.relocation_donors <= 2 and status.version == 0
    heard.wait_for(lambda: "relocation: open" in graph.output.read_text(), 30.0, "the gates in the progress line")
    assert json.loads((graph.folder / "progress.json").read_text())["world_model_relocation_gate"] == "open"
    assert not graph.complaints()
