"""The recorder and replay nodes as real processes: replaying a bag into a recorder gives the same episode."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.catalog import finished
from ws_rollouts.testing import make_episode

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ROS_DOMAIN_ID": str(100 + os.getpid() % 100),
               "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def start(node, **parameters):
    arguments = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", f"ws_rollouts.nodes.{node}_node", "--ros-args", *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def test_a_replayed_episode_is_recorded_again_bit_for_bit(tmp_path):
    episode = make_episode(40)
    source = write_episode(tmp_path / "source", episode)
    recorder = start("recorder", run_dir=tmp_path, min_free_mib=1)
    try:
        replay = start("replay", bag=source, rate=10.0, discovery_wait=3.0)
        assert replay.wait(30) == 0, replay.stdout.read()
        [summary] = wait_for(lambda: finished(tmp_path / "bags")[0], 10)
    finally:
        recorder.send_signal(signal.SIGINT)
        output, _ = recorder.communicate(timeout=10)
    assert recorder.returncode == 0, output
    assert (summary.outcome, summary.steps) == ("success", 40)
    read = read_episode(summary.uri)
    for name in ("state", "action", "executed", "reward", "source", "stamp", "weights_version"):
        np.testing.assert_array_equal(getattr(read, name), getattr(episode, name))
    for view, frames in episode.frames.items():
        np.testing.assert_array_equal(read.frames[view], frames)


@pytest.mark.parametrize(("node", "parameters", "reason"), [
    ("recorder", {"run_dir": "/nowhere/at/all"}, "/nowhere/at/all"),
    ("recorder", {}, "run_dir"),
    ("recorder", {"run_dir": "/proc"}, "/proc/bags cannot be written"),
    ("recorder", {"min_free_mib": "lots"}, "min_free_mib = 'lots'"),
    ("replay", {"bag": "/nowhere/bag"}, "/nowhere/bag: no such bag"),
])
def test_a_wrong_start_ends_at_once_and_says_why(node, parameters, reason):
    process = start(node, **parameters)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 2
    assert reason in output
