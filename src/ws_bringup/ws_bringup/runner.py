"""Runs the graph where launch_ros is missing: one supervisor for each process, coloured and kept log lines."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from honcho.colour import get_colours
from honcho.printer import Message, Printer

from ws_bringup import shared_memory
from ws_bringup.environment import process_environment
from ws_bringup.graph import Process, ros_arguments
from ws_bringup.settings import Settings
from ws_bringup.supervisor import ProcessError, Supervised

LOG_FORMAT = {"RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] {message}"}  # the runner adds time and name


class Logs:
    """Prints every process's lines with its name in its colour, and keeps them in logs/<name>.log."""

    def __init__(self, folder: Path, names: list[str], output: TextIO | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: (folder / f"{name}.log").open("a", buffering=1) for name in names}
        self._colours = dict(zip(names, get_colours(), strict=False))
        self._printer = Printer(output or sys.stdout, width=max(map(len, names), default=0))

    def line(self, name: str, text: str) -> None:
        """One line of a process."""
        now = datetime.datetime.now()
        self._printer.write(Message("line", text, now, name, self._colours.get(name)))
        if name in self._files:
            with contextlib.suppress(OSError):  # a full disk must not stop the robot's supervisor
                self._files[name].write(f"{now.isoformat(timespec='milliseconds')} {text}\n")

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def command(process: Process, settings: Settings) -> list[str]:
    """The command line of a process. Raises ProcessError when its executable is not installed."""
    executable = find_executable(process.package, process.executable)
    return [executable, *process.arguments, "--ros-args", *ros_arguments(process, settings)]


def find_executable(package: str, executable: str) -> str:
    """Path of a package's executable, as `ros2 run` finds it. Raises ProcessError when there is none."""
    try:
        path = Path(get_package_prefix(package), "lib", package, executable)
    except PackageNotFoundError:
        path = Path(shutil.which(executable) or "")
        if not path.name:
            raise ProcessError(f"package {package} is not installed or the workspace is not sourced") from None
    if not os.access(path, os.X_OK):
        raise ProcessError(f"package {package} has no executable {executable}: build the workspace again")
    return str(path)


def supervise(graph: list[Process], settings: Settings, logs: Logs) -> list[Supervised]:
    """One supervisor for each process. Raises ProcessError when something of the graph is not installed."""
    return [
        Supervised(p, command(p, settings), {**LOG_FORMAT, **process_environment(p.environment)}, logs.line)
        for p in graph
    ]


async def run(
    supervised: list[Supervised], stop: asyncio.Event, seconds: float = 0.0, report: Callable[[str, str], None] = print
) -> None:
    """Keep the processes up until `stop` is set or the seconds are over (0: no limit), then end them all.

    Raises ProcessError when a required process cannot be kept up; one that is not required is only reported.
    """
    tasks = {asyncio.ensure_future(s.run()): s for s in supervised}
    stopped = asyncio.ensure_future(stop.wait())
    deadline = asyncio.get_running_loop().time() + seconds if seconds else None
    try:
        pending = {*tasks, stopped}
        while pending - {stopped}:
            left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if stopped in done or not done:
                return
            for task in done:
                _settle(task, tasks[task].process, report)
    finally:
        stopped.cancel()
        await asyncio.gather(*(s.stop() for s in supervised))
        await asyncio.gather(*tasks, return_exceptions=True)
        shared_memory.clean()


def _settle(task: asyncio.Future, process: Process, report: Callable[[str, str], None]) -> None:
    error = task.exception()
    if error is not None and process.required:
        raise error
    report(process.name, f"{error or 'ended'}; the graph goes on without it")
