import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ws_bringup import runner
from ws_bringup.graph import Process
from ws_bringup.supervisor import ProcessError, RestartPolicy, Supervised

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
QUICK = RestartPolicy(first_delay=0.05, longest_delay=0.2, most_exits=4)


def supervised(code: str, lines: list, policy=QUICK, **how) -> Supervised:
    process = Process("node", "package", "executable", **how)
    # -S -E: without the start-up hooks of the environment, which replace the process once
    command = [sys.executable, "-SE", "-c", code]
    return Supervised(process, command, dict(os.environ), lambda *line: lines.append(line), policy)


async def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def up(lines) -> int:
    return sum(text == "up" for _, text in lines)


def test_a_background_process_gets_only_what_others_leave():
    async def scenario():
        lines = []
        one = supervised(SLEEP, lines, background=True)
        stop = asyncio.Event()
        running = asyncio.ensure_future(runner.run([one], stop))
        await until(lambda: up(lines) == 1)
        assert os.sched_getscheduler(one.pid) == os.SCHED_IDLE
        stop.set()
        await running

    asyncio.run(scenario())


def test_a_killed_process_is_started_again():
    async def scenario():
        lines = []
        one = supervised(SLEEP, lines)
        stop = asyncio.Event()
        running = asyncio.ensure_future(runner.run([one], stop))
        await until(lambda: up(lines) == 1)
        os.kill(one.pid, signal.SIGKILL)
        await until(lambda: up(lines) == 2)
        assert one.restarts == 1
        assert any("SIGKILL" in text for _, text in lines)
        stop.set()
        await running
        assert one.pid == 0

    asyncio.run(scenario())


def test_a_process_deaf_to_sigint_is_ended_by_sigterm(monkeypatch):
    monkeypatch.setattr("ws_bringup.supervisor.STOP_AFTER", ((signal.SIGINT, 0.3), (signal.SIGTERM, 10.0)))

    async def scenario():
        lines = []
        one = supervised(DEAF, lines)
        running = asyncio.ensure_future(one.run())
        await until(lambda: up(lines) == 1)
        await one.stop()
        await running
        assert ("node", "still runs 0.3 s after SIGINT") in lines

    asyncio.run(scenario())


def test_grandchildren_do_not_outlive_their_parent():
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-SE', '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )

    async def scenario():
        lines = []
        one = supervised(code, lines)
        running = asyncio.ensure_future(one.run())
        await until(lambda: lines)
        grandchild = int(lines[0][1])
        assert alive(grandchild)
        await one.stop()
        await running
        await until(lambda: not alive(grandchild))

    asyncio.run(scenario())


def test_a_process_that_keeps_ending_is_given_up():
    async def scenario():
        await runner.run([supervised("print('no camera'); raise SystemExit(3)", [])], asyncio.Event())

    with pytest.raises(ProcessError, match="node ended 4 times within 60 s.*exit code 3.*no camera"):
        asyncio.run(scenario())


def test_a_refused_option_is_not_tried_twice():
    lines = []

    async def scenario():
        await runner.run([supervised("print('error: rate = -1'); raise SystemExit(2)", lines)], asyncio.Event())

    with pytest.raises(ProcessError, match="node refused to start: error: rate = -1"):
        asyncio.run(scenario())
    assert len(lines) == 1


def test_the_graph_outlives_a_process_that_is_not_required():
    async def scenario():
        lines, reports = [], []
        optional = supervised("raise SystemExit(2)", [], required=False)
        main = supervised(SLEEP, lines)
        stop = asyncio.Event()
        running = asyncio.ensure_future(runner.run([optional, main], stop, 0.0, lambda *r: reports.append(r)))
        await until(lambda: reports and up(lines))
        assert "the graph goes on" in reports[0][1]
        assert main.pid
        stop.set()
        await running

    asyncio.run(scenario())


def test_the_graph_ends_when_its_time_is_over():
    async def scenario():
        one = supervised(SLEEP, [])
        await runner.run([one], asyncio.Event(), 0.5)
        assert one.pid == 0

    asyncio.run(scenario())


def test_a_missing_executable_is_named(monkeypatch):
    with pytest.raises(ProcessError, match="no_such_package"):
        runner.find_executable("no_such_package", "node_of_it")
    with pytest.raises(ProcessError, match="ws_bringup has no executable no_such_node"):
        runner.find_executable("ws_bringup", "no_such_node")
