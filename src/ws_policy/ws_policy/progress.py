"""What has been done so far: counts that go on over restarts, and rates over the last episodes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ws_rollouts.catalog import finished
from ws_rollouts.episode import DEMONSTRATION, SYNTHETIC

WINDOW = 20  # episodes


@dataclass(frozen=True)
class Finished:
    """A finished episode, as the policy or the recorder tells it."""

    episode_id: str
    outcome: str
    source: int  # of its first action
    steps: int
    interventions: int


class Progress:
    """Counts each episode once, by its id, whoever tells of it first.

    A demonstration counts once it is known to be recorded: one that no bag holds teaches nobody. The counts
    of a folder of bags are the start of a resumed run.
    """

    def __init__(self) -> None:
        self.episodes = 0  # finished, demonstrations excluded
        self.env_steps = 0  # their steps
        self._seen: set[str] = set()
        self._demonstrations: set[str] = set()
        self._recent: deque[Finished] = deque(maxlen=WINDOW)

    def restore(self, bags: Path, task: str) -> list[str]:
        """Count the task's finished bags in a folder; returns what is wrong with those that are none."""
        summaries, errors = finished(bags)
        for s in summaries:
            if s.task == task:
                self.add(Finished(s.episode_id, s.outcome, s.source, s.steps, s.interventions), recorded=True)
        return [str(error) for error in errors]

    def add(self, episode: Finished, recorded: bool) -> None:
        """Take a finished episode, or learn that one is recorded."""
        if episode.source == SYNTHETIC:
            return
        if episode.source == DEMONSTRATION:
            if recorded and episode.outcome == "success":
                self._demonstrations.add(episode.episode_id)
            return
        if episode.episode_id in self._seen:
            return
        self._seen.add(episode.episode_id)
        self.episodes += 1
        self.env_steps += episode.steps
        self._recent.append(episode)

    @property
    def demonstrations(self) -> int:
        """Successful demonstrations that are recorded."""
        return len(self._demonstrations)

    @property
    def success_rate(self) -> float:
        """Share of successes in the last WINDOW episodes. An abort counts as a timeout: bags tell no difference."""
        return sum(episode.outcome == "success" for episode in self._recent) / max(1, len(self._recent))

    @property
    def intervention_rate(self) -> float:
        """Share of steps that a human chose in the last WINDOW episodes."""
        steps = sum(episode.steps for episode in self._recent)
        return sum(episode.interventions for episode in self._recent) / steps if steps else 0.0
