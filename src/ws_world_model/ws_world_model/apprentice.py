"""The dynamics, the reward model and the generator together, and all of them in one file for each version."""

from __future__ import annotations

import copy
import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ws_node.optimisers import load_state_arrays, state_arrays
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import Task
from ws_world_model.counterfactuals import CounterfactualOptions, sample_segment
from ws_world_model.files import WorldModelError, read_tensors, save_world_model, world_model_of
from ws_world_model.generation import Generator
from ws_world_model.imagination import CHUNK, Context, Dynamics, Imagined
from ws_world_model.labels import FAILURE
from ws_world_model.rewards import RewardModel
from ws_world_model.training import Score, Trainer
from ws_world_model.versions import Versions

_LIVE, _OPTIMISER = "trainer.live.", "trainer.optimiser."


@dataclass
class Timed:
    """Dynamics that know how fast they are; all else is those they wrap."""

    dynamics: Dynamics
    seconds_per_chunk: float = math.nan  # of the last call, CHUNK steps of all its variants
    frames_per_s: float = math.nan  # each view counted

    @property
    def task(self) -> Task:
        return self.dynamics.task

    @property
    def version(self) -> int:
        return self.dynamics.version

    @property
    def profile(self) -> str:
        return self.dynamics.profile

    def imagine(self, context: Context, actions: np.ndarray) -> Imagined:
        began = time.perf_counter()
        imagined = self.dynamics.imagine(context, actions)
        spent = max(time.perf_counter() - began, 1e-9)
        count, steps, _ = actions.shape
        self.seconds_per_chunk = spent / math.ceil(steps / CHUNK)
        self.frames_per_s = count * steps * len(VIEWS) / spent
        return imagined


class Apprentice:
    """See `student.Student`. Generates with the trainer's averaged weights: call `generate` only while they are those
    of the version in use, after `save` or `restore`."""

    def __init__(
        self, trainer: Trainer, rewards: RewardModel, versions: Versions,
        options: CounterfactualOptions | None = None, seed: int = 0,
    ):
        self.trainer, self.rewards, self.versions = trainer, rewards, versions
        versions.clear()
        self.options = options or CounterfactualOptions()
        self.dynamics = Timed(trainer.model)
        self.generator = Generator(self.dynamics, rewards, self.options, seed, session=uuid.uuid4().hex[:8])
        self._rng = np.random.default_rng(seed)

    @property
    def version(self) -> int:
        return self.trainer.model.version

    @property
    def steps(self) -> int:
        return self.trainer.steps

    @property
    def rewards_due(self) -> bool:
        return self.rewards.due

    @property
    def rewards_ready(self) -> bool:
        return self.rewards.ready

    @property
    def rewards_stopped(self) -> bool:
        return self.rewards.stopped

    @property
    def reward_threshold(self) -> float:
        return self.rewards.labeller.threshold

    @property
    def false_positive_rate(self) -> float:
        return self.rewards.labeller.false_positive_rate

    @property
    def recall(self) -> float:
        return self.rewards.labeller.recall

    @property
    def seconds_per_chunk(self) -> float:
        return self.dynamics.seconds_per_chunk

    @property
    def frames_per_s(self) -> float:
        return self.dynamics.frames_per_s

    def add(self, episode: Episode) -> None:
        self.rewards.add(episode)
        self.trainer.add(episode)

    def step(self) -> dict[str, float]:
        return self.trainer.step()

    def step_rewards(self) -> float:
        return self.rewards.step()

    def score(self, episode: Episode) -> Score:
        return self.trainer.score([episode])

    def disputes(self, episode: Episode) -> bool:
        return self.rewards.label(self.rewards.predict(episode.frames, episode.state)).kind == FAILURE

    def reward_auc(self, held_out: list[Episode]) -> float:
        return self.rewards.auc(held_out)

    def snapshot(self) -> Any:
        trainer = self.trainer
        return copy.deepcopy((trainer.live.state_dict(), trainer.model.state_dict(), trainer.optimiser.state_dict(),
                              trainer.steps))

    def restore(self, snapshot: Any) -> None:
        live, model, optimiser, steps = copy.deepcopy(snapshot)
        self.trainer.live.load_state_dict(live)
        self.trainer.model.load_state_dict(model)
        self.trainer.optimiser.load_state_dict(optimiser)
        self.trainer.steps = steps

    def save(self, version: int, notes: Mapping[str, str]) -> None:
        """Dynamics, reward model and what the trainer needs to go on, in one file."""
        trainer, before = self.trainer, self.version
        tensors = {f"{_LIVE}{n}": t.detach().numpy().copy() for n, t in trainer.live.state_dict().items()}
        tensors |= state_arrays(trainer.optimiser, _OPTIMISER)
        trainer.model.version = version
        try:
            save_world_model(trainer.model, self.versions.path(version), {**notes, **self.rewards.metadata()},
                             {**tensors, **self.rewards.tensors()})
        except OSError:
            trainer.model.version = before
            raise
        self.versions.prune()

    def resume(self) -> dict[str, str] | None:
        """Go on from the newest version that can be used; its notes, or None when there is none.

        Raises VersionsError when there are versions and none can be used.
        """
        return self.versions.newest(self._load)

    def _load(self, path: Path) -> dict[str, str]:
        tensors, notes = read_tensors(path)
        kept = world_model_of(path, tensors, notes, self.trainer.task)
        trainer, untouched = self.trainer, self.snapshot()
        try:
            trainer.model.load_state_dict(kept.state_dict())
            trainer.live.load_state_dict(_state(tensors, _LIVE))
            load_state_arrays(trainer.optimiser, tensors, _OPTIMISER)
            trainer.steps = int(notes["steps"])
            json.loads(notes["trained"])
            self.rewards.load(tensors, notes)
        except (RuntimeError, KeyError, ValueError) as error:
            self.restore(untouched)
            raise WorldModelError(f"{path}: another architecture: {error}") from error
        trainer.model.version = kept.version
        return notes

    def generate(
        self, online: list[Episode], demos: list[Episode], replay_only: bool = False, confidence: float = 0.0
    ) -> tuple[list[Episode], Mapping[str, int]]:
        self.generator.options = self.options.widened(confidence)
        generated = self.generator.generate(sample_segment(online, demos, self.options, self._rng), replay_only)
        return generated.episodes, generated.counts


def _state(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): torch.from_numpy(t) for n, t in tensors.items() if n.startswith(prefix)}
