import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_policy.episodes import ENDS, STATES, EpisodeMachine, EpisodeOptions, Kind
from ws_policy.resets import (
    ACTIVE,
    FAULT,
    HOLD,
    LOCKED,
    RESETTING,
    WAIT_DEMONSTRATION,
    WAIT_RECORDER,
    WAIT_WEIGHTS,
    Inputs,
    Servo,
)


class World:
    """A driver, a twin and cameras that answer as they should, unless told otherwise."""

    def __init__(self, steps=5, **options):
        self.machine = EpisodeMachine(EpisodeOptions(**options), "pushing", steps, "s")
        self.now, self.mode, self.active = 0.0, LOCKED, -1.0
        self.silent = self.trouble = ""
        self.weights, self.human, self.demonstrating, self.recorded = True, False, False, True
        self.refuse = set()
        self.requests = []
        self.frames_since = 0.0
        self._arrives = None

    def tick(self):
        self.now = round(self.now + 0.1, 3)
        if self._arrives is not None and self.now >= self._arrives:
            self.mode, self._arrives = ACTIVE, None
        if self.mode == ACTIVE:
            self.active = self.now
        seen = self.now if "servo" not in self.silent else 0.0
        servo = Servo(self.mode, "why", 0.0, seen, self.active) if "driver" not in self.silent else None
        frames = None if "cameras" in self.silent else round(self.now * 1e9)
        verdict = self.machine.tick(Inputs(self.now, round(self.now * 1e9), servo, frames, self.trouble, self.human,
                                           self.weights, self.demonstrating, self.recorded))
        request = self.machine.take_request()
        if request is not None:
            self._serve(request)
        return verdict

    def _serve(self, request):
        self.requests.append(request.name)
        if request.name in self.silent:
            return
        if request.name in self.refuse:
            self.machine.answer(request.token, False, "no")
            return
        if request.name == "enable":
            self.mode = ACTIVE
        elif request.name == "reset":
            self.mode, self._arrives = RESETTING, self.now + 1.0
        self.machine.answer(request.token, True)

    def until(self, state, limit=600):
        for _ in range(limit):
            verdict = self.tick()
            if self.machine.state == state:
                return verdict
        raise AssertionError(f"{self.machine.state}, waits for {self.machine.waiting_for}")


def test_reset_goes_through_all_its_stations_in_order():
    world = World()
    verdict = world.until("running")
    assert world.requests == ["enable", "reset", "scene"]
    assert (verdict.kind, verdict.index) == (Kind.STEP, 0)
    assert world.machine.episode_id == "pushing-s-000001"


def test_time_limit_truncates_after_all_steps():
    world = World(steps=5)
    verdicts = [world.until("running")] + [world.tick() for _ in range(5)]
    assert [(v.kind, v.index) for v in verdicts[:5]] == [(Kind.STEP, i) for i in range(5)]
    end = verdicts[5]
    assert (end.kind, end.index, end.reward, end.terminated, end.truncated) == (Kind.END, 5, 0.0, False, True)
    assert world.machine.state == "timeout"


@pytest.mark.parametrize("how, reward", [("success", 1.0), ("failure", 0.0)])
def test_success_and_failure_terminate(how, reward):
    world = World()
    world.until("running")
    assert world.machine.end(how, "button") and world.machine.end("aborted", "later words do not count")
    end = world.tick()
    assert (end.kind, end.index, end.reward, end.terminated, end.truncated) == (Kind.END, 1, reward, True, False)
    assert world.machine.state == how


def test_success_needs_reports_in_a_row_and_beats_the_time_limit():
    world = World(steps=1)
    world.until("running")
    for success in (True, False, True):
        world.machine.report_success(success)
    world.machine.report_success(True)
    assert world.tick().terminated and world.machine.state == "success"


def test_single_reports_do_nothing():
    world = World()
    world.until("running")
    for success in (True, False, True, False):
        world.machine.report_success(success)
    assert world.tick().kind is Kind.STEP


def test_reports_before_the_episode_do_not_count():
    world = World()
    world.tick()
    world.machine.report_success(True)
    world.machine.report_success(True)
    world.until("running")
    assert world.tick().kind is Kind.STEP


@pytest.mark.parametrize("break_it, reason", [
    (lambda w: setattr(w, "silent", "servo"), "silent"),
    (lambda w: setattr(w, "mode", FAULT), "at fault: why"),
    (lambda w: setattr(w, "mode", LOCKED), "locked"),
    (lambda w: setattr(w, "mode", RESETTING), "resetting"),
    (lambda w: setattr(w, "trouble", "side camera: frozen"), "side camera"),
])
def test_broken_robot_aborts_as_truncated_within_its_time(break_it, reason):
    world = World(steps=1000)
    world.until("running")
    break_it(world)
    end = world.until("aborted", limit=8)
    assert end.kind is Kind.END and end.truncated and not end.terminated
    assert reason in world.machine.reason


def test_one_bad_observation_is_skipped_without_a_step():
    world = World()
    world.until("running")
    world.trouble = "the views are 0.30 s apart"
    assert world.tick().kind is Kind.IDLE
    world.trouble = ""
    verdict = world.tick()
    assert (verdict.kind, verdict.index) == (Kind.STEP, 1)


def test_hold_is_no_reason_to_abort():
    world = World()
    world.until("running")
    world.mode = HOLD
    assert world.tick().kind is Kind.STEP


def test_no_command_between_the_end_and_the_next_episode():
    world = World(steps=2)
    world.until("running")
    world.until("timeout")
    while True:
        verdict = world.tick()
        if world.machine.state == "running":
            break
        assert verdict.kind is Kind.IDLE
    assert world.machine.episode_id == "pushing-s-000002" and world.requests.count("reset") == 2


@pytest.mark.parametrize("lacking, words", [("weights", WAIT_WEIGHTS), ("recorded", WAIT_RECORDER)])
def test_waits_and_says_for_what(lacking, words):
    world = World()
    setattr(world, lacking, False)
    world.until("waiting")
    for _ in range(30):
        world.tick()
    assert world.machine.state == "waiting" and world.machine.waiting_for == words
    setattr(world, lacking, True)
    world.until("running", limit=2)


def test_demonstrations_wait_for_the_deadman_pause_without_it_and_give_up():
    world = World(pause_limit=2.0)
    world.demonstrating, world.weights = True, False
    for _ in range(40):
        world.tick()
    assert world.machine.waiting_for == WAIT_DEMONSTRATION
    world.human = True
    assert world.tick().kind is Kind.STEP and world.machine.demonstrating
    world.human = False
    assert world.tick().kind is Kind.IDLE and world.machine.waiting_for == WAIT_DEMONSTRATION
    world.human = True
    assert world.tick().index == 1
    world.human = False
    world.until("aborted", limit=25)


def test_a_person_sets_the_scene():
    world = World(scene_reset="operator")
    world.machine.person_ready()  # too early to count
    for _ in range(60):
        world.tick()
    assert "a person" in world.machine.waiting_for and world.machine.state == "waiting"
    world.machine.person_ready()
    world.until("running", limit=5)
    assert "scene" not in world.requests


def test_a_person_enables_when_told_so():
    world = World(auto_enable=False)
    for _ in range(20):
        world.tick()
    assert world.machine.waiting_for == "the driver to be enabled" and not world.requests
    world.mode = ACTIVE
    world.until("running")


def test_faults_are_left_to_a_person():
    world = World()
    world.mode = FAULT
    for _ in range(20):
        world.tick()
    assert "clear_fault" in world.machine.waiting_for and not world.requests
    world.mode = LOCKED
    world.until("running")


def test_a_driver_that_falls_silent_at_fault_is_waited_for_by_name():
    world = World()
    world.mode = FAULT
    for _ in range(20):
        world.tick()
    world.silent = "driver"
    for _ in range(20):
        world.tick()
    assert "servo/state of the driver" in world.machine.waiting_for and "went silent" in world.machine.waiting_for
    world.silent, world.mode = "", LOCKED
    world.until("running")


@pytest.mark.parametrize("service", ["enable", "reset", "scene"])
def test_lost_and_refused_calls_are_tried_again(service):
    world = World(call_timeout=1.0)
    world.silent = service
    for _ in range(60):
        world.tick()
    assert world.requests.count(service) >= 2 and "not within 1 s" in world.machine.waiting_for
    world.silent, world.refuse = "", {service}
    for _ in range(30):
        world.tick()
    assert "refused: no" in world.machine.waiting_for
    world.refuse = set()
    world.until("running")


def test_a_reset_that_ends_in_hold_is_tried_again():
    world = World()
    while "reset" not in world.requests:
        world.tick()
    world.mode, world._arrives = HOLD, None
    world.until("running")
    assert world.requests.count("reset") == 2


def test_a_restarted_driver_is_enabled_and_reset_again():
    world = World()
    world.weights = False
    while world.machine.waiting_for != WAIT_WEIGHTS:
        world.tick()
    world.mode, world.weights = LOCKED, True
    world.until("running")
    assert world.requests == ["enable", "reset", "scene"] * 2


def test_frames_must_be_newer_than_the_scene():
    world = World()
    world.silent = "cameras"
    for _ in range(700):
        world.tick()
    assert "fresh frames" in world.machine.waiting_for and world.machine.overdue
    world.silent = ""
    world.until("running", limit=3)


def test_an_end_before_the_first_step_records_nothing():
    world = World()
    world.demonstrating = world.human = True
    world.until("running")
    assert not World().machine.end("success", "service")  # nothing runs
    with pytest.raises(ValueError, match="victory"):
        world.machine.end("victory", "service")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["mode", "human", "trouble", "silent", "end", "demo", "report", "ready"]),
                          st.integers(0, 4)), max_size=60))
def test_whatever_happens_episodes_are_whole(events):
    """Indices rise by one from 0, every episode that stepped ends once, and an end has one flag."""
    world, open_index = World(steps=8), None
    for what, value in events:
        if what == "mode":
            world.mode = value
        elif what == "silent":
            world.silent = ("", "servo", "driver", "scene", "cameras")[value]
        elif what == "end":
            world.machine.end(ENDS[value % 4], "service")
        elif what == "report":
            world.machine.report_success(value > 1)
        elif what == "ready":
            world.machine.person_ready()
        else:
            setattr(world, {"demo": "demonstrating"}.get(what, what), value > 2)
        world.trouble = "no frame" if world.trouble else ""
        for _ in range(5):
            verdict = world.tick()
            assert world.machine.state in STATES
            if verdict.kind is Kind.STEP:
                assert verdict.index == (0 if open_index is None else open_index + 1)
                assert not world.machine.demonstrating or world.human
                open_index = verdict.index
            elif verdict.kind is Kind.END:
                assert verdict.index == (0 if open_index is None else open_index + 1)
                assert verdict.terminated != verdict.truncated and world.machine.state in ENDS
                open_index = None
