"""One run per run folder, and one per DDS domain: a second is refused, not mixed into the first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

from ws_bringup.environment import ros_domain
from ws_bringup.settings import Settings


class AlreadyRunning(RuntimeError):
    """Another run holds the lock; the message says which and what to do."""


@contextlib.contextmanager
def run_locks(settings: Settings):
    """Hold the run folder and the ROS names while the run lasts. The kernel frees both when the run dies.

    Raises AlreadyRunning, or OSError when the folder cannot be written.
    """
    owner = f"run {settings.name!r} in {settings.folder} (process {os.getpid()})"
    names = f"{ros_domain()}-{settings.namespace.strip('/').replace('/', '.')}"
    domain = Path(tempfile.gettempdir(), f"worldsample-{os.getuid()}-domain-{names}.lock")
    with _hold(settings.folder / "lock", owner, "choose another NAME, or stop it first"), _hold(
        domain, owner, "give this one a ROS_DOMAIN_ID (1 to 101) or a namespace of its own"
    ):
        yield


@contextlib.contextmanager
def _hold(path: Path, owner: str, advice: str):
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise AlreadyRunning(f"{handle.read().strip() or path} is still running: {advice}") from None
        handle.truncate(0)
        handle.write(owner)
        handle.flush()
        yield
