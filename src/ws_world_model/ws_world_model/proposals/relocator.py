"""Turns the demonstrations that come in into relocated ones, one at a time, and says whether it can."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

from ws_driver_a1x.options import RelayOptions
from ws_rollouts.episode import Episode
from ws_rollouts.task import Task
from ws_world_model.gate import CLOSED, OPEN
from ws_world_model.proposals.precision import LabelPrecision
from ws_world_model.proposals.relocate import Places, RelocateOptions, Relocation, relocations
from ws_world_model.proposals.stage import Stage
from ws_world_model.scene.arm import FITTED, FreeArm, fit_lag
from ws_world_model.scene.calibration import agreed
from ws_world_model.scene.donor import SceneError
from ws_world_model.scene.memory import SceneMemory

LEAST_TRIES = 20  # relocations before a low share of them closes the gate
LEAST_MADE = 0.1  # share that must succeed
PATIENCE = 3  # power of the share of demonstrations that have come: of five, 2 of 160 are made of the first alone
DISPUTED = "the reward model calls it a failure"
OFF = "relocation is off in this mode"


class Relocator:
    """`offer` it demonstrations with depth, then `make` relocated ones while they are `due`.

    Few of `wanted` are made of the first `demonstrations`: one alone tells neither how far things may be moved nor how
    the arm lags.
    """

    def __init__(self, task: Task, wanted: int, demonstrations: int, options: RelocateOptions | None = None,
                 relay: RelayOptions | None = None, seed: int = 0, session: str = "0"):
        self._task, self._wanted, self._needed = task, wanted, demonstrations
        self._options, self._relay, self._seed, self._session = options or RelocateOptions(), relay, seed, session
        self.memory = SceneMemory(task) if wanted else None
        self._precision = LabelPrecision(self.memory) if self.memory else None
        self._offered = 0
        self._stage: Stage | None = None
        self._fitted = 0  # donors that the arm's lag was fitted to
        self._coming: Iterator[Relocation | None] = iter(())
        self._fresh = False  # donors that the stage does not know yet
        self.made = 0
        self._tried = self._done = 0  # since the last donor came
        self.dropped: Counter[str] = Counter()  # relocations by reason
        self.problems: Counter[str] = Counter()  # exposures that were left out of demonstrations

    def offer(self, episode: Episode) -> list[str]:
        """Take a demonstration in, but one that failed; what is to be said of it: that it is of no use, or corrections.
        """
        if self.memory is None or not (episode.is_demonstration and episode.success):
            return []
        self._offered += 1
        self.problems.update(episode.problems)
        if self.donors >= self._options.donors:
            return []
        known = len(self.memory.corrections)
        try:
            self.memory.add(episode)
        except SceneError as error:
            return [f"demonstration cannot be moved: {error}"]
        self._fresh, self._tried, self._done = True, 0, 0  # the gate looks at it anew
        return [str(agreed(self.memory.corrections))] if len(self.memory.corrections) > known else []

    def check(self, episode: Episode) -> None:
        """Learn from a real rollout how far labels by geometry can be trusted."""
        if self._precision is not None and not episode.is_demonstration:
            self._precision.look(episode)

    @property
    def precision(self) -> float:
        """Share of what geometry calls a success that is one, of real rollouts; 0: not known."""
        return self._precision.value if self._precision is not None else 0.0

    def had(self, count: int) -> None:
        """So many relocations are there from before."""
        self.made += count

    @property
    def donors(self) -> int:
        """Demonstrations that are moved."""
        return len(self.memory.donors) if self.memory else 0

    @property
    def gate(self) -> tuple[str, str]:
        """Open, or closed and why; closed without a reason while no demonstration has come."""
        if self.memory is None:
            return CLOSED, OFF
        if self.donors:
            if self._tried >= LEAST_TRIES and self._done < LEAST_MADE * self._tried:
                reason = self.dropped.most_common(1)[0][0]
                return CLOSED, f"{self._tried - self._done} of {self._tried} relocations dropped, most often: {reason}"
            return OPEN, ""
        if self._offered:
            return CLOSED, f"no demonstration can be moved: {self.memory.refused.most_common(1)[0][0]}"
        return CLOSED, ""

    @property
    def due(self) -> bool:
        """Whether one is to be made now."""
        if not self.donors or self.gate[0] != OPEN:
            return False
        share = min(1.0, self._offered / self._needed)
        return self.made < math.ceil(self._wanted * share**PATIENCE)

    def make(self, disputes: Callable[[Episode], bool] | None = None) -> Episode | None:
        """The next one; None where it was dropped, which is counted: by geometry, or as the reward model `disputes` it.
        """
        if self._fresh or self._stage is None:
            self._prepare()
        self._tried += 1
        outcome = self._stage.play(next(self._coming))
        if outcome.episode is None:
            self.dropped[outcome.reason] += 1
            return None
        if disputes is not None and disputes(outcome.episode):
            self.dropped[DISPUTED] += 1
            return None
        self.made += 1
        self._done += 1
        return outcome.episode

    def _prepare(self) -> None:
        self._fresh = False
        donors = self.memory.donors
        if self._fitted != min(len(donors), FITTED):  # more donors tell nothing new of the arm
            self._fitted = min(len(donors), FITTED)
            lag = fit_lag(self._task, [(donor.episode, donor.start) for donor in donors], self._relay)
            arm = FreeArm(self._task, lag, self._relay)
            if self._stage is None:
                self._stage = Stage(self.memory, arm, self._options, self._seed, self._session)
            self._stage.arm = arm
        places = Places(self._task, donors, self._options)
        self._stage.prepare()
        self._coming = relocations(places, (self._seed, len(donors), self.made))  # others for other donors, or later
