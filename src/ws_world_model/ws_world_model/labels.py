"""From probabilities to labels: success, failure or neither, and what to do when successes are imagined."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ws_node.options import option

SUCCESS, FAILURE, ABSTAIN = "success", "failure", "abstain"


@dataclass(frozen=True)
class LabelOptions:
    """When a trajectory counts as what."""

    success_probability: float = option(0.97, "success from here on, by the least sure member", low=0.5, high=0.999)
    failure_probability: float = option(0.30, "failure when the members' mean stays below", low=0.001, high=0.5)
    consecutive: int = option(2, "frames in a row that must show the success", low=1, high=20)
    lasting: int = option(10, "frames after a success that must not look like a failure: a lever that comes back was "
                          "not pressed", low=0, high=1000)
    threshold_step: float = option(0.02, "the success threshold rises by this", low=0.0, high=0.5)
    threshold_limit: float = option(0.99, "and not above this", low=0.5, high=0.9999)
    tolerated: float = option(0.05, "share of failures labelled success from which the threshold rises",
                              low=0.0, high=1.0)
    stopped_from: float = option(0.10, "share of failures labelled success from which generation stops",
                                 low=0.0, high=1.0)
    tracked: int = option(100, "newest replays of failures that the shares are of", low=1, high=10_000)
    enough: int = option(20, "replays of failures, and of successes, before the shares mean anything", low=1,
                         high=10_000)


@dataclass(frozen=True)
class Label:
    """`kind` is success, failure or abstain; `index` of the frame that completes a success, else -1.

    `probability` is what the label rests on: of a success the least convinced member's there, else the members'
    highest mean. `score` is the threshold up to which the trajectory would be a success.
    """

    kind: str
    index: int
    probability: float
    score: float


class Labeller:
    """Labels trajectories, and tracks on replays of known outcome how often it errs."""

    def __init__(self, options: LabelOptions):
        self.options = options
        self.threshold = options.success_probability
        self._failures: deque[float] = deque(maxlen=options.tracked)  # scores of replayed failures, oldest first
        self._recognised: deque[bool] = deque(maxlen=options.enough)  # replayed successes; few, as they must be fresh

    def label(self, probabilities: np.ndarray) -> Label:
        """Of one trajectory: `probabilities` (members, T). Raises ValueError when they are none or not finite."""
        probabilities = np.asarray(probabilities, np.float64)
        if probabilities.ndim != 2 or 0 in probabilities.shape or not np.isfinite(probabilities).all():
            raise ValueError(f"probabilities {probabilities.shape}: must be finite, (members, T) and not empty")
        least, mean = probabilities.min(0), float(probabilities.mean(0).max())
        held, run = self._held(probabilities), self.options.consecutive
        score = float(held.max(initial=0.0))
        if score >= self.threshold:
            index = int(np.argmax(held >= self.threshold)) + run - 1
            return Label(SUCCESS, index, float(least[index]), score)
        return Label(FAILURE if mean < self.options.failure_probability else ABSTAIN, -1, mean, score)

    def _held(self, probabilities: np.ndarray) -> np.ndarray:
        """At the end of each run of `consecutive` frames its least probability, 0 where the success does not last."""
        least, mean, run = probabilities.min(0), probabilities.mean(0), self.options.consecutive
        if len(least) < run:
            return np.zeros(0)
        held = np.lib.stride_tricks.sliding_window_view(least, run).min(-1)
        ahead = np.pad(mean[run - 1 :], (0, self.options.lasting), constant_values=1.0)
        worst = np.lib.stride_tricks.sliding_window_view(ahead, self.options.lasting + 1).min(-1)
        return np.where(worst < self.options.failure_probability, 0.0, held)

    def observe_identity(self, true_success: bool, label: Label) -> None:
        """A replay of known outcome was labelled; raises the threshold by a step when too many failures pass it."""
        if true_success:
            self._recognised.append(label.kind == SUCCESS)
            return
        self._failures.append(label.score)
        if self._enough and self.false_positive_rate > self.options.tolerated:
            raised = self.threshold + self.options.threshold_step
            self.threshold = max(self.threshold, min(raised, self.options.threshold_limit))

    @property
    def false_positive_rate(self) -> float:
        """Share of the tracked failures that today's threshold would let pass; NaN before the first."""
        return float(np.mean(np.array(self._failures) >= self.threshold)) if self._failures else float("nan")

    @property
    def recall(self) -> float:
        """Share of the newest replayed successes that were labelled so; NaN before there are enough."""
        full = len(self._recognised) == self.options.enough
        return float(np.mean(self._recognised)) if full else float("nan")

    @property
    def stopped(self) -> bool:
        """Whether its successes are too unsure to learn from. Goes on with replays, this may end."""
        return self._enough and self.false_positive_rate > self.options.stopped_from

    @property
    def _enough(self) -> bool:
        return len(self._failures) >= min(self.options.enough, self.options.tracked)

    def tensors(self) -> dict[str, np.ndarray]:
        """What survives a restart."""
        return {"threshold": np.array([self.threshold]), "failures": np.array(self._failures, np.float64),
                "recognised": np.array(self._recognised, np.uint8)}

    def load(self, threshold: float, failures: Iterable[float], recognised: Iterable[bool]) -> None:
        """Take over what `tensors` gave."""
        self.threshold = float(threshold)
        self._failures = deque(map(float, failures), maxlen=self.options.tracked)
        self._recognised = deque(map(bool, recognised), maxlen=self.options.enough)
