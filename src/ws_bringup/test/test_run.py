"""`worldsample run` in a process of its own, over stand-ins of the nodes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ws_node.testing import wait_for

NODES = ("twin", "driver", "policy", "operator", "recorder", "learner", "world_model")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ws_bringup", "run", "--headless", f"run_dir:={folder}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, text=True, start_new_session=True, **pipes)


def pids(folder: Path) -> dict[str, int]:
    """The newest process of each node, from the run's log files."""
    found = {}
    for name in NODES:
        log = folder / "logs" / f"{name}.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        numbers = [int(words[2]) for words in lines if words[1:2] == ["here"]]
        if numbers:
            found[name] = numbers[-1]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_up(folder: Path):
    return wait_for(lambda: len(found := pids(folder)) == len(NODES) and found, 40.0, "all nodes")


@pytest.fixture
def running(installation, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    yield process, folder
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
    process.stdout.close()


def test_interrupt_ends_everything_and_leaves_a_summary(running):
    process, folder = running
    nodes = all_up(folder)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0, output
    assert not any(alive(pid) for pid in nodes.values())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["task"] == "pushing"
    assert summary["success_rate"] is None
    assert (folder / "params" / "policy.yaml").is_file()


def test_a_run_whose_reader_has_gone_can_be_ended(running):
    process, folder = running
    nodes = all_up(folder)
    process.stdout.close()
    os.kill(nodes["learner"], signal.SIGKILL)  # it will be told about, to nobody
    wait_for(lambda: pids(folder)["learner"] != nodes["learner"], 10.0, "a new learner")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    assert (folder / "summary.json").is_file()


def test_a_killed_node_comes_back(running):
    _, folder = running
    before = all_up(folder)
    os.kill(before["learner"], signal.SIGKILL)
    after = wait_for(lambda: (now := pids(folder))["learner"] != before["learner"] and now, 10.0, "a new learner")
    assert {**after, "learner": 0} == {**before, "learner": 0}


def test_no_node_outlives_a_killed_runner(running):
    process, folder = running
    nodes = all_up(folder)
    process.kill()
    wait_for(lambda: not any(alive(pid) for pid in nodes.values()), 10.0, "the end of all nodes")


def test_a_second_run_is_refused(running, tmp_path):
    _, folder = running
    nodes = all_up(folder)
    same = start(folder)
    output, _ = same.communicate(timeout=30)
    assert same.returncode == 2
    assert "is still running: choose another NAME" in output
    other = start(tmp_path / "other", "--name", "other")
    output, _ = other.communicate(timeout=30)
    assert other.returncode == 2
    assert "ROS_DOMAIN_ID" in output
    assert all(alive(pid) for pid in nodes.values())


def test_a_run_ends_with_its_minutes(installation, tmp_path):
    process = start(tmp_path / "run", "--minutes", "0.03", "evaluation_episodes:=0")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "juggling"], "task = 'juggling': must be"),
        (["--mode", "telepathy"], "mode = 'telepathy': must be"),
        (["--minutes", "soon"], "minutes = 'soon': must be float"),
        (["--seed", "-1"], "seed = -1: must be"),
        (["colour:=red"], "unknown option 'colour'"),
        (["robot"], "key:=value"),
        (["robot:=a1x", "operator:=scripted"], "needs robot = 'twin'"),
        (["params_file:=/no/such/file.yaml"], "no such file"),
        (["--name", "../escape"], "name = '../escape'"),
    ],
)
def test_wrong_requests_are_refused(installation, tmp_path, arguments, message):
    process = start(tmp_path / "run", *arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in output
    assert "Traceback" not in output


def test_a_params_file_reaches_its_node_only(installation, tmp_path):
    (tmp_path / "user.yaml").write_text("policy:\n  ros__parameters:\n    seed: 7\n    deep: {er: 1.5}\n")
    process = start(tmp_path / "run", "--minutes", "0.03", "evaluation_episodes:=0", "params_file:=user.yaml")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "seed: 7" in (tmp_path / "run/params/policy.yaml").read_text()
    assert "deep.er: 1.5" in (tmp_path / "run/params/policy.yaml").read_text()
    assert "seed: 0" in (tmp_path / "run/params/learner.yaml").read_text()


def test_a_params_file_for_an_unknown_node_is_refused(installation, tmp_path):
    (tmp_path / "user.yaml").write_text("polcy:\n  ros__parameters: {seed: 7}\n")
    process = start(tmp_path / "run", "params_file:=user.yaml")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "no node is called 'polcy'" in output


def test_a_folder_that_cannot_be_written_is_refused(installation, tmp_path):
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "run")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "worldsample: error" in output
