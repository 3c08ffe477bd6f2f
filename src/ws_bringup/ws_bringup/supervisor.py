"""Keeps one process of the graph alive: starts it, forwards its lines, starts it again, ends it for good."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ws_bringup.graph import Process

STOP_AFTER = ((signal.SIGINT, 4.0), (signal.SIGTERM, 2.5), (signal.SIGKILL, 2.0))  # signal, seconds to obey it
REFUSED = 2  # exit code of a node that was given a wrong option: starting it again cannot help
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ProcessError(RuntimeError):
    """A process cannot be kept up; the message names it and says why."""


class RefusedError(ProcessError):
    """A process refused what it was asked for, such as a parameter out of range."""


@dataclass(frozen=True)
class RestartPolicy:
    """Times in s. A process that ends within `healthy_after` waits twice as long before each new start."""

    first_delay: float = 0.5
    longest_delay: float = 8.0
    healthy_after: float = 10.0
    most_exits: int = 6          # within `window`
    window: float = 60.0


@dataclass
class Supervised:
    """A process and what happened to it. `run` ends when it was stopped, or raises ProcessError."""

    process: Process
    command: list[str]
    environment: dict[str, str]
    on_line: Callable[[str, str], None]   # name, line
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    restarts: int = 0
    pid: int = 0

    def __post_init__(self):
        self._stopping = False
        self._wake = asyncio.Event()
        self._exits: deque[float] = deque()
        self._last_line = ""

    async def run(self) -> None:
        """Start the process and keep it until `stop`. Raises ProcessError when that is hopeless."""
        delay = self.policy.first_delay
        while not self._stopping:
            began = time.monotonic()
            code = await self._run_once()
            if self._stopping:
                return
            self._decide(code)
            if not self.process.respawn:
                return
            delay = self.policy.first_delay if time.monotonic() - began > self.policy.healthy_after else delay
            self._say(f"{describe_exit(code)}; starts again in {delay:g} s")
            await self._sleep(delay)
            delay = min(2 * delay, self.policy.longest_delay)
            self.restarts += 1

    async def stop(self) -> None:
        """SIGINT, then SIGTERM, then SIGKILL, to the whole process group, until it is gone."""
        self._stopping = True
        self._wake.set()
        for signal_number, patience in STOP_AFTER:
            if not self.pid:
                return
            self.kill(signal_number)
            deadline = time.monotonic() + patience
            while self.pid and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            if self.pid:
                self._say(f"still runs {patience:g} s after {signal.Signals(signal_number).name}")

    def kill(self, signal_number: int) -> None:
        """Send a signal to the process and everything it started."""
        if self.pid:
            _kill_group(self.pid, signal_number)

    async def _run_once(self) -> int:
        child = await asyncio.create_subprocess_exec(
            *self.command,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
            preexec_fn=lambda: _in_child(self.process.background),
        )
        self.pid = child.pid
        reader = asyncio.ensure_future(self._forward(child.stdout))
        try:
            return await child.wait()
        finally:
            _kill_group(child.pid, signal.SIGKILL)  # what it started and left
            self.pid = 0
            await asyncio.wait([reader], timeout=1.0)
            reader.cancel()

    async def _forward(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line over the limit: what was read of it is dropped
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._last_line = text or self._last_line
            self._say(text)

    def _decide(self, code: int) -> None:
        name = self.process.name
        if code == REFUSED:
            raise RefusedError(f"{name} refused to start: {self._last_line}")
        now = time.monotonic()
        self._exits.append(now)
        while now - self._exits[0] > self.policy.window:
            self._exits.popleft()
        if self.process.respawn and len(self._exits) >= self.policy.most_exits:
            raise ProcessError(
                f"{name} ended {len(self._exits)} times within {self.policy.window:g} s, given up; "
                f"{describe_exit(code)}, its last line: {self._last_line}"
            )

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _say(self, line: str) -> None:
        self.on_line(self.process.name, line)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _kill_group(pid: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)  # it leads its own session, so its group has its number


def _in_child(background: bool) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives a runner that is killed
    # until the node has its own handler an interrupt would only break off its imports, with a traceback; what is
    # lost to that is ended by the SIGTERM that follows
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if background:  # whoever controls the arm runs the moment it wakes; a nice value alone makes it wait its turn
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
