"""Subscriptions that are read when their owner wants to, not when a message comes.

A topic at 50 Hz read by a loop at 10 Hz would wake a Python executor five times for one use; this one never wakes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy


class _Never(CallbackGroup):
    """Keeps its entities out of the executor's wait set."""

    def can_execute(self, entity) -> bool:
        return False

    def beginning_execution(self, entity) -> bool:
        return False

    def ending_execution(self, entity) -> None:
        pass


class Poll:
    """A best-effort subscription that keeps the newest `depth` messages until they are taken."""

    def __init__(self, node: Node, kind: type, topic: str, depth: int):
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.sequence = 0  # publisher's number of the message taken last, 0 where the transport has none
        self._depth = depth
        self._subscription = node.create_subscription(kind, topic, lambda _: None, qos, callback_group=_Never())

    def take(self) -> Iterator[Any]:
        """The messages that have come since, oldest first."""
        handle = self._subscription.handle
        with handle:
            for _ in range(2 * self._depth):  # a flood must not hold the loop
                taken = handle.take_message(self._subscription.msg_type, False)
                if taken is None:
                    return
                message, info = taken
                self.sequence = info.get("publication_sequence_number") or 0
                yield message
