"""Fine-tuning: a growing set of episodes, small steps, a running average of the weights, a score on held-out ones."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

from ws_node.options import option
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import Task
from ws_world_model.calibration import CalibrationOptions
from ws_world_model.clips import Cutter, Exposures
from ws_world_model.dynamics import DynamicsOptions, KinematicWorldModel
from ws_world_model.fidelity import replay_cases, score
from ws_world_model.geometry import GeometryOptions
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.scenes import Scenes

BETAS = 0.9, 0.98  # with 0.999 a rare large gradient finds too small a second moment, and small batches run away


@dataclass(frozen=True)
class TrainerOptions:
    """How much data, how it is mixed, how fast it is learned."""

    clips: int = option(2, "clips in a batch", low=1, high=256)
    drawn: int = option(8, "frames drawn of each clip", low=1, high=64)
    windows: int = option(8, "windows of each clip that the proprioception is rolled through", low=1, high=64)
    longest: int = option(48, "steps in a clip", low=2, high=150)
    newest: int = option(20, "rollouts that count as new", low=1, high=1000)
    new_share: float = option(0.5, "share of clips from new rollouts", low=0.0, high=1.0)
    demo_share: float = option(0.2, "share of clips from demonstrations; the rest: older rollouts", low=0.0, high=1.0)
    memory_mib: int = option(500, "episodes kept; the oldest rollouts make room", unit="MiB", low=10, high=100_000)
    average: float = option(0.99, "decay of the running average of the weights", low=0.0, high=0.99999)
    warm_up: int = option(100, "steps until the full learning rate", low=0, high=100_000)
    slow_down: int = option(500, "steps after which it is 0.7 of that; it falls with their root", low=1,
                            high=10_000_000)


@dataclass(frozen=True)
class Score:
    """Fidelity on what is held out, both views pooled, over up to `longest` steps: dB, SSIM in 0 .. 1."""

    psnr: float
    ssim: float
    persistence_psnr: float
    persistence_ssim: float


class Trainer:
    """Owns the weights that are trained (`live`) and their running average (`model`), which is what predicts.

    Episodes are added once; those that are held out are never trained on while they are.
    """

    def __init__(
        self,
        task: Task,
        options: TrainerOptions | None = None,
        dynamics: DynamicsOptions | None = None,
        calibration: CalibrationOptions | None = None,
        geometry: GeometryOptions | None = None,
        seed: int = 0,
    ):
        torch.manual_seed(seed)
        self.task, self.options = task, options or TrainerOptions()
        self.live = KinematicWorldModel(task, dynamics, calibration, geometry)
        self.model = copy.deepcopy(self.live).requires_grad_(False).eval()
        self.model.banks, self.model.paths = self.live.banks, self.live.paths  # data, not weights
        self._cutter = Cutter(self.live.projector, self.live.table, self.live.banks, self.options.longest,
                              self.options.drawn, self.options.windows, lambda: self.live.scenes, self.live.paths)
        self._numbers: dict[str, int] = {}  # of episodes, in the banks
        self.optimiser = torch.optim.AdamW(self.live.parameters(), self.live.options.learning_rate, BETAS,
                                           weight_decay=1e-4)
        self.rng = np.random.default_rng(seed)
        self.steps = 0
        self.demonstrations: OrderedDict[str, Episode] = OrderedDict()
        self.rollouts: OrderedDict[str, Episode] = OrderedDict()
        self._bytes = 0

    def look(self, memory: SceneMemory) -> None:
        """Draw by this scene memory from now on."""
        self.live.scenes = self.model.scenes = Scenes(memory)

    def add(self, episode: Episode) -> None:
        """Train on an episode from now on; one that is known already changes nothing."""
        kept = self.demonstrations if episode.is_demonstration else self.rollouts
        if episode.episode_id in kept:
            return
        kept[episode.episode_id] = episode
        number = self._numbers.setdefault(episode.episode_id, len(self._numbers))
        poses = Exposures(episode, self.live.projector).poses
        for view, bank in self.live.banks.items():
            bank.add(episode.frames[view], poses[view], number)
        self._bytes += _bytes(episode)
        while self._bytes > self.options.memory_mib * 2**20 and len(self.rollouts) > 1:
            name, oldest = self.rollouts.popitem(last=False)
            self._bytes -= _bytes(oldest)
            for made in (self.live.scenes, self.live.paths):
                if made:
                    made.forget(name)

    def step(self) -> dict[str, float]:
        """One gradient step; the loss terms and their total. Raises FloatingPointError when the loss is not finite."""
        episodes = self._choose()
        batch = self._cutter.cut(episodes, [self._numbers[e.episode_id] for e in episodes], self.rng)
        losses = self.live.losses(batch)
        total = self.live.total(losses)
        if not torch.isfinite(total):
            raise FloatingPointError("the world model's loss is not finite")
        warm = min(1.0, (self.steps + 1) / max(self.options.warm_up, 1))
        rate = self.live.options.learning_rate * warm / math.sqrt(1.0 + self.steps / self.options.slow_down)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.live.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
        self._average()
        return {name: value.item() for name, value in {**losses, "total": total}.items()}

    def score(self, held_out: list[Episode]) -> Score:
        """Fidelity of the averaged weights on episodes that were not trained on."""
        row = score(self.model, replay_cases(held_out, self.options.longest), ("full",)).row("pooled", "full")
        return Score(row.model.psnr, row.model.ssim, row.persistence.psnr, row.persistence.ssim)

    def _choose(self) -> list[Episode]:
        demos, rollouts = list(self.demonstrations.values()), list(self.rollouts.values())
        if not demos and not rollouts:
            raise ValueError("no episodes to train on")
        new, old = rollouts[-self.options.newest :], rollouts[: -self.options.newest]
        shares = {"new": self.options.new_share, "demo": self.options.demo_share}
        shares["old"] = max(0.0, 1.0 - sum(shares.values()))
        pools = {"new": new, "demo": demos, "old": old}
        weights = np.array([shares[name] if pool else 0.0 for name, pool in pools.items()])
        if not weights.sum():  # only kinds that were given no share
            weights = np.array([float(bool(pool)) for pool in pools.values()])
        picked = self.rng.choice(len(pools), self.options.clips, p=weights / weights.sum())
        chosen = [list(pools.values())[i] for i in picked]
        return [pool[self.rng.integers(len(pool))] for pool in chosen]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.options.average, self.steps / (self.steps + 10))
        for kept, live in zip(self.model.parameters(), self.live.parameters(), strict=True):
            kept.lerp_(live, 1.0 - decay)


def _bytes(episode: Episode) -> int:
    return sum(episode.frames[view].nbytes for view in VIEWS)
