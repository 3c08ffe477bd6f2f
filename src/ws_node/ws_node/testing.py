"""For tests of this and other packages: nodes as processes, in a DDS domain of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def free_domain() -> int:
    """A DDS domain, 1 to 100, that nobody here is in: its discovery port is not bound (RTPS 2.3, 9.6.1.1)."""
    bound = {int(line.split()[1].rpartition(":")[2], 16)
             for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    domains = (1 + (os.getpid() + i) % 100 for i in range(100))  # processes that start at once choose different ones
    return next(domain for domain in domains if 7400 + 250 * domain not in bound)


def domain_environment(domain: int) -> dict[str, str]:
    """Variables that keep a node in `domain` on this machine."""
    return {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def start_node(module: str, *parameters: str, domain: int, words: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Run `module`'s `main` in a process with `parameters` (name:=value); what it says is in stdout.

    `words` are further ROS arguments.
    """
    given = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-c", f"from {module} import main; main()", "--ros-args", *words, *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, **domain_environment(domain)})


def end_node(process: subprocess.Popen[str], number: int, seconds: float = 20.0) -> str:
    """Send a signal and return what the node said last; fails unless it ends well and in time."""
    process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def refusal(process: subprocess.Popen[str], seconds: float = 30.0) -> str:
    """What a node says that refuses to start; fails unless it ends in time with exit code 2 and no traceback."""
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 2 and "Traceback" not in output, output
    return output


def wait_for(condition: Callable[[], T], seconds: float, what: str, detail: Callable[[], object] = str) -> T:
    """The first true value of `condition`; fails after so many seconds, with `what` and `detail()` in its message."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}. {detail()}"
        time.sleep(0.02)
    return value
