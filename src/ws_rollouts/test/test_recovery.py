"""A recorder killed with -9 at any moment loses no finished episode, and only the open one's last chunk."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ws_rollouts.bag import read_episode, serialised
from ws_rollouts.catalog import finished
from ws_rollouts.recovery import recover
from ws_rollouts.testing import begin_bag, make_episode
from ws_rollouts.writer import OPEN

PROGRAM = """
import sys, time
from pathlib import Path
from ws_rollouts.bag import serialised
from ws_rollouts.recorder import Recorder, RecorderOptions, claim
from ws_rollouts.recovery import recover
from ws_rollouts.schema import POLICY_TOPICS, Topic
from ws_rollouts.testing import make_episode

bags, first = Path(sys.argv[1]), int(sys.argv[2])
lock = claim(bags)
recover(bags)
topics = [Topic("/" + t.name, t.type, t.reliable) for t in POLICY_TOPICS]
recorder = Recorder(bags, topics, RecorderOptions(min_free_mib=0), lambda s: print(s.episode_id, flush=True))
for number in range(first, first + 1000):
    for topic, raw, stamp in serialised(make_episode(40, episode_id=f"e{number:05}", seed=number)):
        recorder.on_message(topic, raw, stamp)
        time.sleep(0.0002)
"""


def run_and_kill(bags, first, seconds):
    """Record for `seconds` after the first episode, kill -9; the ids that were announced."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(bags), str(first)], stdout=subprocess.PIPE,
                               text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    announced = [process.stdout.readline().strip()]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    announced += process.stdout.read().split()
    process.wait(10)
    return announced


def test_killed_again_and_again(tmp_path):
    bags = tmp_path / "bags"
    announced = []
    for round_number in range(4):
        announced += run_and_kill(bags, 1000 * round_number, 0.1 + 0.07 * round_number)
    recover(bags)
    summaries, errors = finished(bags)
    assert not errors
    ids = [s.episode_id for s in summaries]
    assert len(set(announced)) == len(announced)
    assert set(announced) <= set(ids)
    for summary in summaries:
        if summary.outcome == "success":
            assert len(read_episode(summary.uri)) == 40
    assert recover(bags) == []
    assert not list((bags / OPEN).iterdir())


def leave_open(bags, episode, parts):
    """What a killed recorder leaves: the file as far as it went."""
    writer = begin_bag(bags, episode, parts)
    writer.abandon()
    return next(writer.open_folder.glob("*.mcap"))


def test_every_whole_chunk_is_kept(tmp_path):
    episode = make_episode(60)
    parts = list(serialised(episode))
    file = leave_open(tmp_path, episode, parts)
    data = file.read_bytes()
    kept = []
    for cut in (len(data), len(data) * 3 // 4, len(data) // 2):
        shutil.rmtree(tmp_path / episode.episode_id, ignore_errors=True)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data[:cut])
        [found] = recover(tmp_path)
        assert found.lost
        assert found.summary.outcome == "aborted"
        kept.append(len(read_episode(tmp_path / episode.episode_id)))
    assert kept[0] > kept[1] > kept[2] > 10
    assert kept[0] >= 60 - 11  # a chunk holds ten steps of two 64x64 views


def test_a_bag_killed_between_its_end_and_its_move_is_whole(tmp_path):
    episode = make_episode(20)
    writer = begin_bag(tmp_path, episode)
    folder = writer.finish({"parent": "e7"})
    folder.rename(writer.open_folder)
    [found] = recover(tmp_path)
    assert (found.lost, found.summary.outcome, found.summary.steps) == ("", "success", 20)
    assert read_episode(folder).notes["parent"] == "e7"


def test_a_recovery_that_was_killed_is_done_again(tmp_path):
    episode = make_episode(60)
    file = leave_open(tmp_path, episode, serialised(episode))
    part = file.parent.with_name(episode.episode_id + "~")
    part.mkdir()
    (part / "half.mcap").write_bytes(b"half")
    [found] = recover(tmp_path)
    assert found.summary.steps > 40
    # and where it had finished, but not tidied up
    file.parent.mkdir()
    file.write_bytes(b"left over")
    [found] = recover(tmp_path)
    assert found.summary.steps > 40
    assert len(finished(tmp_path)[0]) == 1


@pytest.mark.parametrize("content", [b"", b"\x89MC", b"\x89MCAP0\r\n"])
def test_an_open_bag_with_nothing_in_it_goes_away(tmp_path, content):
    folder = tmp_path / OPEN / "e1"
    folder.mkdir(parents=True)
    (folder / "e1_0.mcap").write_bytes(content)
    [found] = recover(tmp_path)
    assert found.summary is None
    assert found.lost
    assert not folder.exists()
    assert finished(tmp_path) == ([], [])


def test_what_is_no_bag_is_set_aside_and_kept(tmp_path):
    folder = tmp_path / OPEN / "e1"
    folder.mkdir(parents=True)
    (folder / "e1_0.mcap").write_bytes(b"nothing of ours")
    [found] = recover(tmp_path)
    assert found.summary is None
    assert ".lost" in found.lost
    assert [f.read_bytes() for f in tmp_path.glob(".lost/*/*")] == [b"nothing of ours"]
    assert recover(tmp_path) == []
