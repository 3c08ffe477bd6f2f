"""How much synthetic data a batch may hold: paced by how sure the policy is, and by trust in its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ws_node.options import option


@dataclass(frozen=True)
class ScheduleOptions:
    """Defaults: the paper's where it gives them (rho_max, a linear schedule); the rest as in docs/algorithms."""

    kind: str = option("linear", "share over entropy; constant: the ablation without a schedule",
                       choices=("linear", "rational", "constant", "off"))
    use: str = option("batch_share", "rho is a share of the batch, or the weight of a loss beside the real one's",
                      choices=("batch_share", "loss_weight"))
    rho_max: float = option(0.30, "largest share of synthetic transitions in a batch", low=0.0, high=0.95)
    pace: str = option("fixed", "rho_max as it is; or growing with the world model's fidelity to sure_rho_max",
                       choices=("fixed", "fidelity"))
    sure_rho_max: float = option(0.70, "rho_max where the world model is fully trusted", low=0.0, high=0.95)
    kappa: float = option(9.0, "steepness of the rational schedule", low=0.0, high=1e3)
    power: float = option(2.0, "exponent of the rational schedule", low=1.0, high=10.0)
    warm_up_steps: int = option(500, "learner steps without synthetic data", low=0, high=10_000_000)
    warm_up_episodes: int = option(5, "rollouts without synthetic data", low=0, high=1_000_000)
    ramp_steps: int = option(200, "learner steps from a gate that opens to the full share", low=1, high=1_000_000)
    smoothing: float = option(0.99, "decay of the running mean of the entropy", low=0.0, high=0.99999)


class Schedule:
    """rho(H): WorldSample's uncertainty-guided schedule (eq. 8; linear as in its appendix B.4).

    The entropy H is that of the actor on real states, in nats over the active dimensions. A differential entropy may be
    negative, so H is first placed between that of a uniform policy, n ln 2, and -n, a deviation of 0.09 in each
    dimension: about that of a teacher's hand, to which the actor's is fitted.
    """

    def __init__(self, dimensions: int, options: ScheduleOptions | None = None):
        self.options = options or ScheduleOptions()
        self._high, self._low = dimensions * math.log(2.0), -float(dimensions)
        self.entropy: float | None = None  # running mean
        self.confidence = 0.0  # in the world model, 0 .. 1; the caller sets it, pace "fidelity" looks at it
        self._ramp = 0.0  # 0 right after the gate was closed .. 1

    def observe(self, entropy: float) -> None:
        """The actor's mean entropy on one batch of real states. Raises FloatingPointError when it is not finite."""
        if not math.isfinite(entropy):
            raise FloatingPointError(f"entropy = {entropy}: must be finite")
        decay = self.options.smoothing
        self.entropy = entropy if self.entropy is None else decay * self.entropy + (1.0 - decay) * entropy

    def gate(self, is_open: bool, steps: int = 1) -> None:
        """Tell it for each learner step whether world model and reward model can be trusted now."""
        self._ramp = min(1.0, self._ramp + steps / self.options.ramp_steps) if is_open else 0.0

    @property
    def rho_max(self) -> float:
        """The largest share now."""
        options = self.options
        if options.pace == "fixed":
            return options.rho_max
        return options.rho_max + min(max(self.confidence, 0.0), 1.0) * (options.sure_rho_max - options.rho_max)

    def rho(self, learner_step: int, episodes: int) -> float:
        """Share of synthetic transitions now, in 0 .. rho_max."""
        options = self.options
        if options.kind == "off" or learner_step < options.warm_up_steps or episodes < options.warm_up_episodes:
            return 0.0
        return self.rho_max * self._ramp * self._trust()

    def _trust(self) -> float:
        """1 for a sure policy, falling with its entropy; non-increasing."""
        if self.options.kind == "constant":
            return 1.0
        if self.entropy is None:
            return 0.0
        unsure = min(max((self.entropy - self._low) / (self._high - self._low), 0.0), 1.0)
        if self.options.kind == "linear":
            return 1.0 - unsure
        return 1.0 / (1.0 + self.options.kappa * unsure**self.options.power)
