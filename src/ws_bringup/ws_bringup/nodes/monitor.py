"""Listens to every status topic and writes the run's numbers: progress.json each second, metrics.jsonl each five."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from ws_bringup.metrics import append_metrics, write_progress
from ws_bringup.usage import Usage
from ws_interfaces.msg import LearnerStatus, PolicyStatus, WorldModelStatus
from ws_node import ros
from ws_node.options import option

STATUS = {"policy": PolicyStatus, "learner": LearnerStatus, "world_model": WorldModelStatus}


@dataclass(frozen=True)
class MonitorOptions:
    """What the monitor writes, and where."""

    run_dir: str = option("", "run folder")
    started: float = option(0.0, "when the run started; 0: now", unit="s", low=0.0, high=1e11)
    row_period: float = option(5.0, "time between two rows of metrics.jsonl", unit="s", low=1.0, high=3600.0)


class MonitorNode(Node):
    """Subscribes to {policy,learner,world_model}/status; publishes nothing."""

    def __init__(self):
        super().__init__("monitor")
        self.options = ros.declare(self, MonitorOptions)
        if not self.options.run_dir:
            raise ValueError("run_dir = '': must name the run folder")
        self._folder = Path(self.options.run_dir)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._started = self.options.started or time.time()
        self._usage = Usage()
        self._measured: dict[str, float] = {}
        self._rows: dict[str, dict] = {}
        self._heard: dict[str, float] = {}
        self._last_row = time.monotonic()
        for name, kind in STATUS.items():
            self.create_subscription(
                kind, f"{name}/status", lambda message, name=name: self._hear(name, message), qos_profile_sensor_data
            )
        # wall clock: the numbers go on while simulated time stands still
        self.create_timer(1.0, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _hear(self, name: str, message) -> None:
        fields = [f for f in message.get_fields_and_field_types() if f != "header"]
        self._rows[name] = {f"{name}_{f}": getattr(message, f) for f in fields}
        self._heard[name] = time.monotonic()

    def close(self) -> None:
        """The last row says how the run ended; the summary rests on it."""
        if self._measured:  # what the others used is known from before: they end now
            self._write(last=True)

    def _tick(self) -> None:
        self._measured = self._usage.measure()
        self._write()

    def _write(self, last: bool = False) -> None:
        now = time.monotonic()
        row = {"time": time.time(), "session": self._started, "wall_s": time.time() - self._started, **self._measured}
        for name, values in self._rows.items():
            row |= values
            row[f"{name}_age_s"] = round(now - self._heard[name], 2)
        try:
            write_progress(self._folder, row)
            if last or now - self._last_row >= self.options.row_period:
                self._last_row = now
                append_metrics(self._folder, row)
        except OSError as error:
            self.get_logger().error(f"cannot write to {self._folder}: {error}", throttle_duration_sec=30.0)


def main() -> None:
    ros.main(MonitorNode)
