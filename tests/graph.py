"""Runs the real graph as real processes for the whole-system tests. Every wait has a limit and says what it is for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from ws_node.testing import free_domain, wait_for  # noqa: F401  tests import both from here
from ws_rollouts.bag import write_episode
from ws_rollouts.testing import make_episode

NODES = ("twin", "driver", "policy", "operator", "recorder", "learner", "world_model", "monitor")
END_LIMIT = 10.0  # s from Ctrl-C to the end of everything
LEFT_LIMIT = 40.0  # s for what learner or world model do: they get only what the others leave of the CPU

# A run in small: the shipped networks, but few demonstrations, small batches, and a learner that leaves time to others.
SMALL = {
    "policy": {"demonstrations": 2},
    "learner": {
        "learner.demonstrations": 2,
        "learner.offline_steps": 5,
        "learner.batch_size": 16,
        "learner.capacity": 2000,
        "learner.training_starts": 10,
        "learner.updates_per_step": 0.2,
        "learner.publish_every": 2,
        "learner.checkpoint_every": 4,
        "learner.imagined_least": 2,
    },
    "world_model": {"worker.relocations": 32},  # three of two demonstrations, where five are awaited
    "operator": {"interventions": False},
    "monitor": {"row_period": 1.0},
}


def seed_demonstrations(folder: Path, count: int = 2, steps: int = 20) -> list[str]:
    """Put demonstrations into a run folder, as if they had been recorded before; returns their ids."""
    names = [f"pushing-before-{i:06d}" for i in range(1, count + 1)]
    for seed, name in enumerate(names):
        episode = make_episode(steps, episode_id=name, demonstration=True, seed=seed)
        (folder / "bags").mkdir(parents=True, exist_ok=True)
        write_episode(folder / "bags", episode)
    return names


class Graph:
    """One `worldsample run` in a folder and a DDS domain of its own. `values` are parameters by node, over SMALL."""

    def __init__(self, folder: Path, domain: int, *arguments: str, values: dict[str, dict] | None = None):
        self.folder, self.domain = folder, domain
        self._arguments = arguments
        self._values = {node: {**SMALL.get(node, {}), **(values or {}).get(node, {})} for node in NODES}
        self.runner: psutil.Popen | None = None
        self.output = folder.parent / f"{folder.name}.out"

    def start(self) -> Graph:
        """Start the runner; its nodes come up by themselves."""
        path = self.folder.parent / f"{self.folder.name}.yaml"
        path.write_text(yaml.safe_dump({n: {"ros__parameters": v} for n, v in self._values.items() if v}))
        with self.output.open("a") as output:
            self.runner = psutil.Popen(
                [sys.executable, "-m", "ws_bringup", "run", "--headless", f"run_dir:={self.folder}",
                 f"params_file:={path}", *self._arguments],
                env=self.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}

    def node(self, name: str) -> psutil.Process | None:
        """The living process of a node, if there is one."""
        for process in self.processes():
            try:
                if f"__node:={name}" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.Error:
                continue
        return None

    def processes(self) -> list[psutil.Process]:
        """Everything the runner has started and that lives, at any depth."""
        try:
            return self.runner.children(recursive=True)
        except psutil.Error:
            return []

    def all_up(self) -> dict[str, psutil.Process] | None:
        """Processes by node once there is one of each; else None."""
        found = {name: self.node(name) for name in NODES}
        return found if all(found.values()) else None

    def leftovers(self) -> list[str]:
        """Command lines of all processes on the machine that belong to this run, but for the runner's own."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if process.pid != self.runner.pid and any(str(self.folder) in word for word in words):
                    found.append(" ".join(words))
            except psutil.Error:
                continue
        return found

    def shared_memory(self) -> set[Path]:
        """Files in /dev/shm that the run's processes have in use now."""
        used = set()
        for process in [self.runner, *self.processes()]:
            try:
                text = Path(f"/proc/{process.pid}/maps").read_text()
            except OSError:
                continue
            used |= {Path(line.split(maxsplit=5)[5]) for line in text.splitlines() if " /dev/shm/" in line}
        # a tracing library, where installed, keeps one file of its own for all programs of a user
        return {path for path in used if path.exists() and "lttng" not in path.name}

    def interrupt(self) -> float:
        """Ctrl-C; returns the seconds until everything had ended. Fails when that is longer than the limit."""
        began = time.monotonic()
        os.killpg(self.runner.pid, signal.SIGINT)
        wait_for(lambda: self.runner.poll() is not None, END_LIMIT, "the end after Ctrl-C", self.describe)
        return time.monotonic() - began

    def close(self) -> None:
        """End it by all means."""
        if self.runner is None or self.runner.poll() is not None:
            return
        self.runner.send_signal(signal.SIGINT)
        try:
            self.runner.wait(END_LIMIT)
        except psutil.TimeoutExpired:
            self.runner.kill()
            self.runner.wait(5.0)

    def log(self, name: str) -> str:
        """All that a node has said, over all its starts."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """Errors that any node has logged."""
        lines = [line for name in NODES for line in self.log(name).splitlines()]
        return [line for line in lines if "[ERROR]" in line or "Traceback" in line]

    def describe(self) -> str:
        """What to show when something has failed."""
        text = self.output.read_text(errors="replace") if self.output.exists() else "no output"
        ended = f"the runner ended with {self.runner.poll()}\n" if self.runner.poll() is not None else ""
        return f"{ended}Last lines of the run:\n" + "\n".join(text.splitlines()[-25:])
