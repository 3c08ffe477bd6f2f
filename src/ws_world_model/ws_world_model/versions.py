"""The versions of the world model in a run folder: which are there, the newest that can be used, old ones deleted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_NUMBER = re.compile(r"v(\d{6,})\.safetensors")


class VersionsError(ValueError):
    """There are versions, and none can be used; the text names each and says why."""


class Versions:
    """Files v000001.safetensors, ... in `folder`, of which the newest `keep` stay. Whoever writes one does so whole."""

    def __init__(self, folder: Path, keep: int = 3):
        self.folder, self._keep = Path(folder), keep

    @property
    def numbers(self) -> list[int]:
        """Versions that are there, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for path in self.folder.iterdir() if (m := _NUMBER.fullmatch(path.name)))

    def path(self, version: int) -> Path:
        """Where a version is, or is to be."""
        return self.folder / f"v{version:06d}.safetensors"

    def newest(self, load: Callable[[Path], T]) -> T | None:
        """What `load` makes of the newest file that it does not refuse with ValueError or OSError; None without files.

        Raises VersionsError when there are files and it refuses them all.
        """
        refused = []
        for version in reversed(self.numbers):
            try:
                return load(self.path(version))
            except (ValueError, OSError) as error:
                refused.append(str(error))
        if refused:
            raise VersionsError(f"{self.folder}: no version can be used; " + "; ".join(refused))
        return None

    def clear(self) -> None:
        """Delete what a writer that was killed left half done. Only for the one who writes here."""
        for beside in self.folder.glob(".v*"):
            with contextlib.suppress(OSError):
                beside.unlink()

    def prune(self) -> None:
        """Delete all but the newest. Raises OSError as the disk does."""
        for version in self.numbers[: -self._keep]:
            self.path(version).unlink(missing_ok=True)
