"""How much of what is imitated may be imagined, and for how many imagined successes the first weights wait."""

from __future__ import annotations

_USELESS, _GOOD = 0.5, 0.95  # precision of labels from which on, and at which, all of the share is used


class ImitationPacing:
    """The imagined share of what is imitated: share * n / (n + won) * clip((precision - 0.5) / 0.45, 0, 1).

    `won` rollouts succeeded without help; real ones then cover what imagined ones stand for. So it never rises with
    `won`, never falls with `precision`, and is never more than `share`, which is below 1: never imagined ones alone.
    """

    def __init__(self, share: float, rollouts: int):
        """`rollouts`: n, as many won as halve the share."""
        self._share, self._rollouts = share, rollouts
        self.refused = False  # whether the source says that what it draws is not good enough; the caller sets both
        self.precision = 0.0  # of the source's labels, 0 .. 1; 0 and NaN: not known, and then the share is kept

    def share(self, won: int) -> float:
        """Now, after so many rollouts that were won without help."""
        if self.refused:
            return 0.0
        return self._share * self._rollouts / (self._rollouts + won) * self._confidence()

    def _confidence(self) -> float:
        if not self.precision > 0.0:
            return 1.0
        return min(max((self.precision - _USELESS) / (_GOOD - _USELESS), 0.0), 1.0)
