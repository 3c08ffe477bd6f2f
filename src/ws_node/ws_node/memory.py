"""Memory of this process."""

from __future__ import annotations

import os


def rss_mib() -> float:
    """Resident memory now, MiB (getrusage would tell the peak)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
