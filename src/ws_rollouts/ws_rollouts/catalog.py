"""The finished bags of a folder, in the order in which they were started."""

from __future__ import annotations

from pathlib import Path

from ws_rollouts.schema import BagError
from ws_rollouts.summary import Summary, read_summary


def finished(bags: Path) -> tuple[list[Summary], list[BagError]]:
    """Summaries of all finished bags by start, and one error for each folder that is no rollout.

    A missing folder has none. Open and hidden folders are left out.
    """
    bags = Path(bags)
    summaries, errors = [], []
    for folder in sorted(bags.iterdir()) if bags.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            summaries.append(read_summary(folder))
        except BagError as error:
            errors.append(error)
    summaries.sort(key=lambda s: (s.started_ns, s.episode_id))
    return summaries, errors
