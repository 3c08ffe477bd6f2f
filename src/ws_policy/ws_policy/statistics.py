"""Numbers a node reports about itself: sliding percentiles, delivery of a stream."""

from __future__ import annotations

from collections import deque

import numpy as np


class Window:
    """Values of the last `span` seconds."""

    def __init__(self, span: float = 60.0):
        self._span = span
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Take one value; `now` in s must not fall."""
        self._values.append((now, value))
        while now - self._values[0][0] > self._span:
            self._values.popleft()

    def percentiles(self, *which: float) -> list[float]:
        """Percentiles 0 .. 100; zeros while there is nothing."""
        if not self._values:
            return [0.0] * len(which)
        return [float(p) for p in np.percentile([value for _, value in self._values], which)]


class Delivery:
    """Frames received over frames due, in the last `span` seconds.

    Due are as many as the publisher's sequence numbers tell, where the transport passes them on; else as many
    as fit into the gaps between the stamps. A gap of more than `outage` seconds is the camera's own silence or
    its restart, not a loss, and is left out.
    """

    def __init__(self, rate: float, span: float = 60.0, outage: float = 2.0):
        self._rate, self._span, self._outage = rate, span, outage
        self._due: deque[tuple[int, int]] = deque()  # (stamp ns, frames due since the one before)
        self._last, self._sequence = 0, 0

    def add(self, stamp: int, sequence: int = 0) -> None:
        """Take the stamp (ns) and the sequence number (0: unknown) of a frame that came."""
        gap = (stamp - self._last) * 1e-9
        due = 1
        if 0 < gap < self._outage:
            known = 0 < self._sequence < sequence
            due = sequence - self._sequence if known else max(1, round(gap * self._rate))
        self._last, self._sequence = stamp, sequence
        self._due.append((stamp, due))
        while abs(stamp - self._due[0][0]) > self._span * 1e9:
            self._due.popleft()

    @property
    def counts(self) -> tuple[int, int]:
        """Frames received, frames due."""
        return len(self._due), sum(due for _, due in self._due)
