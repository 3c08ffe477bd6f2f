"""Subscriptions that are read when their owner wants to, not when a message comes.

A topic at 50 Hz read by a loop at 10 Hz would wake a Python executor five times for one use; this one never wakes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile


class _Never(CallbackGroup):
    """Keeps its members out of every executor's wait set."""

    def can_execute(self, entity) -> bool:
        return False

    def beginning_execution(self, entity) -> bool:
        return False

    def ending_execution(self, entity) -> None:
        pass


class Taken(NamedTuple):
    """A message and what the transport tells of it."""

    content: Any  # the message, or its CDR bytes from a raw subscription
    sequence: int  # its publisher's number for it, 0 where the transport has none
    sent_ns: int  # wall time at which it was published
    received_ns: int  # wall time at which it came


class Polled:
    """A subscription whose queue is read by `take` (as rclcpp's take does)."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile, raw: bool = False):
        self._raw = raw
        self._most = 2 * qos.depth  # in one go: a flood must not hold the loop
        self._subscription = node.create_subscription(
            kind, topic, lambda _: None, qos, callback_group=_Never(), raw=raw)

    def take(self) -> list[Taken]:
        """What has come since the last time, oldest first."""
        handle, found = self._subscription.handle, []
        with handle:
            while len(found) < self._most:
                taken = handle.take_message(self._subscription.msg_type, self._raw)
                if taken is None:
                    break
                content, info = taken
                sequence = info.get("publication_sequence_number") or 0
                found.append(Taken(content, sequence, info["source_timestamp"], info["received_timestamp"]))
        return found

    def newest(self) -> Any | None:
        """The newest message not taken yet, or None; older ones are dropped."""
        taken = self.take()
        return taken[-1].content if taken else None
