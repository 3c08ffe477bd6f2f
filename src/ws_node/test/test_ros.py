"""A node in a process of its own, as its executable runs it."""

import os
import signal
import subprocess
import sys

import pytest

NODE = """
from dataclasses import dataclass
from rclpy.node import Node
from ws_node import ros
from ws_node.options import option

@dataclass(frozen=True)
class Options:
    rate: float = option(10.0, "control rate", unit="Hz", low=1.0, high=50.0)
    count: int = option(3, "how many", low=1, high=9)
    corner: tuple[float, ...] = option((0.0, 0.0), "corner", unit="m", low=-1.0, high=1.0)

class Example(Node):
    def __init__(self):
        super().__init__("example")
        options = ros.declare(self, Options)
        self.create_timer(0.01, lambda: print("spins with", options, flush=True))
    def close(self):
        print("closed", flush=True)

ros.main(Example)
"""


def start(*parameters: str) -> subprocess.Popen:
    words = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-c", NODE, "--ros-args", *words]
    domain = {"ROS_DOMAIN_ID": str(1 + os.getpid() % 100), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **domain}
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_cleanly(number):
    node = start("rate:=20.0", "corner:=[0.5, -0.5]")
    assert "rate=20.0" in node.stdout.readline()
    node.send_signal(number)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 0, output
    assert "closed" in output


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("rate:=500.0", "rate = 500.0: must be in 1 .. 50 (control rate)"),
        ("rate:=fast", "rate = 'fast': must be float"),
        ("count:=2.5", "count = 2.5: must be int"),
        ("corner:=[0.0]", "must be tuple"),
        ("rat:=20.0", "example: unknown parameter 'rat'; known are"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_name(parameter, message):
    node = start(parameter)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 2, output
    assert message in output
    assert "Traceback" not in output
