"""Modes of learning, from one code base: what each changes in the options of the parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ws_ppl.schedule import ScheduleOptions
from ws_ppl.selection import SelectionOptions


@dataclass(frozen=True)
class Mode:
    """What differs from WorldSample's defaults."""

    schedule: dict[str, str | float] = field(default_factory=dict)
    selection: dict[str, str] = field(default_factory=dict)
    counterfactuals: dict[str, int] = field(default_factory=dict)  # the world model's; not known here
    imagines: bool = True  # whether a world model is needed
    relocates: bool = True  # whether demonstrations that the world model moves to other scenes are imitated
    paced: bool = False  # whether share and perturbations grow with the world model's fidelity

    def apply(
        self, schedule: ScheduleOptions, selection: SelectionOptions
    ) -> tuple[ScheduleOptions, SelectionOptions]:
        """The options as this mode wants them."""
        return replace(schedule, **self.schedule), replace(selection, **self.selection)


MODES: dict[str, Mode] = {
    "hil_serl": Mode({"kind": "off"}, imagines=False, relocates=False),
    "worldsample": Mode(),
    "no_schedule": Mode({"kind": "constant"}),
    "no_qsel": Mode(selection={"kind": "uniform"}),
    "no_ppl": Mode({"kind": "constant"}, {"kind": "uniform"}),
    "paper": Mode({"use": "loss_weight"}, {"kind": "paper_literal"}, {"max_length": 144}, relocates=False),
    "fidelity_paced": Mode({"pace": "fidelity"}, paced=True),
}
