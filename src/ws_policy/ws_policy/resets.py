"""The way to the next episode: driver ready, arm at its reset joints, scene set, frames newer than that."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ws_node.options import option

LOCKED, ACTIVE, HOLD, RESETTING, FAULT = range(5)  # as ServoState.MODE_*
WAIT_SCENE = "a person to set the scene (joy button 1 or ~/ready)"
WAIT_DEMONSTRATION = "the operator's deadman, for a demonstration"
WAIT_WEIGHTS = "policy weights"
WAIT_RECORDER = "the recorder"
_AT_REST = 0.01  # m/s
_BACK_OFF = 1.0  # s between a failed try and the next
_SETTLE = 0.15  # s after the driver took a reset until its state must tell of it; it ticks at 50 Hz or more


@dataclass(frozen=True)
class ResetOptions:
    """How an episode is prepared. Every wait has a limit: a call is tried again, another wait is reported overdue."""

    scene_reset: str = option("twin", "who sets the scene", choices=("twin", "operator"))
    auto_enable: bool = option(True, "enable the driver when it is locked; false leaves that to a person")
    servo_timeout: float = option(0.5, "silence of servo/state that ends an episode", unit="s", low=0.05, high=5.0)
    call_timeout: float = option(10.0, "limit of a service call", unit="s", low=0.1, high=120.0)
    move_timeout: float = option(20.0, "limit of the move to the reset joints", unit="s", low=0.1, high=120.0)
    patience: float = option(60.0, "any other wait that takes longer is overdue", unit="s", low=1.0, high=3600.0)


@dataclass(frozen=True)
class Servo:
    """What the episode needs of the newest ServoState: mode, reason, speed (m/s), and when it came (monotonic s).

    `active` is when the mode was last ACTIVE: with no command the driver soon goes on to HOLD.
    """

    mode: int
    reason: str
    speed: float
    received: float
    active: float


@dataclass
class Inputs:
    """All that is known at one tick. `now` monotonic s, `clock` ns of the clock that stamps the frames."""

    now: float
    clock: int = 0
    servo: Servo | None = None
    frames: int | None = None  # ns, older stamp of the pair of views; None when there is no good pair
    trouble: str = ""  # why no observation can be made; empty when one can
    human: bool = False  # a human holds the deadman
    weights: bool = False  # the policy has weights
    demonstrating: bool = False  # the next episode shall be a demonstration
    recorded: bool = True  # steps reach the recorder, or need not


@dataclass(frozen=True)
class Request:
    """A service call the owner must make, and then `answer` by its token."""

    token: int
    name: str  # "enable", "reset" or "scene"


class _Need(enum.IntEnum):
    """What must hold of the driver during a wait, or the sequence starts over; each includes the one before."""

    NOTHING = enum.auto()
    STATE = enum.auto()  # servo/state comes
    ENABLED = enum.auto()  # neither locked nor at fault


class _Again(Exception):
    """This try failed; start over after a pause."""


@dataclass
class ResetSequence:
    """Call `tick` at control rate until it is True. Knows no ROS: it hands out requests and takes answers."""

    options: ResetOptions
    waiting_for: str = ""
    waiting: bool = False  # for something absent or for a person, rather than for its own doing
    overdue: bool = False
    retries: int = 0
    trouble: str = ""  # why the last try failed
    _steps: Iterator[None] | None = None
    _inputs: Inputs = field(default_factory=lambda: Inputs(0.0))
    _request: Request | None = None
    _token: int = 0
    _answer: tuple[bool, str] | None = None
    _person_ready: bool = False

    def start(self) -> None:
        """Begin anew."""
        self._request, self._answer = None, None
        self._token += 1  # answers to earlier requests are void
        self._steps = self._sequence()

    def tick(self, inputs: Inputs) -> bool:
        """Go on; True once everything is ready for an episode."""
        self._inputs = inputs
        if self._steps is None:
            self.start()
        try:
            next(self._steps)
        except StopIteration:
            self._steps, self.waiting_for, self.waiting, self.overdue, self.trouble = None, "", False, False, ""
            return True
        except _Again as failure:
            self.retries += 1
            self.trouble = str(failure)
            self.start()
            self._steps = self._paused(self._steps)
        return False

    def take_request(self) -> Request | None:
        """The call to make now, once."""
        request, self._request = self._request, None
        return request

    def answer(self, token: int, accepted: bool, message: str = "") -> None:
        """The result of a request; late answers are ignored."""
        if token == self._token:
            self._answer = (accepted, message)

    def person_ready(self) -> None:
        """A person says that the scene is set."""
        self._person_ready = True

    def _sequence(self) -> Iterator[None]:
        yield from self._wait("servo/state of the driver", self._servo_fresh, need=_Need.NOTHING, waiting=True)
        yield from self._wait(self._fault, lambda: self._mode != FAULT, need=_Need.STATE, waiting=True)
        yield from self._unlock()
        yield from self._call("reset")
        asked = self._inputs.now
        yield from self._wait("the arm at its reset joints", lambda: self._arrived(asked + _SETTLE),
                              limit=self.options.move_timeout)
        yield from self._set_scene()
        since = self._inputs.clock
        fresh = lambda: self._inputs.frames is not None and self._inputs.frames > since  # noqa: E731
        lacking = lambda: f"fresh frames ({self._inputs.trouble or 'none since the reset'})"  # noqa: E731
        yield from self._wait(lacking, fresh, waiting=True)
        yield from self._wait(self._lacking, lambda: not self._lacking(), waiting=True)

    def _unlock(self) -> Iterator[None]:
        if self._mode != LOCKED:
            return
        if self.options.auto_enable:
            yield from self._call("enable", need=_Need.STATE)
        yield from self._wait("the driver to be enabled", lambda: self._mode != LOCKED, need=_Need.STATE,
                              waiting=not self.options.auto_enable,
                              limit=self.options.call_timeout if self.options.auto_enable else math.inf)

    def _set_scene(self) -> Iterator[None]:
        if self.options.scene_reset == "twin":
            yield from self._call("scene")
            return
        self._person_ready = False
        yield from self._wait(WAIT_SCENE, lambda: self._person_ready, waiting=True)

    def _lacking(self) -> str:
        """What still keeps the episode from starting."""
        inputs = self._inputs
        if inputs.trouble:
            return f"an observation ({inputs.trouble})"
        if not inputs.recorded:
            return WAIT_RECORDER
        if inputs.demonstrating:
            return "" if inputs.human else WAIT_DEMONSTRATION
        return "" if inputs.weights else WAIT_WEIGHTS

    def _wait(
        self,
        what: str | Callable[[], str],
        ready: Callable[[], bool],
        *,
        limit: float = math.inf,
        waiting: bool = False,
        need: _Need = _Need.ENABLED,
    ) -> Iterator[None]:
        """Until `ready`. The sequence starts over past `limit` s, or when `need` is no longer met."""
        since = self._inputs.now
        self.waiting = waiting
        while True:
            self._check(need)
            if ready():
                self.overdue = False
                return
            self.waiting_for = what() if callable(what) else what
            waited = self._inputs.now - since
            if waited > limit:
                raise _Again(f"{self.waiting_for}: not within {limit:g} s")
            self.overdue = waited > self.options.patience
            yield

    def _call(self, name: str, need: _Need = _Need.ENABLED) -> Iterator[None]:
        self._token += 1
        self._answer = None
        self._request = Request(self._token, name)
        yield from self._wait(f"service {name}", lambda: self._answer is not None, limit=self.options.call_timeout,
                              need=need)
        accepted, message = self._answer
        if not accepted:
            raise _Again(f"service {name} refused: {message}")

    def _paused(self, then: Iterator[None]) -> Iterator[None]:
        until = self._inputs.now + _BACK_OFF
        while self._inputs.now < until:
            yield
        yield from then

    def _check(self, need: _Need) -> None:
        if need >= _Need.STATE and not self._servo_fresh():
            raise _Again("servo/state went silent")
        if need >= _Need.ENABLED and self._mode in (FAULT, LOCKED):
            word = "at fault" if self._mode == FAULT else "locked"
            raise _Again(f"the driver is {word}: {self._inputs.servo.reason}")

    def _servo_fresh(self) -> bool:
        servo = self._inputs.servo
        return servo is not None and self._inputs.now - servo.received <= self.options.servo_timeout

    def _arrived(self, since: float) -> bool:
        servo = self._inputs.servo
        if servo.received <= since:
            return False
        if servo.mode == HOLD and servo.active <= since:
            raise _Again(f"the driver holds: {servo.reason}")
        return servo.mode in (ACTIVE, HOLD) and servo.speed < _AT_REST

    def _fault(self) -> str:
        return f"clear_fault of the driver ({self._inputs.servo.reason})"

    @property
    def _mode(self) -> int:
        return self._inputs.servo.mode
