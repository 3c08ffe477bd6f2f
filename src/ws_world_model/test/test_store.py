"""The store of synthetic bags: whole or not there, bounded, and plain words when the disk refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ws_rollouts.bag import read_episode
from ws_rollouts.task import load_task
from ws_world_model.store import Store, StoreError, StoreOptions
from ws_world_model.testing import synthetic

LOOSE = {"min_free_mib": 0}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_written_episode_can_be_read_by_everyone_and_survives_a_restart(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE))
    summary = store.write(synthetic(1, label="failure"))
    episode = read_episode(Path(summary.uri), load_task("pushing"))
    assert episode.notes["label"] == "failure" and summary.steps == len(episode)
    again = Store(tmp_path)
    assert (len(again), again.counts, again.bytes) == (1, {"failure": 1}, summary.bytes)
    assert again.entries == store.entries


def test_old_versions_go(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE, versions=2))
    for version in range(1, 6):
        store.write(synthetic(version, version))
    assert store.evict(5) == 2
    assert names(tmp_path) == [f"pushing-synthetic-test-{i:06d}" for i in (3, 4, 5)]
    assert store.evict(5) == 0 and store.bytes == sum(e.summary.bytes for e in store.entries)


def test_the_oldest_go_when_there_are_too_many(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE, most_rollouts=3))
    for number in range(5):
        store.write(synthetic(number))
    assert names(tmp_path) == [f"pushing-synthetic-test-{i:06d}" for i in (2, 3, 4)]


def relocated(number):
    episode = synthetic(number, 0)
    episode.notes = {**episode.notes, "kind": "relocated"}
    return episode


def test_relocated_ones_are_never_out_of_date_and_counted_after_a_restart(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE, versions=0))
    for episode in (relocated(0), synthetic(1, 1), relocated(2)):
        store.write(episode)
    assert store.relocated == 2 and store.evict(9) == 1
    assert names(tmp_path) == [f"pushing-synthetic-test-{i:06d}" for i in (0, 2)]
    assert Store(tmp_path).relocated == store.relocated == 2


def test_relocated_ones_go_last_when_there_are_too_many(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE, most_rollouts=3))
    for episode in (relocated(0), relocated(1), synthetic(2), synthetic(3), synthetic(4), relocated(5)):
        store.write(episode)
    assert names(tmp_path) == [f"pushing-synthetic-test-{i:06d}" for i in (0, 1, 5)]
    store.write(relocated(6))
    assert names(tmp_path) == [f"pushing-synthetic-test-{i:06d}" for i in (1, 5, 6)] and store.relocated == 3
    store.write(synthetic(7))
    assert store.relocated == 2 and len(store) == 3
    assert store.entries[-1].summary.episode_id.endswith("7"), "the new one stays, as it is announced"


def test_the_oldest_go_when_they_are_too_large(tmp_path):
    store = Store(tmp_path, StoreOptions(**LOOSE, most_mib=1))
    for number in range(6):
        store.write(synthetic(number, steps=40))
    assert store.bytes <= 2**20 and 0 < len(store) < 6
    assert "pushing-synthetic-test-000005" in names(tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    store = Store(tmp_path, StoreOptions(min_free_mib=10**7))
    with pytest.raises(StoreError, match="MiB free, min_free_mib is 10000000"):
        store.write(synthetic(1))
    assert names(tmp_path) == [] and len(store) == 0


def test_a_disk_that_fills_while_a_bag_is_written_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path, StoreOptions(**LOOSE))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left on device"):
        store.write(synthetic(1))
    assert names(tmp_path) == [] and not any((tmp_path / ".open").iterdir())
    monkeypatch.undo()
    assert store.write(synthetic(1)).steps == 4, "the same episode, once there is room"


def test_a_folder_that_cannot_be_made_is_an_error_only_when_something_is_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "synthetic")
    with pytest.raises(StoreError, match="file"):
        store.check_space()


def test_killed_at_any_time_it_leaves_whole_bags_only(tmp_path):
    code = ("import sys\nfrom pathlib import Path\n"
            "from ws_world_model.store import Store, StoreOptions\nfrom ws_world_model.testing import synthetic\n"
            "store = Store(Path(sys.argv[1]), StoreOptions(min_free_mib=0, most_rollouts=3))\n"
            "for i in range(10_000):\n    store.write(synthetic(i))\n    print(i, flush=True)\n")
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(6):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (tmp_path / ".open" / "half").mkdir(exist_ok=True, parents=True)
    store = Store(tmp_path, StoreOptions(**LOOSE))
    assert not (tmp_path / ".open").exists() and not store.damaged
    assert len(names(tmp_path)) == len(store) >= 3
    for entry in store.entries:
        read_episode(Path(entry.summary.uri))


def test_what_is_no_synthetic_rollout_is_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    store = Store(tmp_path)
    assert len(store) == 0 and len(store.damaged) == 1 and (tmp_path / "notes").is_dir()
