"""A node in a process of its own, as its executable runs it, and its diagnostics."""

import os
import signal
from functools import partial

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from ws_node.conversions import from_time, to_time
from ws_node.polling import Polled
from ws_node.qos import best_effort
from ws_node.ros import WARN, Diagnostics
from ws_node.testing import end_node, free_domain, refusal, start_node

NODE = """
from dataclasses import dataclass
from rclpy.node import Node
from ws_node import ros
from ws_node.options import option

@dataclass(frozen=True)
class Inner:
    rate: float = option(10.0, "control rate", unit="Hz", low=1.0, high=50.0)
    count: int = option(3, "how many", low=1, high=9)
    corner: tuple[float, ...] = option((0.0, 0.0), "corner", unit="m", low=-1.0, high=1.0)

@dataclass(frozen=True)
class Options(Inner):
    spins: int = option(0, "times after which it ends, -1: fails, 0: never", low=-1, high=1000)
    describe: bool = option(False, "print descriptors")

class Example(Node):
    def __init__(self):
        super().__init__("example")
        self.options = ros.declare(self, Options)
        self.inner = ros.declare(self, Inner, "inner.")
        self.spun = 0
        if self.options.describe:
            for name in ("rate", "count"):
                self.describe(name)
        self.create_timer(0.01, self.spin)

    def describe(self, name):
        descriptor = self.describe_parameter(name)
        limits = [*descriptor.floating_point_range, *descriptor.integer_range][0]
        kind = self.get_parameter(name).type_.name
        print(descriptor.description, "|", kind, limits.from_value, limits.to_value, flush=True)

    def spin(self):
        print("spins with", self.options, flush=True)
        self.spun += 1
        if self.options.spins < 0:
            raise ValueError("out of order")
        if self.spun == self.options.spins:
            self.context.try_shutdown()

    def close(self):
        print("closed", flush=True)

def main():
    ros.main(Example)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts the example node with parameters (name:=value)."""
    (tmp_path / "example_node.py").write_text(NODE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return partial(start_node, "example_node", domain=free_domain())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_cleanly(start, number):
    node = start("rate:=20.0", "corner:=[0.5, -0.5]")
    assert "rate=20.0, count=3, corner=(0.5, -0.5)" in node.stdout.readline()
    output = end_node(node, number)
    assert "closed" in output and "Traceback" not in output


def test_an_end_while_the_executor_is_made_is_clean(start, tmp_path):
    (tmp_path / "late_node.py").write_text("""
import rclpy
from example_node import Example, ros

make = ros.SingleThreadedExecutor

def ended_meanwhile():
    rclpy.try_shutdown()
    return make()

def main():
    ros.SingleThreadedExecutor = ended_meanwhile
    ros.main(Example)
""")
    node = start_node("late_node", domain=free_domain())
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 0 and output == "closed\n"


def test_a_node_ends_itself(start):
    node = start("spins:=3")
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 0, output
    assert output.count("spins with") == 3 and "closed" in output and "Traceback" not in output


def test_a_fault_while_it_spins_is_no_refusal(start):
    node = start("spins:=-1")
    output, _ = node.communicate(timeout=20)
    assert node.returncode not in (0, 2)
    assert "ValueError: out of order" in output and "closed" in output


def test_parameters_tell_what_they_are(start):
    node = start("rate:=20.0", "describe:=true")
    lines = [node.stdout.readline().rstrip() for _ in range(2)]
    end_node(node, signal.SIGINT)
    assert lines == ["control rate [Hz]; in 1 .. 50 | DOUBLE 1.0 50.0", "how many; in 1 .. 9 | INTEGER 1 9"]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("rate:=500.0", "rate = 500.0: must be in 1 .. 50 (control rate)"),
        ("inner.rate:=500.0", "error: inner.rate = 500.0: must be in 1 .. 50 (control rate)"),
        ("rate:=fast", "rate = 'fast': must be float"),
        ("count:=2.5", "count = 2.5: must be int"),
        ("corner:=[0.0]", "corner = [0.0]: must be 2 numbers (corner [m]; in -1 .. 1)"),
        ("corner:=[0, 5]", "corner = [0.0, 5.0]: must be in -1 .. 1"),
        ("rat:=20.0", "example: unknown parameter 'rat'; known are"),
        ("rate:=", "Couldn't parse parameter override rule"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_name(start, parameter, message):
    assert message in refusal(start(parameter))


def test_diagnostics_say_how_a_node_is():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = rclpy.create_node("example", namespace="lab", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard = Polled(node, DiagnosticArray, "/diagnostics", best_effort(1))
    Diagnostics(node, lambda: (WARN, "slow", {"late": 3}), lambda: to_time(12_000_000_345))
    executor.spin_once(timeout_sec=5.0)
    [taken] = heard.take()
    [status] = taken.content.status
    assert (status.level, status.name, status.message) == (WARN, "example: /lab", "slow")
    assert [(v.key, v.value) for v in status.values] == [("late", "3")]
    assert from_time(taken.content.header.stamp) == 12_000_000_345
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
