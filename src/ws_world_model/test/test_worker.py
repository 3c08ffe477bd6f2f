"""The order of the work: read, train in rounds, publish or drop, generate, and wait when it must."""

import json

import pytest

from ws_rollouts.bag import write_episode
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.intake import Intake, trained_of
from ws_world_model.report import numbers
from ws_world_model.store import Store, StoreOptions
from ws_world_model.testing import FakeStudent
from ws_world_model.worker import Worker, WorkerOptions

TASK = load_task("pushing")
OPTIONS = {"demonstrations": 3, "adapt_steps": 4, "round_steps": 4, "every_episodes": 4, "unread": 6,
           "generate_share": 0.0, "replays": 0}


class Bench:
    """A worker with a clock that stands still, and what it said."""

    def __init__(self, folder, student=None, resume=False, **options):
        self.folder, self.now, self.said, self.announced = folder, 0.0, [], []
        self.student = student or FakeStudent()
        notes = self.student.disk[self.student.version][1] if resume else None
        self.intake = Intake(TASK, shortest=2, trained=trained_of(notes))
        self.worker = Worker(
            self.student, self.intake, Store(folder / "synthetic", StoreOptions(min_free_mib=0)),
            WorkerOptions(**{**OPTIONS, **options}), announce=self.announced.append, say=self.said.append,
            clock=lambda: self.now, cpu=self.spent)
        if resume:
            self.worker.resumed(notes)
            self.intake.offer_all(folder / "bags")

    def spent(self):
        """CPU time: a second for each bag, step and segment."""
        return float(self.intake.episodes + self.student.steps + self.student.generated)

    def record(self, *numbers, demonstration=False):
        for number in numbers:
            episode = make_episode(3, episode_id=f"pushing_{number:04d}", seed=number, demonstration=demonstration)
            self.intake.offer(str(write_episode(self.folder / "bags", episode)))

    def work(self, most=200):
        """Units until there is nothing to do, or so many."""
        return next((n for n in range(most) if not self.worker.work()), most)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.record(0, 1, 2, demonstration=True)
    return bench


def test_generation_has_its_share_when_there_is_always_something_to_train_on(tmp_path):
    """A step and a segment cost the fake student 1 s each: rounds of 4 steps, and 2 segments between them."""
    bench = Bench(tmp_path, generate_share=1 / 3, adapt_steps=10_000, unread=1000)
    bench.record(0, 1, 2, demonstration=True)
    bench.work(400)
    rounds, segments = bench.student.version, bench.student.generated
    assert rounds > 3 and abs(segments - 2 * (rounds - 1)) <= 2


def test_it_waits_for_demonstrations_and_says_so(tmp_path):
    bench = Bench(tmp_path)
    bench.record(0, 1, demonstration=True)
    bench.work()
    assert bench.worker.state == ("waiting", "demonstrations: 2 of 3") and bench.student.steps == 0


def test_demonstrations_lead_to_a_version_and_that_to_synthetic_rollouts(bench):
    bench.work()
    assert list(bench.student.disk) == [1] and bench.student.steps == 4
    assert bench.student.trained_with[0] == {"pushing_0000"}, "the newest two wait"
    assert len(bench.announced) == 6 == len(bench.worker.store)
    assert bench.worker.state == ("waiting", "the learner has not read what is there")
    bench.worker.unread = 0
    bench.work(1)
    assert bench.worker.state[0] == "generating"
    bench.work()
    assert len(bench.announced) == 12


def test_numbers_are_flat_finite_and_true(bench):
    before = numbers(bench.worker)
    assert before["state"] == "reading" and before["holdout_psnr"] == 0.0
    bench.work()
    after = numbers(bench.worker)
    assert set(before) == set(after)
    assert (after["version"], after["gate"], after["holdout_psnr"], after["synthetic_success"]) == (1, "open", 24.0, 3)
    assert after["synthetic_transitions"] == 6 * 4 and after["queue"] == 6 and after["generated_abstain"] == 3
    assert all(isinstance(v, (int, float, str)) for v in json.loads(json.dumps(after, allow_nan=False)).values())


def test_new_episodes_start_a_round_when_they_are_enough_or_have_waited(bench):
    bench.work()
    bench.record(3, 4, 5)
    bench.work()
    assert bench.student.steps == 4
    bench.now += 601.0
    bench.work()
    assert bench.student.steps == 8 and bench.student.version == 2
    bench.record(6, 7, 8, 9)
    bench.work()
    assert bench.student.version == 3 and len(bench.student.trained_with[-1]) == 8


def test_held_out_episodes_are_never_trained_on_while_they_are(bench):
    for numbers_ in ((), (3, 4, 5, 6), (7,), (8, 9, 10)):
        bench.record(*numbers_)
        bench.work()
    assert bench.student.version == 3
    for episode, steps in bench.student.measured:
        assert not any(episode in seen for seen in bench.student.trained_with[:steps])


def test_a_worse_version_is_not_published_and_its_weights_are_dropped(bench):
    bench.work()
    bench.student.gain = -0.2
    bench.record(3, 4, 5, 6)
    bench.work()
    assert list(bench.student.disk) == [1] and (bench.student.skill, bench.student.steps) == (24.0, 4)
    assert bench.worker.rounds_dropped == 1 and "dropped: held-out PSNR" in bench.said[-1]
    assert bench.worker.verdict.allowed, "the version in use is as good as before"
    bench.student.gain = -0.05
    bench.record(7, 8, 9, 10)
    bench.work()
    assert bench.student.version == 2, "a little worse on new episodes is noise"


def test_a_loss_that_is_not_finite_costs_a_round_only(bench):
    bench.work()
    bench.student.gain = float("nan")
    bench.record(3, 4, 5, 6)
    bench.work()
    assert bench.student.skill == 24.0 and "not finite" in bench.said[-1]
    bench.student.gain = 1.0
    bench.now += 601.0
    bench.work()
    assert bench.student.version == 2


def test_it_trains_on_until_it_is_good_enough_and_generates_nothing_before(tmp_path):
    bench = Bench(tmp_path, FakeStudent(gain=0.25))
    bench.record(0, 1, 2, demonstration=True)
    while not bench.announced:
        assert bench.worker.work()
        assert bench.student.generated == 0 or bench.worker.score.psnr > 23.0
    assert bench.student.version == 4


def test_a_reward_model_that_errs_stops_generation_and_replays_may_open_it_again(bench):
    bench.student.rewards_stopped = True
    bench.work()
    assert bench.student.generated == 0 and bench.student.replays == 1
    assert "calls too many failures successes" in bench.worker.state[1]
    bench.now += 6.0
    bench.work()
    assert bench.student.replays == 2
    bench.student.rewards_stopped = False
    bench.work()
    assert bench.announced


def test_successes_that_are_not_recognised_stop_generation_until_newer_weights_show_them(tmp_path):
    bench = Bench(tmp_path, replays=3)
    bench.student.recall = 0.0
    bench.record(0, 1, 2, demonstration=True)
    bench.work()
    assert bench.student.generated == 0 and bench.student.replays == 3 + 1, "after the round, and while it waits"
    assert "0% of replayed successes recognised" in bench.worker.state[1]
    bench.student.recall = 1.0
    bench.work()
    assert bench.announced


def test_an_auc_that_cannot_be_told_leaves_the_last_one(bench):
    bench.work()
    bench.student.auc = float("nan")
    bench.record(3, 4, 5, 6)
    bench.work()
    assert bench.student.version == 2 and bench.worker.reward_auc == 0.99


def test_a_full_disk_pauses_and_goes_on_when_there_is_room(bench):
    bench.student.full = True
    units = bench.work()
    assert units < 200 and bench.student.version == 0
    assert bench.worker.state[0] == "paused" and "No space left on device" in bench.worker.state[1]
    bench.student.full = False
    assert bench.work() == 0, "not before it is time"
    bench.now += 31.0
    bench.work()
    assert bench.student.version == 1 and bench.announced and not bench.worker.error


def test_a_full_disk_pauses_generation_only(bench):

    bench.worker.store.options = StoreOptions(min_free_mib=10**7)
    bench.work()
    assert bench.student.version == 1 and not bench.announced and bench.worker.state[0] == "paused"
    bench.record(3, 4, 5, 6)
    bench.work()
    assert bench.student.version == 2, "training goes on"
    bench.worker.store.options = StoreOptions(min_free_mib=0)
    bench.now += 31.0
    bench.work()
    assert len(bench.announced) == 6 and not bench.worker.error


def test_a_restart_goes_on_where_the_last_version_was(bench):
    bench.work()
    bench.record(3, 4, 5, 6)
    bench.work()
    saved = bench.student.disk[2]
    student = FakeStudent()
    student.disk, student.version, student.skill, student.steps = {2: saved}, 2, saved[0], 8
    again = Bench(bench.folder, student, resume=True)
    again.work()
    assert again.worker.verdict.allowed and student.version == 2 and student.steps == 8, "nothing new: no round"
    assert [e.episode_id for e in again.intake.held] == ["pushing_0005", "pushing_0006"]
    assert len(student.added) == 5 and again.announced
    again.record(7, 8)
    again.work()
    assert student.version == 3, "the two that were held out count as new, too"


def test_old_versions_rollouts_are_evicted_with_a_new_version(bench):
    bench.work()
    for start in (3, 7, 11):
        bench.record(*range(start, start + 4))
        bench.worker.unread = 0
        bench.work()
    assert bench.student.version == 4
    assert {entry.version for entry in bench.worker.store.entries} == {2, 3, 4}


def test_it_uses_no_more_of_a_core_than_it_may(tmp_path):
    bench = Bench(tmp_path, cpu_share=0.01)
    bench.record(0, 1, demonstration=True)
    assert bench.worker.work() and not bench.worker.work()
    bench.now += 100.0
    assert bench.worker.work()
