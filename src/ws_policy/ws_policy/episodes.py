"""Episodes: reset, waiting, running, and the four ways in which one ends."""

from __future__ import annotations

import enum
import secrets
import time
from dataclasses import dataclass

from ws_node.options import option
from ws_policy.resets import FAULT, LOCKED, RESETTING, WAIT_DEMONSTRATION, Inputs, Request, ResetOptions, ResetSequence

STATES = ("reset", "waiting", "running", "success", "failure", "timeout", "aborted")
ENDS = STATES[3:]


@dataclass(frozen=True)
class EpisodeOptions(ResetOptions):
    """When an episode starts, and what ends it."""

    demonstrations: int = option(5, "successful demonstrations to record before the policy acts", low=0, high=10000)
    success_source: str = option("twin", "who tells success, beside buttons and services; the classifier calls one",
                                 choices=("twin", "operator", "classifier"))
    success_reports: int = option(2, "reports of success in a row that count as one", low=1, high=100)
    observation_timeout: float = option(0.5, "no usable observation for this long aborts", unit="s", low=0.05, high=5.0)
    pause_limit: float = option(30.0, "longest pause in a demonstration", unit="s", low=0.1, high=3600.0)


class Kind(enum.Enum):
    """What to do at this tick."""

    IDLE = enum.auto()  # nothing: no command goes out, so the driver holds
    STEP = enum.auto()  # observe and act
    END = enum.auto()  # observe for the last time


@dataclass(frozen=True)
class Verdict:
    """What to do, and the fields of Step that go with it."""

    kind: Kind
    index: int = 0
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


def session_name() -> str:
    """A name that no other start of the policy has: UTC time and six random hex digits."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


class EpisodeMachine:
    """Decides at every tick whether to wait, to step or to end. Knows no ROS; time is passed in.

    Step 0 is the first observation; after T steps the END verdict has index T. An END with index 0 took no
    action: there is nothing to record.
    """

    def __init__(self, options: EpisodeOptions, task: str, episode_steps: int, session: str | None = None):
        self.state = "reset"
        self.reason = ""  # why the last episode ended
        self.episode_id = ""
        self.demonstrating = False
        self.index = 0
        self._options = options
        self._task = task
        self._limit = episode_steps
        self._session = session or session_name()
        self._counter = 0
        self._reset = ResetSequence(options)
        self._pending: tuple[str, str] | None = None
        self._reports = 0
        self._trouble_since: float | None = None
        self._pause_since: float | None = None

    @property
    def waiting_for(self) -> str:
        """What it waits for; empty while it steps."""
        if self.state == "running" and self._pause_since is not None:
            return WAIT_DEMONSTRATION
        if self.state not in ("reset", "waiting"):
            return ""
        trouble = f" (try {self._reset.retries + 1}; {self._reset.trouble})" if self._reset.trouble else ""
        return self._reset.waiting_for + trouble

    @property
    def overdue(self) -> bool:
        """The wait is longer than it should be."""
        return self.state in ("reset", "waiting") and self._reset.overdue

    def take_request(self) -> Request | None:
        """The service call to make now, once."""
        return self._reset.take_request()

    def answer(self, token: int, accepted: bool, message: str = "") -> None:
        """The result of a request."""
        self._reset.answer(token, accepted, message)

    def person_ready(self) -> None:
        """A person says that the scene is set."""
        self._reset.person_ready()

    def report_success(self, success: bool) -> None:
        """A report of the success source, at any rate; `success_reports` in a row end the episode."""
        self._reports = self._reports + 1 if success else 0
        if self._reports >= self._options.success_reports:
            self.end("success", "task state")

    def end(self, how: str, reason: str) -> bool:
        """End the running episode at the next tick as success, failure or aborted; the first word counts.

        False when no episode runs.
        """
        if how not in ENDS:
            raise ValueError(f"how = {how!r}: must be one of {', '.join(ENDS)}")
        if self.state != "running":
            return False
        self._pending = self._pending or (how, reason)
        return True

    def tick(self, inputs: Inputs) -> Verdict:
        """Call at control rate."""
        if self.state in ENDS:
            self.state = "reset"
            self._reset.start()
        if self.state != "running":
            if not self._reset.tick(inputs):
                self.state = "waiting" if self._reset.waiting else "reset"
                return Verdict(Kind.IDLE)
            self._begin(inputs)
        return self._run(inputs)

    def _begin(self, inputs: Inputs) -> None:
        self._counter += 1
        self.episode_id = f"{self._task}-{self._session}-{self._counter:06d}"
        self.state, self.reason, self.index = "running", "", 0
        self.demonstrating = inputs.demonstrating
        self._pending, self._reports, self._trouble_since, self._pause_since = None, 0, None, None

    def _run(self, inputs: Inputs) -> Verdict:
        paused = self.demonstrating and not inputs.human
        self._trouble_since = _since(self._trouble_since, bool(inputs.trouble), inputs.now)
        self._pause_since = _since(self._pause_since, paused, inputs.now)
        ending = self._pending or self._broken(inputs)
        if ending is None and self.index >= self._limit:
            ending = ("timeout", f"{self._limit} steps")
        if ending is not None:
            return self._finish(*ending)
        if inputs.trouble or paused:
            return Verdict(Kind.IDLE)
        self.index += 1
        return Verdict(Kind.STEP, self.index - 1)

    def _broken(self, inputs: Inputs) -> tuple[str, str] | None:
        options, servo = self._options, inputs.servo
        if servo is None or inputs.now - servo.received > options.servo_timeout:
            return "aborted", "servo/state went silent"
        if servo.mode in (FAULT, LOCKED, RESETTING):
            word = {FAULT: "at fault", LOCKED: "locked", RESETTING: "resetting"}[servo.mode]
            return "aborted", f"the driver is {word}: {servo.reason}"
        if self._trouble_since is not None and inputs.now - self._trouble_since > options.observation_timeout:
            return "aborted", inputs.trouble
        if self._pause_since is not None and inputs.now - self._pause_since > options.pause_limit:
            return "aborted", f"the demonstration paused for more than {options.pause_limit:g} s"
        return None

    def _finish(self, how: str, reason: str) -> Verdict:
        self.state, self.reason = how, reason
        terminated = how in ("success", "failure")
        return Verdict(Kind.END, self.index, float(how == "success"), terminated, not terminated)


def _since(since: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if since is None else since
