"""The synthetic rollouts on disk: bags below run_dir/synthetic, never half a one, old ones evicted."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ws_node.options import option
from ws_rollouts.bag import write_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import Episode
from ws_rollouts.metadata import read_information
from ws_rollouts.schema import BagError
from ws_rollouts.summary import Summary, read_summary
from ws_rollouts.writer import OPEN

VERSION, LABEL, KIND = "world_model_version", "label", "kind"  # notes of a synthetic episode
RELOCATED = "relocated"  # a kind that no version of the networks made: it is never out of date
_MIB = 1 << 20


class StoreError(OSError):
    """The folder cannot be written or is full; the text names it and says why."""


@dataclass(frozen=True)
class StoreOptions:
    """How much is kept."""

    most_rollouts: int = option(1000, "synthetic rollouts kept", low=1, high=100_000)
    most_mib: int = option(1024, "disk they may take", unit="MiB", low=1, high=10**7)
    versions: int = option(2, "rollouts of versions older than the current one by more are evicted", low=0, high=1000)
    min_free_mib: int = option(500, "free space below which nothing is generated", unit="MiB", low=0, high=10**7)


@dataclass(frozen=True)
class Entry:
    """One synthetic rollout in the store."""

    summary: Summary
    version: int
    label: str
    relocated: bool = False


class Store:
    """Bags of synthetic episodes in `folder`, oldest first.

    A bag grows under `.open` and is moved into place when it is whole; an evicted one is moved back there before it is
    deleted. So a process that is killed leaves nothing but whole bags, and the next start clears `.open`.
    A folder that cannot be written is no error until something is to be written.
    """

    def __init__(self, folder: Path, options: StoreOptions | None = None):
        self.folder, self.options = Path(folder), options or StoreOptions()
        self._cleared = False
        with contextlib.suppress(StoreError):
            self._clear()
        summaries, self.damaged = finished(self.folder)
        self.entries: list[Entry] = []
        for summary in summaries:
            self._read(summary)
        self.bytes = sum(entry.summary.bytes for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """Rollouts by label."""
        return dict(Counter(entry.label for entry in self.entries))

    @property
    def relocated(self) -> int:
        """Relocated demonstrations."""
        return sum(entry.relocated for entry in self.entries)

    @property
    def transitions(self) -> int:
        """Actions in all rollouts."""
        return sum(entry.summary.steps for entry in self.entries)

    def check_space(self) -> None:
        """Raises StoreError when the folder cannot be made or cleared, or too little of the disk is free."""
        self._clear()
        try:
            free = shutil.disk_usage(self.folder).free // _MIB
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from error
        if free < self.options.min_free_mib:
            raise StoreError(f"{self.folder}: {free} MiB free, min_free_mib is {self.options.min_free_mib}")

    def write(self, episode: Episode) -> Summary:
        """Keep an episode as a bag and evict what is too much. Raises BagError when it is there already, StoreError
        as the disk does; nothing is left behind then."""
        self.check_space()
        try:
            summary = read_summary(write_episode(self.folder, episode))
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from error
        self.entries.append(_entry(summary, {VERSION: "0", LABEL: "", **episode.notes}))
        self.bytes += summary.bytes
        with contextlib.suppress(StoreError):  # the new one is there; what is too much goes next time
            self._evict_surplus()
        return summary

    def evict(self, version: int) -> int:
        """Delete what is older than `version` by more than the options say; how many were deleted.

        Raises StoreError as the disk does.
        """
        old = [entry for entry in self.entries
               if entry.version < version - self.options.versions and not entry.relocated]
        for entry in old:
            self._delete(entry)
        return len(old)

    def _clear(self) -> None:
        """Once: make the folder, delete what a killed process left."""
        if self._cleared:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / OPEN).exists():
                shutil.rmtree(self.folder / OPEN)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from error
        self._cleared = True

    def _evict_surplus(self) -> None:
        """The oldest first, relocated ones last, never the newest, which is about to be announced."""
        while len(self.entries) > 1 and (
                len(self.entries) > self.options.most_rollouts or self.bytes > self.options.most_mib * _MIB):
            older = self.entries[:-1]
            self._delete(next((entry for entry in older if not entry.relocated), older[0]))

    def _read(self, summary: Summary) -> None:
        folder = Path(summary.uri)
        try:
            notes = read_information(folder)["custom_data"]
            self.entries.append(_entry(summary, notes))
        except (BagError, KeyError, ValueError) as error:
            self.damaged.append(BagError(folder, f"no synthetic rollout: {error}"))

    def _delete(self, entry: Entry) -> None:
        folder = Path(entry.summary.uri)
        gone = self.folder / OPEN / folder.name
        try:
            gone.parent.mkdir(exist_ok=True)
            if folder.exists():  # else a person was quicker
                folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot delete {folder.name}: {error.strerror or error}") from error
        self.entries.remove(entry)
        self.bytes -= entry.summary.bytes


def _entry(summary: Summary, notes: Mapping[str, str]) -> Entry:
    return Entry(summary, int(notes[VERSION]), str(notes[LABEL]), notes.get(KIND) == RELOCATED)
