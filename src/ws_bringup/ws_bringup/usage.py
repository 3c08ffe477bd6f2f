"""CPU time and memory of a run: of the process that started us and of everything it started."""

from __future__ import annotations

import os

import psutil


class Usage:
    """Adds up over processes that come and go."""

    def __init__(self, root: int | None = None):
        self._root = root or os.getppid()
        self._cpu: dict[tuple[int, float], float] = {}
        self._peak = 0.0

    def measure(self) -> dict[str, float]:
        """cpu_s since the processes started, rss_mib now and peak_rss_mib so far, both summed over processes."""
        rss = 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss += process.memory_info().rss
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        mib = round(rss / 2**20, 1)
        self._peak = max(self._peak, mib)
        return {"cpu_s": round(sum(self._cpu.values()), 2), "rss_mib": mib, "peak_rss_mib": self._peak}

    def _processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._root)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
