"""The quality gate: which fine-tuned version may replace the one in use, and whether anything may be generated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ws_node.options import option

CLOSED, OPEN = "closed", "open"


@dataclass(frozen=True)
class GateOptions:
    """How good is good enough, on episodes that were held out."""

    tolerance: float = option(0.3, "PSNR that a new version may lose against the one in use", unit="dB", low=0.0,
                              high=10.0)
    margin: float = option(3.0, "PSNR over persistence above which is generated", unit="dB", low=-60.0,
                           high=60.0)
    reward_auc: float = option(0.95, "least AUC of the reward model to generate", low=0.0, high=1.0)
    recall: float = option(0.30, "least share of replayed successes that are labelled so, to generate; what is never "
                           "recognised leaves failures alone", low=0.0, high=1.0)
    sure_margin: float = option(9.0, "PSNR over persistence at which the frames are fully trusted", unit="dB",
                                low=-60.0, high=120.0)
    sure_errors: float = option(0.10, "share of failures labelled success at which labels are not trusted at all",
                                low=0.001, high=1.0)


@dataclass(frozen=True)
class Quality:
    """What was measured of one version on the held-out episodes; NaN or None: not measured."""

    psnr: float | None = None  # dB, open loop
    persistence_psnr: float | None = None  # dB, of copying the first frame
    reward_auc: float | None = None
    recall: float | None = None  # share of replayed successes that are labelled so
    rewards_ready: bool = True  # the reward model has learned from enough
    rewards_stopped: bool = False  # it called too many failures successes
    false_positives: float | None = None  # share of replayed failures that it called successes


@dataclass(frozen=True)
class Verdict:
    """A decision and its reason in words."""

    allowed: bool
    reason: str

    @property
    def state(self) -> str:
        """open or closed."""
        return OPEN if self.allowed else CLOSED


class Gate:
    """Knows the limits; remembers nothing."""

    def __init__(self, options: GateOptions | None = None):
        self.options = options or GateOptions()

    def publish(self, candidate: float | None, current: float | None) -> Verdict:
        """Whether weights with the held-out PSNR `candidate` may replace those with `current` (None: there are none).

        Both in dB, measured on the same episodes.
        """
        if not _known(candidate):
            return Verdict(False, "the held-out PSNR is not finite")
        if not _known(current):
            return Verdict(True, f"first version: {candidate:.2f} dB")
        least = current - self.options.tolerance
        if candidate < least:
            return Verdict(False, f"held-out PSNR {candidate:.2f} dB is below {least:.2f} dB")
        return Verdict(True, f"held-out PSNR {candidate:.2f} dB, before {current:.2f} dB")

    def generate(self, quality: Quality) -> Verdict:
        """Whether trajectories may be generated with the version that `quality` was measured of."""
        for blocked in (self.fidelity(quality), self.rewards(quality), self.replays(quality)):
            if not blocked.allowed:
                return blocked
        return Verdict(True, f"{quality.psnr - quality.persistence_psnr:.1f} dB over persistence")

    def confidence(self, quality: Quality) -> float:
        """0 .. 1: 0 while the gate is closed and where it has just opened, 1 when frames and labels are as good as
        the options ask; the worse of the two counts. Labels that were never tried on replays are not trusted."""
        if not self.generate(quality).allowed or not _known(quality.false_positives):
            return 0.0
        options = self.options
        above = quality.psnr - quality.persistence_psnr - options.margin
        frames = above / max(options.sure_margin - options.margin, 1e-9)
        labels = 1.0 - quality.false_positives / options.sure_errors
        return min(max(min(frames, labels), 0.0), 1.0)

    def fidelity(self, quality: Quality) -> Verdict:
        """Only the part of `generate` that looks at the frames."""
        if not (_known(quality.psnr) and _known(quality.persistence_psnr)):
            return Verdict(False, "the held-out PSNR is not known yet")
        least = quality.persistence_psnr + self.options.margin
        if quality.psnr <= least:
            return Verdict(False, f"held-out PSNR {quality.psnr:.2f} dB, must be above {least:.2f} dB")
        return Verdict(True, "")

    def rewards(self, quality: Quality) -> Verdict:
        """Only the part of `generate` that looks at the reward model."""
        if not quality.rewards_ready:
            return Verdict(False, "the reward model has not learned from enough yet")
        if quality.rewards_stopped:
            return Verdict(False, "the reward model calls too many failures successes")
        if not _known(quality.reward_auc):
            return Verdict(False, "the reward model's AUC is not known yet")
        if quality.reward_auc < self.options.reward_auc:
            return Verdict(False, f"reward AUC {quality.reward_auc:.3f}, must be {self.options.reward_auc:g}")
        return Verdict(True, "")

    def replays(self, quality: Quality) -> Verdict:
        """Only the part of `generate` that looks at both together: whether imagined successes are seen as such."""
        if not _known(quality.recall):
            return Verdict(False, "too few successes were replayed yet")
        if quality.recall < self.options.recall:
            return Verdict(False, f"{quality.recall:.0%} of replayed successes recognised, "
                                  f"must be {self.options.recall:.0%}")
        return Verdict(True, "")


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
