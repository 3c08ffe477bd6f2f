"""Which synthetic data a batch holds: as many imagined successes as keep its value to the real one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ws_node.options import option


@dataclass(frozen=True)
class SelectionOptions:
    """Q-aware selection; `uniform` is the ablation without it."""

    kind: str = option("balanced", "positive share by value, the paper's sum as printed, or as they come",
                       choices=("balanced", "paper_literal", "uniform"))
    tolerance: float = option(0.10, "delta_Q: what the mixed value may differ from the real one", low=1e-6, high=10.0)
    least_share: float = option(0.1, "least share of successes, and of failures", low=0.0, high=0.5)
    smoothing: float = option(0.9, "decay of the running means of the values", low=0.0, high=0.9999)


@dataclass(frozen=True)
class Mix:
    """`positive` share of imagined successes among the synthetic samples, `weight` of their loss in 0 .. 1."""

    positive: float
    weight: float


class Selection:
    """Keeps running means of the target critics' values on real, positive and negative synthetic transitions.

    `balanced`: of the shares f for which f Q+ + (1 - f) Q- keeps within the tolerance of Q_real, the one nearest to a
    half, cut to what `least_share` leaves; what then remains of the difference beyond the tolerance lowers the weight
    (WorldSample, eq. 5, an inequality whose printed sum Q+ + Q- is `paper_literal`).
    """

    def __init__(self, options: SelectionOptions | None = None):
        self.options = options or SelectionOptions()
        self.values: dict[str, float] = {}  # real, positive, negative

    def observe(self, real: float, positive: float | None, negative: float | None) -> None:
        """Mean values of new samples; None where there are none. Raises FloatingPointError when one is not finite."""
        for name, value in (("real", real), ("positive", positive), ("negative", negative)):
            if value is None:
                continue
            if not math.isfinite(value):
                raise FloatingPointError(f"value of {name} samples = {value}: must be finite")
            decay = self.options.smoothing if name in self.values else 0.0
            self.values[name] = decay * self.values.get(name, 0.0) + (1.0 - decay) * value

    def mix(self, positives: int, negatives: int) -> Mix:
        """The mix for a batch, with so many transitions in the two queues."""
        if not positives or not negatives:
            return Mix(float(bool(positives)), self._weight(1.0 if positives else 0.0))
        if self.options.kind == "uniform" or len(self.values) < 3:
            return Mix(positives / (positives + negatives), 1.0)
        share = self._balanced_share()
        return Mix(share, self._weight(share))

    def admits(self, value: float, positive: bool) -> bool:
        """`paper_literal`: whether a trajectory of this mean value keeps to, or comes nearer to, the constraint."""
        if self.options.kind != "paper_literal" or len(self.values) < 3:
            return True
        kind, other = ("positive", "negative") if positive else ("negative", "positive")
        now = abs(self.values[kind] + self.values[other] - self.values["real"])
        then = abs(value + self.values[other] - self.values["real"])
        return then <= self.options.tolerance or then < now

    def _balanced_share(self) -> float:
        real, positive, negative = (self.values[name] for name in ("real", "positive", "negative"))
        if positive <= negative:
            return 0.5
        middle = (real - negative) / (positive - negative)
        reach = self.options.tolerance / (positive - negative)
        share = min(max(0.5, middle - reach), middle + reach)
        least = self.options.least_share
        return min(max(share, least), 1.0 - least)

    def _weight(self, share: float) -> float:
        if self.options.kind != "balanced" or "real" not in self.values:
            return 1.0
        known = [(s, self.values[n]) for s, n in ((share, "positive"), (1.0 - share, "negative")) if n in self.values]
        if not known:
            return 1.0
        difference = abs(sum(s * value for s, value in known) - self.values["real"])
        return min(1.0, self.options.tolerance / max(difference, 1e-12))
