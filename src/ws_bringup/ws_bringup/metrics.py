"""The run's numbers on disk: progress.json (now) and metrics.jsonl (one flat row every few seconds)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRESS = "progress.json"
METRICS = "metrics.jsonl"


def write_progress(folder: Path, row: dict[str, Any]) -> None:
    """Replace progress.json in one step, so that a reader never sees half of it."""
    write_json(folder / PROGRESS, row)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """Add one row to metrics.jsonl."""
    with (folder / METRICS).open("a") as file:
        file.write(json.dumps(row) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of metrics.jsonl, oldest first; a torn last row is skipped."""
    try:
        lines = (folder / METRICS).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
