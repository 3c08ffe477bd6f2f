"""Fields of messages from plain values, and back."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time


def to_time(nanoseconds: int) -> Time:
    """ns since the epoch as builtin_interfaces/Time."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def from_time(time: Time) -> int:
    """builtin_interfaces/Time as ns."""
    return time.sec * 1_000_000_000 + time.nanosec


def byte_field(values: np.ndarray) -> array:
    """An array's bytes for a uint8[] field; any other type costs 10 to 1000 times as much to assign."""
    data = array("B")
    data.frombytes(memoryview(np.ascontiguousarray(values)).cast("B"))
    return data
