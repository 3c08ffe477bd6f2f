"""What is said of a finished bag without reading its messages: the fields of ws_interfaces/Rollout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ws_rollouts import messages
from ws_rollouts.episode import HUMAN, OUTCOMES, SOURCE_NAMES, Episode
from ws_rollouts.metadata import read_information
from ws_rollouts.schema import BagError

STANDARD_NOTES = ("started_ns", "episode_id", "task", "outcome", "source", "steps", "interventions", "schema")


@dataclass
class Summary:
    """One finished bag. `steps` counts actions; `started_ns` is wall time, by which bags are ordered."""

    episode_id: str
    task: str
    outcome: str = "aborted"
    source: int = 0
    steps: int = 0
    interventions: int = 0
    uri: str = ""
    bytes: int = 0
    started_ns: int = 0

    @classmethod
    def of(cls, episode: Episode) -> Summary:
        return cls(episode.episode_id, episode.task, episode.outcome, int(episode.source[0]), len(episode),
                   episode.interventions)

    def notes(self) -> dict[str, str]:
        """As custom_data of metadata.yaml."""
        return {"episode_id": self.episode_id, "task": self.task, "outcome": self.outcome,
                "source": SOURCE_NAMES[self.source], "steps": str(self.steps),
                "interventions": str(self.interventions)}


class Tally:
    """Counts an episode's steps as they come, and says how it ended."""

    def __init__(self, first: Any):
        self.summary = Summary(first.episode_id, first.task, source=min(int(first.source), len(SOURCE_NAMES) - 1))
        self.last: Any = None
        self.gaps = 0

    def add(self, step: Any) -> None:
        """Take the next Step (decoded)."""
        if self.last is not None:
            self.gaps += int(step.index) != int(self.last.index) + 1
            self.summary.interventions += int(self.last.source) == HUMAN  # its action was carried out
        self.last = step
        self.summary.steps = int(step.index)
        if step.terminated:
            self.summary.outcome = "success" if step.reward > 0 else "failure"
        elif step.truncated:
            self.summary.outcome = "timeout"

    @property
    def ended(self) -> bool:
        return self.last is not None and bool(self.last.terminated or self.last.truncated)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the last step."""
        return messages.nanoseconds(self.last.header.stamp)


def read_summary(folder: Path) -> Summary:
    """The summary of a finished bag, from metadata.yaml alone. Raises BagError when it is none of ours."""
    folder = Path(folder)
    information = read_information(folder)
    notes = information.get("custom_data")
    try:
        summary = Summary(
            episode_id=str(notes["episode_id"]), task=str(notes["task"]), outcome=str(notes["outcome"]),
            source=SOURCE_NAMES.index(notes["source"]), steps=int(notes["steps"]),
            interventions=int(notes["interventions"]), uri=str(folder), started_ns=int(notes["started_ns"]),
            bytes=sum((folder / str(file)).stat().st_size for file in information["relative_file_paths"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BagError(folder, f"no rollout: {error!r}") from error
    if summary.outcome not in OUTCOMES:
        raise BagError(folder, f"outcome {summary.outcome!r} is unknown")
    return summary
