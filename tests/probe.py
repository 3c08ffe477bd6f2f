"""A node that looks at the graph from outside: it hears topics, calls services and sends what should not be sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from graph import Graph, wait_for
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from ws_interfaces.msg import LearnerStatus, PolicyStatus, Rollout, ServoState, Step, WeightsReport
from ws_node.polling import Polled

T = TypeVar("T")
LATCHED = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=2000, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=2000)


class Message(NamedTuple):
    """A message and when it was sent, in s of time.time()."""

    sent: float
    content: Any


class Heard:
    """All messages of a topic since it was first listened to, oldest first."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile):
        self._polled = Polled(node, kind, topic, qos)
        self._messages: list[Message] = []

    def update(self) -> list[Message]:
        """Take what has come, and return everything."""
        self._messages += [Message(taken.sent_ns * 1e-9, taken.content) for taken in self._polled.take()]
        return self._messages

    @property
    def last(self) -> Any:
        """The newest message, None before the first."""
        messages = self.update()
        return messages[-1].content if messages else None

    def since(self, moment: float) -> list[Message]:
        """Messages sent after `moment` (time.time())."""
        return [m for m in self.update() if m.sent > moment]


class Probe:
    """Joins the graph's domain; names are relative to the graph's namespace."""

    def __init__(self, graph: Graph, namespace: str = "/"):
        self.graph = graph
        self._context = Context()
        self._context.init(args=[], domain_id=graph.domain)
        self.node = Node("probe", namespace=namespace, context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._heard: list[Heard] = []
        self.status = self.hear("policy/status", PolicyStatus)
        self.learner = self.hear("learner/status", LearnerStatus)
        self.steps = self.hear("policy/step", Step)
        self.servo = self.hear("a1x/servo/state", ServoState)
        self.reports = self.hear("policy/weights_report", WeightsReport)
        self.rollouts = self.hear("rollouts/recorded", Rollout, LATCHED)

    def hear(self, topic: str, kind: type, qos: QoSProfile = RELIABLE) -> Heard:
        """Listen to a topic from now on."""
        self._heard.append(Heard(self.node, kind, topic, qos))
        return self._heard[-1]

    def wait_for(self, condition: Callable[[], T], seconds: float, what: str) -> T:
        """As graph.wait_for; fails at once when the run has ended."""

        def running_condition() -> T:
            assert self.graph.runner.poll() is None, f"the run ended while waiting for {what}. {self.describe()}"
            for heard in self._heard:  # no queue may run over while one looks at another topic
                heard.update()
            return condition()

        return wait_for(running_condition, seconds, what, self.describe)

    def call(self, service: str, kind: type = Trigger, request: Any = None, seconds: float = 5.0) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, service)
        try:
            assert client.wait_for_service(seconds), f"no service {service} within {seconds:g} s. {self.describe()}"
            future = client.call_async(request or kind.Request())
            self._executor.spin_until_future_complete(future, seconds)
            assert future.done(), f"no answer from {service} within {seconds:g} s. {self.describe()}"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def running_episode(self, seconds: float = 40.0, after: float | None = None, steps: int = 3) -> str:
        """Wait for an episode that is so many steps old, but not near its end, and was at it just now; its id."""
        after = time.time() if after is None else after

        def step() -> str | None:
            fresh = self.steps.since(max(after, time.time() - 0.3))
            last = fresh[-1].content if fresh else None
            going = last and steps <= last.index < steps + 40 and not (last.terminated or last.truncated)
            return last.episode_id if going else None

        return self.wait_for(step, seconds, "an episode that runs")

    def finish_episode(self, seconds: float = 40.0, steps: int = 3) -> Rollout:
        """End the running episode, if it does not by itself, and wait until it is announced as a bag."""
        name = self.running_episode(seconds, steps=steps)
        self.call("policy/failure")
        return self.wait_for(lambda: next((m.content for m in self.rollouts.update()
                                           if m.content.episode_id == name), None), 15.0, f"the bag of {name}")

    def describe(self) -> str:
        """What to show when something has failed."""
        return f"policy: {self.status.last}\nlearner: {self.learner.last}\n{self.graph.describe()}"

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
