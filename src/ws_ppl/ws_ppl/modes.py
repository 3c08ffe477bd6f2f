"""Modes of learning, from one code base: what each changes in schedule and selection."""

from __future__ import annotations

from dataclasses import replace

from ws_ppl.schedule import ScheduleOptions
from ws_ppl.selection import SelectionOptions

# mode -> changes of the schedule's and the selection's options
_CHANGES: dict[str, tuple[dict, dict]] = {
    "worldsample": ({}, {}),
    "hil_serl": ({"kind": "off"}, {}),
    "no_schedule": ({"kind": "constant"}, {}),
    "no_qsel": ({}, {"kind": "uniform"}),
    "no_ppl": ({"kind": "constant"}, {"kind": "uniform"}),
    "paper": ({"use": "loss_weight"}, {"kind": "paper_literal"}),
}
MODES = tuple(_CHANGES)


def paced(
    mode: str, schedule: ScheduleOptions, selection: SelectionOptions
) -> tuple[ScheduleOptions, SelectionOptions]:
    """The options as a mode wants them. Raises ValueError for an unknown mode."""
    if mode not in _CHANGES:
        raise ValueError(f"mode = {mode!r}: must be one of {', '.join(MODES)}")
    of_schedule, of_selection = _CHANGES[mode]
    return replace(schedule, **of_schedule), replace(selection, **of_selection)
