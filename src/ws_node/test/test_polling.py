"""Polled topics in two nodes of one process: order, numbers, raw bytes, and an executor that is left alone."""

import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from std_msgs.msg import UInt32  # noqa: E402

from ws_node.conversions import byte_field, from_time, to_time  # noqa: E402
from ws_node.polling import Polled  # noqa: E402
from ws_node.qos import best_effort, latched  # noqa: E402
from ws_node.testing import domain_environment, free_domain, wait_for  # noqa: E402


@pytest.fixture
def nodes(monkeypatch):
    domain = free_domain()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", domain_environment(domain)["ROS_AUTOMATIC_DISCOVERY_RANGE"])
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    made = [rclpy.create_node(name, context=context) for name in ("speaker", "listener")]
    yield made
    for node in made:
        node.destroy_node()
    context.try_shutdown()


def connect(nodes, qos, **options):
    speaker, listener = nodes
    polled = Polled(listener, UInt32, "numbers", qos, **options)
    publisher = speaker.create_publisher(UInt32, "numbers", 50)
    wait_for(publisher.get_subscription_count, 10.0, "the subscription")
    return publisher, polled


def collect(polled, count):
    taken = []
    wait_for(lambda: taken.extend(polled.take()) or len(taken) >= count, 5.0, f"{count} messages")
    return taken


def test_messages_come_once_in_order_with_number_and_time(nodes):
    publisher, polled = connect(nodes, best_effort(10))
    before = time.time_ns()
    for value in range(5):
        publisher.publish(UInt32(data=value))
    taken = collect(polled, 5)
    assert [t.content.data for t in taken] == list(range(5)) and polled.take() == []
    assert np.all(np.diff([t.sequence for t in taken]) == 1) and taken[0].sequence > 0
    assert all(before <= t.sent_ns <= t.received_ns <= time.time_ns() for t in taken)


def test_the_queue_keeps_the_newest(nodes):
    publisher, polled = connect(nodes, best_effort(1))
    assert polled.newest() is None
    for value in range(5):
        publisher.publish(UInt32(data=value))
    seen = []
    wait_for(lambda: seen.append(polled.newest()) or (seen[-1] and seen[-1].data == 4), 5.0, "the last number")
    assert polled.newest() is None


def test_raw_messages_are_bytes(nodes):
    publisher, polled = connect(nodes, best_effort(10), raw=True)
    publisher.publish(UInt32(data=7))
    [taken] = collect(polled, 1)
    assert isinstance(taken.content, bytes) and deserialize_message(taken.content, UInt32).data == 7


def test_what_was_latched_comes_late(nodes):
    publisher = nodes[0].create_publisher(UInt32, "numbers", latched(3))
    for value in range(5):
        publisher.publish(UInt32(data=value))
    polled = Polled(nodes[1], UInt32, "numbers", latched(3))
    assert [t.content.data for t in collect(polled, 3)] == [2, 3, 4]


def test_the_executor_never_takes_a_message(nodes):
    publisher, polled = connect(nodes, best_effort(10))
    executor = SingleThreadedExecutor(context=nodes[1].context)
    executor.add_node(nodes[1])
    publisher.publish(UInt32(data=1))
    for _ in range(10):
        executor.spin_once(timeout_sec=0.02)
    assert len(collect(polled, 1)) == 1
    executor.shutdown()


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999, 1_700_000_000_123_456_789])
def test_times_survive(nanoseconds):
    assert from_time(to_time(nanoseconds)) == nanoseconds


def test_bytes_are_in_the_order_of_rows():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert byte_field(pixels[:, ::2]).tolist() == pixels[:, ::2].ravel().tolist()
