"""What the worker trains and generates with, as it sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from ws_rollouts.episode import Episode


@dataclass(frozen=True)
class HeldOut:
    """Fidelity on held-out episodes, open loop, both views, beside copying the first frame; PSNR in dB."""

    psnr: float
    ssim: float
    persistence_psnr: float
    persistence_ssim: float

    @classmethod
    def mean(cls, scores: Sequence[Any]) -> HeldOut:
        """Of scores with these attributes, one for each episode."""
        return cls(*(sum(float(getattr(s, f.name)) for s in scores) / len(scores) for f in fields(cls)))


class Student(Protocol):
    """The dynamics and the reward model beside it; `apprentice.Apprentice` is the real one."""

    version: int  # of the weights in use, 0 before the first
    steps: int
    rewards_due: bool  # whether the reward model has data that is worth further steps
    rewards_ready: bool  # whether it has learned from enough to judge
    rewards_stopped: bool  # whether it calls too many failures successes
    reward_threshold: float  # probability from which it labels a success
    false_positive_rate: float  # NaN before the first replay of a failure
    recall: float  # share of replayed successes that it labels so, NaN before there are enough
    seconds_per_chunk: float  # of the last segment that was generated, NaN before
    frames_per_s: float

    def add(self, episode: Episode) -> None:
        """Train on it from now on. Raises ValueError when it does not fit."""
        ...

    def step(self) -> dict[str, float]:
        """One step of the dynamics; the losses. Raises FloatingPointError."""
        ...

    def step_rewards(self) -> float:
        """One step of the reward model, when that is due; the loss. Raises FloatingPointError."""
        ...

    def score(self, episode: Episode) -> Any:
        """Fidelity of the weights as they are, with the attributes of HeldOut."""
        ...

    def disputes(self, episode: Episode) -> bool:
        """Whether the reward model calls an imagined success a failure."""
        ...

    def reward_auc(self, held_out: list[Episode]) -> float:
        """NaN when it cannot be told from these."""
        ...

    def snapshot(self) -> Any:
        """For `restore`."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Take the dynamics back to where they were."""
        ...

    def save(self, version: int, notes: Mapping[str, str]) -> None:
        """Keep the weights as this version; from then on it is the one in use. Raises OSError as the disk does."""
        ...

    def generate(
        self, online: list[Episode], demos: list[Episode], replay_only: bool = False, confidence: float = 0.0
    ) -> tuple[list[Episode], Mapping[str, int]]:
        """Labelled synthetic episodes of one segment, and what is to be counted; `replay_only` just calibrates.

        With more `confidence`, 0 .. 1, the counterfactuals are further from what was done.
        """
        ...
