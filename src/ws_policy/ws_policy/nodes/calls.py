"""Service calls that never block: the request goes out, the machine gets the answer or gives up by its own deadline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.task import Future


class Calls:
    """One pending call at a time; `answer(token, accepted, message)` gets its result, unless it comes too late."""

    def __init__(self, node: Node, answer: Callable[[int, bool, str], None]):
        self._node = node
        self._answer = answer
        self._clients: dict[str, Any] = {}
        self._pending: tuple[Any, Future] | None = None
        self._wanted: tuple[int, str, Any] | None = None

    def add(self, name: str, kind: type, service: str) -> None:
        """Make `service` known as `name`."""
        self._clients[name] = self._node.create_client(kind, service)

    def send(self, token: int, name: str, request: Any) -> None:
        """Call `name` as soon as its service is there; forgets a call that is still pending."""
        if self._pending is not None:
            client, future = self._pending
            client.remove_pending_request(future)
            self._pending = None
        self._wanted = (token, name, request)
        self.tick()

    def tick(self) -> None:
        """Send what waits for its service. Call at any low rate."""
        if self._wanted is None:
            return
        token, name, request = self._wanted
        client = self._clients[name]
        if not client.service_is_ready():
            return
        self._wanted = None
        future = client.call_async(request)
        self._pending = (client, future)
        future.add_done_callback(partial(self._done, token))

    def _done(self, token: int, future: Future) -> None:
        self._pending = None
        if future.cancelled() or future.exception() is not None:
            self._answer(token, False, f"{future.exception()}")
        else:
            self._answer(token, future.result().success, future.result().message)
