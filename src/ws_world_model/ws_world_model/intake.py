"""Which recorded bags are new, which episodes are held out from training, and why others were left out."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ws_rollouts.bag import BagError, read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import DEMONSTRATION, SYNTHETIC, Episode
from ws_rollouts.summary import read_summary
from ws_rollouts.task import Task

# words in a BagError's reason -> what it is counted as; the first that fits
REASONS = (
    ("not finite", "numbers not finite"),
    ("is not after the one before", "stamps not monotonic"),
    ("is of task", "another task"),
    ("actions have", "another action size"),
    ("frames are", "another image size"),
    ("change their size", "another image size"),
    ("must be square", "another image size"),
    ("do not fit", "another image size"),
    ("frames on", "a camera is missing"),
    ("has no frame", "a camera is missing"),
    ("is missing or out of place", "steps missing"),
    ("no action in it", "empty"),
    ("no steps", "empty"),
    ("is synthetic", "synthetic"),
    ("metadata.yaml", "not a bag"),
    ("no such", "not a bag"),
)
DAMAGED = "damaged or cut off"


def reason_of(error: BagError) -> str:
    """What a bag that cannot be used is counted as; few different texts."""
    return next((name for words, name in REASONS if words in str(error.reason)), DAMAGED)


@dataclass(frozen=True)
class Taken:
    """What reading one bag led to: the episode (None when it was left out, `error` says why), and those that may now
    be trained on because newer ones took their place among the held-out ones."""

    episode: Episode | None
    released: tuple[Episode, ...] = ()
    error: str = ""
    new: bool = True  # not among those that the weights had seen at the start


class Intake:
    """Bags in by their folder, each once; the newest `held_out` episodes wait, all others are released for training.

    `trained` are the ids that the weights in use have seen, from the last time that they were kept: those are never
    held out again. Episodes shorter than `shortest` actions are released at once: they measure nothing.
    """

    def __init__(self, task: Task, held_out: int = 2, shortest: int = 12, trained: Iterable[str] = (),
                 depth: bool = False):
        """With `depth` demonstrations come with what the depth cameras saw, all others with the first of that."""
        self.task, self._keep, self._shortest, self._depth = task, held_out, shortest, depth
        self._before = set(trained)
        self._pending: deque[str] = deque()
        self._offered: set[str] = set()
        self._known: set[str] = set()
        self.held: list[Episode] = []  # oldest first
        self.rejected: Counter[str] = Counter()
        self.demonstrations = 0  # successful ones that were read
        self.episodes = 0

    def __len__(self) -> int:
        """Bags that wait to be read."""
        return len(self._pending)

    @property
    def trained(self) -> list[str]:
        """Ids of all episodes that were released, also before the last start; sorted."""
        return sorted((self._known | self._before) - {episode.episode_id for episode in self.held})

    def offer(self, uri: str) -> bool:
        """Queue a bag's folder; False when it was offered before."""
        folder = str(Path(uri).resolve())
        if folder in self._offered:
            return False
        self._offered.add(folder)
        self._pending.append(folder)
        return True

    def offer_all(self, bags: Path) -> int:
        """Queue what a folder holds already, oldest first; how many are new. What is no bag there is counted."""
        summaries, errors = finished(bags)
        for error in errors:
            path = Path(error.path).resolve()
            folder = str(path if path.is_dir() else path.parent)
            if folder not in self._offered:
                self._offered.add(folder)
                self.rejected[reason_of(error)] += 1
        return sum(self.offer(summary.uri) for summary in summaries)

    def take(self) -> Taken | None:
        """Read the next bag; None when none waits."""
        if not self._pending:
            return None
        uri = self._pending.popleft()
        try:
            most = 0 if self._depth and read_summary(Path(uri)).source == DEMONSTRATION else 1
            episode = read_episode(Path(uri), self.task, rgbd=self._depth, exposures=most)
            self._check(uri, episode)
        except BagError as error:
            self.rejected[reason_of(error)] += 1
            return Taken(None, error=str(error))
        except (OSError, ValueError) as error:
            self.rejected[DAMAGED] += 1
            return Taken(None, error=f"{uri}: {error}")
        if episode.episode_id in self._known:
            return Taken(None)
        self._known.add(episode.episode_id)
        self.episodes += 1
        self.demonstrations += episode.is_demonstration and episode.success
        new = episode.episode_id not in self._before
        return Taken(episode, tuple(self._release(episode)), new=new)

    def _check(self, uri: str, episode: Episode) -> None:
        if np.any(episode.source == SYNTHETIC):
            raise BagError(uri, "is synthetic: the world model learns from real rollouts only")

    def _release(self, episode: Episode) -> list[Episode]:
        if len(episode) < self._shortest or episode.episode_id in self._before or not self._keep:
            return [episode]
        self.held.append(episode)  # in the order of the recordings; stamps of simulated time start anew each session
        released, self.held = self.held[: -self._keep], self.held[-self._keep :]
        return released


def trained_of(notes: Mapping[str, str] | None) -> list[str]:
    """Ids of the episodes that the weights with these notes have seen; none without notes."""
    return json.loads(notes["trained"]) if notes else []
