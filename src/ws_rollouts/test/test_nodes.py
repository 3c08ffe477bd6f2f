"""The recorder and replay nodes as real processes: replaying a bag into a recorder gives the same episode."""

import signal
from functools import partial

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ws_node.testing import end_node, free_domain, refusal, start_node, wait_for
from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.catalog import finished
from ws_rollouts.testing import make_episode, make_rgbd


@pytest.fixture
def start():
    """Starts the recorder or the replay node with parameters; all in one domain."""
    begin = partial(start_node, domain=free_domain())
    return lambda node, **values: begin(f"ws_rollouts.nodes.{node}_node", *(f"{k}:={v}" for k, v in values.items()))


def test_a_replayed_episode_is_recorded_again_bit_for_bit(start, tmp_path):
    episode = make_episode(40)
    source = write_episode(tmp_path / "source", episode)
    recorder = start("recorder", run_dir=tmp_path, min_free_mib=1)
    try:
        output, _ = start("replay", bag=source, rate=10.0, discovery_wait=3.0).communicate(timeout=30)
        assert "playing 123 messages" in output and "Traceback" not in output
        [summary] = wait_for(lambda: finished(tmp_path / "bags")[0], 10, "a finished bag")
    finally:
        end_node(recorder, signal.SIGINT, 10.0)
    assert (summary.outcome, summary.steps) == ("success", 40)
    read = read_episode(summary.uri)
    for name in ("state", "action", "executed", "reward", "source", "stamp", "weights_version"):
        np.testing.assert_array_equal(getattr(read, name), getattr(episode, name))
    for view, frames in episode.frames.items():
        np.testing.assert_array_equal(read.frames[view], frames)


def test_replayed_depth_is_recorded_again_with_its_color(start, tmp_path):
    """Not all of it: the recorder thins it out, and takes what is there when it looks."""
    episode = make_episode(30)
    episode.rgbd = make_rgbd(episode, every=2)
    source = write_episode(tmp_path / "source", episode)
    recorder = start("recorder", run_dir=tmp_path, min_free_mib=1, record_robot=False, lead_in=10.0)
    try:
        start("replay", bag=source, rate=2.0, discovery_wait=3.0).communicate(timeout=30)
        [summary] = wait_for(lambda: finished(tmp_path / "bags")[0], 10, "a finished bag")
    finally:
        end_node(recorder, signal.SIGINT, 10.0)
    read = read_episode(summary.uri, rgbd=True)
    assert set(read.rgbd) == {"side", "wrist"} and len(read) == 30
    for view, stream in read.rgbd.items():
        whole = episode.rgbd[view]
        at = np.searchsorted(whole.stamp, stream.stamp)
        for name in ("stamp", "color", "depth", "joints"):
            np.testing.assert_array_equal(getattr(stream, name), getattr(whole, name)[at])


@pytest.mark.parametrize(("node", "parameters", "reason"), [
    ("recorder", {"run_dir": "/nowhere/at/all"}, "/nowhere/at/all"),
    ("recorder", {}, "run_dir"),
    ("recorder", {"run_dir": "/proc"}, "/proc/bags cannot be written"),
    ("recorder", {"min_free_mib": "lots"}, "min_free_mib = 'lots'"),
    ("replay", {"bag": "/nowhere/bag"}, "/nowhere/bag: no such bag"),
])
def test_a_wrong_start_ends_at_once_and_says_why(start, node, parameters, reason):
    assert reason in refusal(start(node, **parameters), 10.0)
