"""The shell around a core: declares its options as ROS parameters, spins it, ends it cleanly."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
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


def declare(node: Node, cls: type[T], prefix: str = "") -> T:
    """Declare every option of the dataclass `cls` as a read-only parameter and return the checked values.

    Raises ValueError that names the parameter, the value and what is allowed.
    """
    values = {}
    for field in dataclasses.fields(cls):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        # dynamic typing, so that a wrong type reaches our own check and its message
        descriptor = ParameterDescriptor(description=describe(field), read_only=True, dynamic_typing=True)
        _add_range(descriptor, field)
        values[field.name] = _declared(node, prefix + field.name, default, descriptor)
    return build(cls, values)


def _declared(node: Node, name: str, default, descriptor: ParameterDescriptor):
    override = node._parameter_overrides.get(name)  # checked by build(), with a better message
    if override is not None and override.type_ != Parameter.Type.NOT_SET:
        node.declare_parameter(
            name,
            override.value,
            ParameterDescriptor(description=descriptor.description, read_only=True, dynamic_typing=True),
            ignore_override=True,
        )
        return override.value
    return node.declare_parameter(name, default, descriptor).value


def _add_range(descriptor: ParameterDescriptor, field: dataclasses.Field) -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        return
    if isinstance(field.default, bool):
        return
    if isinstance(field.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif isinstance(field.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]


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


class UnknownParameter(ValueError):
    """A parameter was given that the node does not have."""


def refuse_unknown_parameters(node: Node) -> None:
    """Raises UnknownParameter for a given parameter that nobody declared: most often a slip of the pen."""
    for name in node._parameter_overrides:  # rclpy keeps undeclared ones to itself
        if not node.has_parameter(name) and not name.startswith("qos_overrides."):
            known = sorted(node.get_parameters_by_prefix(""))
            raise UnknownParameter(f"{node.get_name()}: unknown parameter {name!r}; known are {', '.join(known)}")


def run(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Start, spin and end a node; the exit code for the process.

    0 after SIGINT or SIGTERM, 2 when an option is wrong (the message names it). The node may have a
    `close()` that is called before it is destroyed, and a `work()` that is called between callbacks
    and returns whether there is more to do at once.
    """
    # rclpy's own handler ends the context on SIGINT; a KeyboardInterrupt beside it could break off any line
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=list(args) if args is not None else None)
    node = None
    try:
        node = make_node()
        refuse_unknown_parameters(node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        _spin(executor, getattr(node, "work", None))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except UnknownParameter as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except (ValueError, FileNotFoundError, PermissionError) as error:
        if node is not None:
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # a signal came while something was being made or sent: rclpy then fails in many ways
    finally:
        if node is not None:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
            rclpy.try_shutdown()
    return 0


def _spin(executor: SingleThreadedExecutor, work: Callable[[], bool] | None) -> None:
    if work is None:
        executor.spin()
    while rclpy.ok():
        executor.spin_once(timeout_sec=0.0 if work() else 0.05)


def main(make_node: Callable[[], Node]) -> None:
    """Entry point of a node's executable."""
    code = run(make_node)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # DDS threads may otherwise abort the interpreter on its way out
