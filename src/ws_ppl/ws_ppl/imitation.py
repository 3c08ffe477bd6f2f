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
        self.refused = False  # whether the source says that what it draws is not good enough
        self.precision = 0.0  # of the source's labels, 0 .. 1; 0 and NaN: not known, and then the share is kept

    def told(self, gate: str, reason: str, precision: float) -> None:
        """What the source says of itself; a gate that is closed without a reason is one that is not decided yet."""
        self.refused, self.precision = gate == "closed" and bool(reason), precision

    def share(self, won: int) -> float:
        """Now, after so many rollouts that were won without help."""
        if self.refused:
            return 0.0
        return self._share * self._rollouts / (self._rollouts + won) * self._confidence()

    def _confidence(self) -> float:
        if not self.precision > 0.0:
            return 1.0
        return min(max((self.precision - _USELESS) / (_GOOD - _USELESS), 0.0), 1.0)


class Patience:
    """For how many imagined successes the first weights wait, so that they learn from these too.

    For `least`, but for none where the source said that there will be none, nor once `wait` s are over since the last
    demonstration came: a source that is missing, broken or slow never keeps the learner from learning.
    """

    def __init__(self, least: int, wait: float):
        self._least, self._wait = least, wait
        self._since: float | None = None
        self.hopeless = False  # whether there will be none; the caller sets it

    def demonstrated(self, now: float) -> None:
        """A demonstration came; `now` is any clock's time, s."""
        self._since = now

    def awaited(self, now: float) -> int:
        """How many must have come before learning starts."""
        waited = 0.0 if self._since is None else now - self._since
        return 0 if self.hopeless or waited >= self._wait else self._least
