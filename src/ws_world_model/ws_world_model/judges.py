"""Reward models out of world-model files: the newest that may be trusted to tell a success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ws_node.options import build
from ws_rollouts.task import Task
from ws_world_model.files import WorldModelError, read_tensors
from ws_world_model.gate import Gate, Quality
from ws_world_model.labels import LabelOptions
from ws_world_model.rewards import RewardModel, RewardOptions
from ws_world_model.versions import Versions

_SIZES = ("members", "channels", "features")
_NO_DATA = {"capacity": 100, "imagined_capacity": 100}  # the least: it judges and does not learn


class Judge(NamedTuple):
    """A reward model and the version of the world model that it is from."""

    rewards: RewardModel
    version: int


def load_judge(path: Path, task: Task, gate: Gate, labels: LabelOptions) -> Judge:
    """The reward model in a file, of the sizes that the file names.

    Raises WorldModelError for a file without one, for another task or architecture, and for one that the gate would
    not let generate.
    """
    tensors, notes = read_tensors(path)
    try:
        sizes = {name: int(notes[f"reward_{name}"]) for name in _SIZES}
        rewards = RewardModel(task, build(RewardOptions, {**_NO_DATA, **sizes}), labels=labels)
        rewards.load(tensors, notes)
        auc = json.loads(notes["reward_auc"])
        quality = Quality(reward_auc=None if auc is None else float(auc), rewards_ready=rewards.ready,
                          rewards_stopped=rewards.stopped)
        version = int(notes["version"])
    except KeyError as error:
        raise WorldModelError(f"{path}: holds no reward model: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise WorldModelError(f"{path}: {error}") from error
    verdict = gate.rewards(quality)
    if not verdict.allowed:
        raise WorldModelError(f"{path}: {verdict.reason}")
    return Judge(rewards, version)


class Judges:
    """Follows one file, or the newest version in a run's folder that `load` does not refuse."""

    def __init__(self, load: Callable[[Path], Judge], folder: Path, file: Path | None = None):
        self._load, self._versions, self._file = load, Versions(folder), file
        self._seen: object = None

    def look(self) -> Judge | None:
        """One that is new since the last look; cheap when nothing is.

        Raises ValueError or OSError, once for each new file, when there are files and none can be used.
        """
        found = self._found()
        if found == self._seen:
            return None
        self._seen = found
        return self._load(self._file) if self._file else self._versions.newest(self._load)

    def _found(self) -> object:
        if self._file is None:
            return self._versions.numbers[-1:]
        try:
            status = self._file.stat()
        except OSError:
            return "missing"
        return status.st_mtime_ns, status.st_size
