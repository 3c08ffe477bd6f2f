"""A run from start to end: folder and locks, the graph, the evaluation, the summary."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ws_bringup import runner, shared_memory
from ws_bringup.console import LastingOutput
from ws_bringup.graph import Process, make_graph
from ws_bringup.locks import run_locks
from ws_bringup.metrics import PROGRESS, read_json
from ws_bringup.progress import View
from ws_bringup.settings import Settings
from ws_bringup.summary import BASELINE, CHECKPOINT_WEIGHTS, DETERMINISTIC, EVALUATION, write_summary
from ws_bringup.supervisor import ProcessError, RefusedError

LEAST_FREE = 1 << 30        # bytes of disk to start a run with
EVALUATION_SEED = 1_000_000  # apart from every training seed: the scenes are new ones
EVALUATION_SHARE = 0.25     # of a short run's minutes, at most


def run(settings: Settings) -> int:
    """Run the whole loop; the exit code: 0 at its end or after Ctrl-C, 1 when a process could not be kept up,
    2 when one refused its parameters.

    Raises ValueError, AlreadyRunning or OSError when it cannot start.
    """
    prepare_folder(settings)
    sys.stdout = LastingOutput(sys.stdout)
    with run_locks(settings):
        shared_memory.clean()  # of a run that was killed
        for name in (PROGRESS, EVALUATION, DETERMINISTIC, BASELINE):
            (settings.folder / name).unlink(missing_ok=True)
        return asyncio.run(_Session(settings).run())


def prepare_folder(settings: Settings) -> None:
    """Make the run folder. Raises ValueError or OSError when it is not fit to hold the run."""
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"run folder {folder} cannot be written")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise OSError(f"run folder {folder}: {free / 2**20:.0f} MiB free, a run needs {LEAST_FREE / 2**20:.0f} MiB")
    if not settings.resume and any((folder / "bags").glob("*")):
        raise ValueError(f"resume = False: {folder} already holds bags; choose another NAME or resume")


def time_for_graph(settings: Settings) -> float:
    """Seconds that the graph may run, 0 for no limit; the rest of `minutes` is the evaluation's."""
    reserve = min(settings.evaluation_minutes, EVALUATION_SHARE * settings.minutes)
    return 60 * (settings.minutes - (reserve if settings.evaluation_episodes else 0.0))


def evaluations(settings: Settings) -> list[Process]:
    """The processes at the end of a run: the learnt policy as it acts, by its mean, and behaviour cloning."""
    folder = settings.folder
    episodes, seed = str(settings.evaluation_episodes), str(EVALUATION_SEED + settings.seed)
    common = ("evaluate", "--task", settings.task, "--episodes", episodes, "--seed", seed)
    learnt = (*common, "--weights", str(folder / CHECKPOINT_WEIGHTS))
    parts = {
        EVALUATION: learnt,
        DETERMINISTIC: (*learnt, "--exploration", "0"),
        BASELINE: (*common, "--bc", "--bags", str(folder / "bags")),
    }
    return [
        Process(Path(name).stem, "ws_bringup", "worldsample", arguments=(*arguments, "--json", str(folder / name)),
                respawn=False, required=False)
        for name, arguments in parts.items()
    ]


class _Session:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._stop = asyncio.Event()
        self._say: Callable[[str], None] = print
        self._ends_at = time.monotonic() + 60 * settings.minutes

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # first: what comes before may be lost
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        settings = self._settings
        graph, evaluation = make_graph(settings), evaluations(settings)
        with View(settings.name, settings.minutes, settings.headless) as view:
            logs = runner.Logs(settings.folder / "logs", ["run", *(p.name for p in graph + evaluation)])
            self._say = lambda text: logs.line("run", text)
            refresh = asyncio.ensure_future(self._refresh(view))
            try:
                code = await self._graph(runner.supervise(graph, settings, logs), logs)
                if code == 0 and settings.minutes and not self._stop.is_set():
                    await self._evaluate(evaluation, logs)
            except ProcessError as error:
                self._say(f"error: {error}")
                code = 1
            finally:
                refresh.cancel()
                summary = write_summary(settings)
                logs.close()
        print_summary(settings, summary)
        return code

    async def _graph(self, supervised, logs) -> int:
        self._say(f"{len(supervised)} processes; folder {self._settings.folder}")
        try:
            await runner.run(supervised, self._stop, time_for_graph(self._settings), logs.line)
        except ProcessError as error:
            self._say(f"error: {error}; the run ends")
            return 2 if isinstance(error, RefusedError) else 1
        return 0

    async def _evaluate(self, processes: list[Process], logs) -> None:
        if not (self._settings.folder / CHECKPOINT_WEIGHTS).is_file() or not self._settings.evaluation_episodes:
            self._say("no evaluation: there are no learnt weights yet")
            return
        left = self._ends_at - time.monotonic()
        self._say(f"evaluation of {self._settings.evaluation_episodes} episodes, {left:.0f} s at most")
        supervised = [
            runner.Supervised(p, [runner.find_executable(p.package, p.executable), *p.arguments],
                              runner.process_environment(), logs.line)
            for p in processes
        ]
        await runner.run(supervised, self._stop, max(left, 1.0), logs.line)

    async def _refresh(self, view: View) -> None:
        while True:
            view.show(read_json(self._settings.folder / PROGRESS))
            await asyncio.sleep(1.0)

    def _on_signal(self, name: str) -> None:
        first = not self._stop.is_set()
        self._stop.set()
        if first:
            self._say(f"{name}: ending")


def print_summary(settings: Settings, summary: dict) -> None:
    """The run's result for people."""
    rate, episodes, interval = (summary[k] for k in ("success_rate", "eval_episodes", "success_ci"))
    result = "not evaluated" if rate is None else f"success {rate:.0%} over {episodes} episodes {interval}"
    cloned = summary["bc_success_rate"]
    if cloned is not None:
        result += f", behaviour cloning alone {cloned:.0%}"
    print(f"{settings.name}: {result}. All of it: {settings.folder / 'summary.json'}", file=sys.stdout, flush=True)
