"""The shell around a core: declares its options as ROS parameters, spins it, ends it cleanly."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ws_node.options import build, describe

T = TypeVar("T")
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_REFUSALS = (ValueError, FileNotFoundError, PermissionError)  # of a node that is made: something it was given is wrong


def declare(node: Node, cls: type[T], prefix: str = "") -> T:
    """Declare every option of the dataclass `cls` as a read-only parameter and return the checked values.

    Raises ValueError that names the parameter, the value and what is allowed.
    """
    given = {}
    for field in dataclasses.fields(cls):
        override = node._parameter_overrides.get(prefix + field.name)
        if override is not None and override.type_ != Parameter.Type.NOT_SET:
            given[field.name] = override.value
    options = build(cls, given, prefix)  # before rclpy's own check, which says less
    for field in dataclasses.fields(cls):
        value = getattr(options, field.name)
        value = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(prefix + field.name, value, _descriptor(field), ignore_override=True)
    return options


def _descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    low, high = field.metadata["low"], field.metadata["high"]
    descriptor = ParameterDescriptor(description=describe(field), read_only=True)
    bounded = math.isfinite(low) and math.isfinite(high)
    if bounded and type(field.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    elif bounded and type(field.default) is float:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


class Diagnostics:
    """Publishes one DiagnosticStatus a second on /diagnostics.

    `report` returns (level, message, values); values are shown as text. `stamp` tells the time, else the node's clock.
    """

    def __init__(
        self, node: Node, report: Callable[[], tuple[bytes, str, dict]], stamp: Callable[[], Time] | None = None
    ):
        self._node = node
        self._report = report
        self._stamp = stamp or (lambda: node.get_clock().now().to_msg())
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(1.0, self._publish)

    def _publish(self) -> None:
        level, message, values = self._report()
        status = DiagnosticStatus(
            level=level, name=f"{self._node.get_name()}: {self._node.get_namespace()}", message=message, hardware_id=""
        )
        status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._stamp()
        self._publisher.publish(array)


def refuse_unknown_parameters(node: Node) -> None:
    """Raises ValueError for a given parameter that nobody declared: most often a slip of the pen."""
    for name in node._parameter_overrides:  # rclpy keeps undeclared ones to itself
        if not node.has_parameter(name) and not name.startswith("qos_overrides."):
            known = sorted(node.get_parameters_by_prefix(""))
            raise ValueError(f"{node.get_name()}: unknown parameter {name!r}; known are {', '.join(known)}")


def run(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Start, spin and end a node; the exit code for the process.

    0 after SIGINT, SIGTERM or a shutdown of its context, 2 when an option is wrong (the message names it). The node
    may have a `close()` that is called before it is destroyed, and a `work()` that is called between callbacks and
    returns whether there is more to do at once.
    """
    # rclpy's own handler ends the context on SIGINT; a KeyboardInterrupt beside it could break off any line
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.unraisablehook = _complain
    try:
        rclpy.init(args=list(args) if args is not None else None)
    except RuntimeError as error:  # arguments or a parameter file that rcl cannot read
        return _refuse(error)
    node, started = None, False
    try:
        node = make_node()
        refuse_unknown_parameters(node)
        started = True
        _spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception as error:
        if not rclpy.ok():  # a signal came while something was being made or sent: rclpy then fails in many ways
            return 0
        if started or not isinstance(error, _REFUSALS):
            raise
        return _refuse(error)
    finally:
        if node is not None:  # half of a node is left to the process's end: DDS has hung for ever in taking it down
            _end(node)
    return 0


def _complain(fault: sys.UnraisableHookArgs) -> None:
    """Say what a destructor raised, but not after the end: rclpy's half-made objects then fail in theirs."""
    if rclpy.ok():
        sys.__unraisablehook__(fault)


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


def _spin(node: Node) -> None:
    if not rclpy.ok():  # a signal came while the node was being made; an executor of an ended context complains
        return
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    work = getattr(node, "work", None)
    if work is None:
        executor.spin()
        return
    while rclpy.ok():
        executor.spin_once(timeout_sec=0.0 if work() else 0.05)


def _end(node: Node) -> None:
    if hasattr(node, "close"):
        node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def main(make_node: Callable[[], Node]) -> None:
    """Entry point of a node's executable."""
    try:
        code = run(make_node)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # DDS threads may otherwise abort the interpreter on its way out
