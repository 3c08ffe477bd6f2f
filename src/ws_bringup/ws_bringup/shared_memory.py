"""Removes the shared-memory files that killed processes left behind, and only those."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

FOLDER = Path("/dev/shm")
# Fast DDS 2 and 3, and the tracing library that rclpy loads
PREFIXES = ("fastrtps_", "sem.fastrtps_", "fastdds_", "sem.fastdds_", "lttng-ust-wait")


def clean(folder: Path = FOLDER) -> int:
    """Unlink our user's transport files that no living process has open; returns how many went."""
    candidates = [f for f in _files(folder) if f.stat().st_uid == os.getuid()]
    if not candidates:
        return 0
    used = _open_files(str(folder))
    gone = [f for f in candidates if str(f) not in used and not _locked(f)]
    for file in gone:
        file.unlink(missing_ok=True)
    return len(gone)


def _files(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.name.startswith(PREFIXES)] if folder.is_dir() else []


def _open_files(folder: str) -> set[str]:
    """Paths below `folder` that any process we may look at maps or has open."""
    found = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            maps = (process / "maps").read_text()
            found.update(line.split(maxsplit=5)[5] for line in maps.splitlines() if folder in line)
            found.update(os.readlink(fd) for fd in (process / "fd").iterdir())
        except OSError:
            continue  # it ended, or is another user's
    return found


def _locked(file: Path) -> bool:
    """Whether the owner still holds Fast DDS's lock on the file, as one in another container would."""
    name = file.name.removeprefix("sem.").removesuffix("_mutex").removesuffix("_el")
    lock = file.with_name(f"{name}_el")
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
