"""When demonstrations are moved and how often, what is said where they cannot be, and when the worker does it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import POLICY
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.intake import Intake
from ws_world_model.proposals import relocator as module
from ws_world_model.proposals.precision import LEAST
from ws_world_model.proposals.relocate import RelocateOptions
from ws_world_model.proposals.relocator import OFF, Relocator
from ws_world_model.report import numbers
from ws_world_model.scene.testing import pressed
from ws_world_model.store import Store, StoreError, StoreOptions
from ws_world_model.testing import FakeStudent
from ws_world_model.worker import RETRY, Worker, WorkerOptions

TASK = load_task("pushing", {"scatter": [0.03, 0.02, 0.3]})
TIGHT = load_task("pushing", {"workspace_low": [0.15, -0.15, 0.2]})  # too high for the hand to come down to the box


@pytest.fixture(scope="module")
def shown():
    return [pressed(number, center=(0.26 + 0.01 * number, 0.0)) for number in range(4)]


def blind(number=0, **values):
    return make_episode(14, episode_id=f"pushing-blind-{number:04d}", demonstration=True, seed=number, **values)


def make_all(relocator, most=40):
    """Episodes until none is due."""
    made = []
    for _ in range(most):
        if not relocator.due:
            return made
        made.append(relocator.make())
    raise AssertionError("it never ends")


# alone


def test_few_are_due_of_the_first_demonstrations_and_all_with_the_last(shown):
    relocator = Relocator(TASK, 8, 4)
    counts = []
    for episode in shown:
        assert relocator.offer(episode) == []
        make_all(relocator)
        counts.append(relocator.made)
    assert counts == [1, 1, 4, 8]
    relocator.offer(pressed(9))
    assert not relocator.due, "more demonstrations than awaited give no more"


def test_a_demonstration_without_depth_counts_as_one_that_has_come(shown):
    relocator = Relocator(TASK, 4, 4)
    assert "no depth" in relocator.offer(blind())[0] and not relocator.due
    relocator.offer(shown[0])
    assert len(make_all(relocator)) == 1, "of 4 for two of 4"


def test_the_gate_says_why_it_is_closed(shown):
    relocator = Relocator(TASK, 4, 4)
    assert relocator.gate == ("closed", ""), "nothing is known yet"
    relocator.offer(blind())
    assert relocator.gate == ("closed", "no demonstration can be moved: no depth") and relocator.donors == 0
    relocator.offer(shown[0])
    assert relocator.gate == ("open", "") and relocator.donors == 1


@pytest.mark.parametrize("change", [
    {"terminated": False, "truncated": True}, {"source": POLICY},
], ids=["failed", "of the policy"])
def test_what_is_no_successful_demonstration_is_passed_over(shown, change):
    relocator, episode = Relocator(TASK, 4, 4), shown[0]
    if "source" in change:
        change = {"source": 0 * episode.source + POLICY}
    assert relocator.offer(replace(episode, **change)) == [] and relocator.gate == ("closed", "")
    assert not relocator.due and relocator.donors == 0


def test_no_more_donors_than_wanted_are_kept(shown):
    relocator = Relocator(TASK, 8, 4, RelocateOptions(donors=1))
    for episode in shown:
        assert relocator.offer(episode) == []
    made = make_all(relocator)
    assert relocator.donors == 1 and {e.notes["parent"] for e in made if e} == {shown[0].episode_id}
    assert relocator.made == 8


def test_none_wanted_is_off(shown):
    relocator = Relocator(TASK, 0, 4)
    assert relocator.offer(shown[0]) == [] and relocator.gate == ("closed", OFF)
    assert not relocator.due and relocator.donors == 0


def test_when_hardly_any_can_be_done_the_gate_closes_and_says_which(shown):
    relocator = Relocator(TIGHT, 100, 1)
    relocator.offer(shown[0])
    assert make_all(relocator) == [None] * module.LEAST_TRIES
    gate, reason = relocator.gate
    assert gate == "closed" and reason == "20 of 20 relocations dropped, most often: did not arrive"
    assert relocator.dropped == {"did not arrive": 20}


def test_what_is_there_from_before_is_not_made_again(shown):
    before = Relocator(TASK, 4, 1, session="a")
    before.offer(shown[0])
    first = [before.make() for _ in range(2)]
    after = Relocator(TASK, 4, 1, session="b")
    after.had(2)
    after.offer(shown[0])
    rest = make_all(after)
    assert len(rest) == 2 and after.made == 4
    assert len({e.episode_id for e in (*first, *rest)}) == 4
    assert len({e.notes["motions"] for e in (*first, *rest)}) == 4, "other places, not the same once more"


# in the worker


class Bench:
    """A worker on a run folder, with a clock that stands still."""

    def __init__(self, folder, wanted=4, needed=2, task=TASK, store=None, **options):
        self.folder, self.now, self.said, self.announced = folder, 0.0, [], []
        self.student = FakeStudent()
        self.intake = Intake(TASK, shortest=2, depth=True)
        self.relocator = Relocator(task, wanted, needed, session=f"{id(self)}")
        self.worker = Worker(
            self.student, self.intake, Store(folder / "synthetic", store or StoreOptions(min_free_mib=0)),
            WorkerOptions(**{"demonstrations": needed, "adapt_steps": 2, "round_steps": 2, "replays": 0,
                             "relocations": wanted, **options}),
            relocator=self.relocator, announce=self.announced.append, say=self.said.append, clock=lambda: self.now,
            cpu=lambda: 0.0)
        self.intake.offer_all(folder / "bags")

    def record(self, *episodes):
        for episode in episodes:
            self.intake.offer(str(write_episode(self.folder / "bags", episode)))

    def work(self, most=300):
        return next((n for n in range(most) if not self.worker.work()), most)


def kinds(bench):
    return [read_episode(Path(summary.uri)).notes.get("kind", "") for summary in bench.announced]


def test_relocation_goes_before_training(tmp_path, shown):
    bench = Bench(tmp_path, generate_share=0.0, unread=1)
    bench.record(*shown[:2])
    bench.worker.work()
    assert bench.worker.state == ("relocating", "0 of 4 demonstrations in other scenes")
    while len(bench.announced) < 4:
        assert bench.worker.work() and bench.student.steps == 0
    assert kinds(bench) == ["relocated"] * 4
    bench.work()
    assert bench.student.steps > 0 or bench.worker.state[0] == "waiting"
    found = numbers(bench.worker)
    assert (found["relocation_gate"], found["relocated"], found["relocation_donors"]) == ("open", 4, 2)
    assert found["relocation_dropped"] == bench.relocator.dropped.total()


def test_real_rollouts_tell_how_far_labels_can_be_trusted(tmp_path, shown):
    bench = Bench(tmp_path, wanted=1)
    rollouts = [replace(shown[1], episode_id=f"pushing-rollout-{number:04d}",
                        source=np.full_like(shown[1].source, POLICY)) for number in range(LEAST)]
    bench.record(shown[0], *rollouts[:-1])
    bench.work()
    assert numbers(bench.worker)["label_precision"] == 0.0
    bench.record(rollouts[-1])
    bench.work()
    assert numbers(bench.worker)["label_precision"] == 1.0


def test_only_the_relocator_keeps_all_that_the_cameras_saw(tmp_path, shown):
    bench = Bench(tmp_path, wanted=1)
    bench.record(shown[0])
    bench.work()
    assert bench.relocator.donors == 1
    kept = (*bench.intake.held, *bench.worker._demos)
    assert kept and all(len(stream) == 1 for episode in kept for stream in episode.rgbd.values()), "but for the first"


def test_they_are_counted_across_a_restart(tmp_path, shown):
    bench = Bench(tmp_path)
    bench.record(shown[0])
    bench.work()
    assert bench.worker.store.relocated == bench.relocator.made == 1
    again = Bench(tmp_path)
    assert again.relocator.made == again.worker.store.relocated == 1
    again.work()
    assert again.worker.store.relocated == 1
    again.record(*shown[1:3])
    again.work()
    assert again.worker.store.relocated == 4 and again.relocator.made == 4


def test_a_full_disk_pauses_and_is_tried_again(tmp_path, shown):
    bench = Bench(tmp_path, store=StoreOptions(min_free_mib=10**7))
    bench.record(*shown[:2])
    bench.work(10)
    assert bench.worker.state[0] == "paused" and "min_free_mib" in bench.worker.state[1]
    assert bench.relocator.made <= 1 and sum("tried again" in line for line in bench.said) == 1
    bench.worker.store.options = StoreOptions(min_free_mib=0)
    bench.work(10)
    assert not bench.announced, "not before it is time"
    bench.now += RETRY + 1
    bench.work()
    assert kinds(bench)[:4] == ["relocated"] * 4 and not bench.worker.error


def test_a_disk_that_refuses_a_whole_one_gets_it_later(tmp_path, shown, monkeypatch):
    bench = Bench(tmp_path)
    bench.record(*shown[:2])

    def refuse(_):
        raise StoreError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(bench.worker.store, "write", refuse)
        bench.work(20)
    assert bench.worker.state == ("paused", "no room") and bench.relocator.made == 1 and not bench.announced
    bench.now += RETRY + 1
    bench.work()
    assert bench.worker.store.relocated == 4 == bench.relocator.made and not bench.worker.error


@pytest.mark.parametrize(("recall", "kept"), [(0.95, 0), (0.5, 4)])
def test_a_reward_model_that_knows_successes_has_a_say(tmp_path, shown, recall, kept):
    bench = Bench(tmp_path)
    bench.student.recall, bench.student.disputes = recall, lambda episode: True
    bench.record(*shown[:2])
    bench.work()
    assert bench.worker.store.relocated == kept
    assert (bench.relocator.dropped[module.DISPUTED] > 0) == (kept == 0)
    if not kept:
        assert module.DISPUTED in bench.relocator.gate[1] and bench.relocator.gate[0] == "closed"


def test_demonstrations_that_cannot_be_moved_are_said_and_learned_from(tmp_path):
    bench = Bench(tmp_path)
    bench.record(*(blind(number) for number in range(4)))
    bench.work()
    assert sum("demonstration cannot be moved: no depth" in line for line in bench.said) == 4
    assert bench.student.steps > 0 and bench.worker.store.relocated == 0
    found = numbers(bench.worker)
    assert (found["relocation_gate"], found["relocated"]) == ("closed", 0)
    assert found["relocation_reason"] == "no demonstration can be moved: no depth"


def test_a_failed_demonstration_is_passed_over(tmp_path):
    bench = Bench(tmp_path)
    bench.record(blind(outcome="timeout"))
    bench.work()
    assert bench.relocator.gate == ("closed", "") and not [line for line in bench.said if "moved" in line]


def test_a_damaged_bag_among_them_stops_nothing(tmp_path, shown):
    bench = Bench(tmp_path, needed=1)
    broken = Path(write_episode(tmp_path / "bags", blind(7)))
    next(broken.glob("*.mcap")).write_bytes(b"nothing")
    bench.intake.offer(str(broken))
    bench.record(shown[0])
    bench.work()
    assert sum(bench.intake.rejected.values()) == 1 and bench.worker.store.relocated == 4
