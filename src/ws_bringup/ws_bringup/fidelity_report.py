"""A fidelity report for people and for machines: a table in the terminal, and plain values for JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from rich.console import Console
from rich.table import Table

from ws_world_model.fidelity import Report, Row

WIDTH = 132  # columns, where the terminal does not say


def as_json(report: Report) -> dict[str, Any]:
    """Plain dictionaries, lists and numbers; null for what could not be scored. LPIPS says why it is missing."""
    return _plain(dataclasses.asdict(report) | {"lpips": report.lpips or "LPIPS-Alex"})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(name: str, report: Report, console: Console | None = None) -> None:
    """Print the report; every number of the model stands before persistence's."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH)
    console.print(_table(name, report), *_lines(report), sep="\n")


def _table(name: str, report: Report) -> Table:
    table = Table(title=f"{name}: {len(report.cases)} cases, model | persistence", title_justify="left")
    columns = ["view", "steps", "cases", "PSNR dB", "at the end", "SSIM", "at the end", "moving", "PSNR of moving",
               "of moving frames"] + ([] if report.lpips else ["LPIPS"])
    for column in columns:
        table.add_column(column, justify="left" if column == "view" else "right")
    for view in dict.fromkeys(row.view for row in report.rows):
        for row in report.rows:
            if row.view == view:
                table.add_row(*_cells(row, with_lpips=not report.lpips))
        table.add_section()
    return table


def _cells(row: Row, with_lpips: bool) -> list[str]:
    def both(field: str, digits: int) -> str:
        return f"{_number(getattr(row.model, field), digits)} | {_number(getattr(row.persistence, field), digits)}"

    cells = [row.view, str(row.horizon), str(row.cases), both("psnr", 2), both("psnr_at", 2), both("ssim", 3),
             both("ssim_at", 3), _share(row.moving_share), both("psnr_moving", 2), both("psnr_moving_frames", 2)]
    return cells + ([both("lpips", 3)] if with_lpips else [])


def _lines(report: Report) -> list[str]:
    places = ", ".join(f"{horizon} steps {_number(1000 * model, 1)} | {_number(1000 * still, 1)}"
                       for horizon, (model, still) in report.position_error.items())
    lines = [f"position error in mm at {places}", f"imagined {report.frames_per_second:.0f} frames/s"]
    if report.lpips:
        lines.append(f"no LPIPS: {report.lpips}")
    for o in report.outcomes:
        lines.append(f"outcome by {o.judge}: agrees {_share(o.agreement)} of {o.cases - o.abstained} judged, "
                     f"abstains from {o.abstained}; false positives {o.false_positives} of {o.failures} failures, "
                     f"false negatives {o.false_negatives} of {o.successes} successes")
    return lines


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "-"
