"""The one live view of a run: a table that stays at the bottom of a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_PERIOD = 10.0  # s between two plain lines

# title, key of progress.json, format
CELLS = (
    ("episodes", "policy_episodes", "{:.0f}"),
    ("demonstrations", "policy_demonstrations", "{:.0f}"),
    ("real steps", "policy_env_steps", "{:.0f}"),
    ("learner steps", "learner_learner_step", "{:.0f}"),
    ("success, last 20", "policy_success_rate", "{:.0%}"),
    ("interventions", "policy_intervention_rate", "{:.1%}"),
    ("updates/s", "learner_updates_per_s", "{:.1f}"),
    ("control p99", "policy_control_period_p99_ms", "{:.0f} ms"),
    ("memory", "rss_mib", "{:.0f} MiB"),
)
# shown where a world model moves demonstrations to other scenes, or says why it does not
RELOCATION_CELLS = (
    ("relocated", "world_model_relocated", "{:.0f}"),
    ("imitated from them", "learner_imagined_share", "{:.0%}"),
)
# shown once there is a version
WORLD_MODEL_CELLS = (
    ("world model", "world_model_version", "v{:.0f}"),
    ("PSNR", "world_model_holdout_psnr", "{:.1f} dB"),
    ("imagined", "world_model_synthetic", "{:.0f}"),
    ("rho", "learner_rho", "{:.2f}"),
)


def cells(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Titles and values to show; '-' where nothing was heard yet."""
    shown = CELLS
    shown += RELOCATION_CELLS if row.get("world_model_relocation_gate") else ()
    shown += WORLD_MODEL_CELLS if row.get("world_model_version") else ()
    return [(title, form.format(row[key]) if key in row else "-") for title, key, form in shown]


def gates_line(row: dict[str, Any]) -> str:
    """Whether the world model may relocate and perturb, in words; empty where there is none."""
    if row.get("world_model_state", "off") == "off":
        return ""
    parts = []
    for title, gate, reason in (("relocation", "world_model_relocation_gate", "world_model_relocation_reason"),
                                ("perturbed rollouts", "world_model_gate", "world_model_gate_reason")):
        if row.get(gate):
            why = row.get(reason)
            parts.append(f"{title}: {row[gate]}" + (f" ({why})" if why and row[gate] != "open" else ""))
    return ", ".join(parts)


def state_line(row: dict[str, Any]) -> str:
    """What policy and learner are doing, and who has fallen silent."""
    parts = []
    for name in ("policy", "learner", "world_model"):
        state = row.get(f"{name}_state")
        if state is None:
            parts.append(f"{name}: starting")
            continue
        waiting, silent = row.get(f"{name}_waiting_for"), row.get(f"{name}_age_s", 0.0)
        wants = f" for {waiting}" if waiting else ""
        parts.append(f"{name}: {state}{wants}" + (f" (silent {silent:.0f} s)" if silent > 5 else ""))
    return ", ".join(parts)


class View:
    """Use as a context; `show(row)` as often as you like. Other lines scroll above it."""

    def __init__(self, name: str, minutes: float, headless: bool):
        self._name, self._minutes = name, minutes
        self._began = time.monotonic()
        self._last_plain = -PLAIN_PERIOD
        live = sys.stdout.isatty() and not headless
        # no refresh thread of its own: the runner forks, and forking with threads is asking for trouble
        self._live = Live(self._table({}), console=Console(), auto_refresh=False) if live else None

    def __enter__(self) -> View:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.__exit__(*exception)

    def show(self, row: dict[str, Any]) -> None:
        """Show the numbers of progress.json."""
        if self._live:
            self._live.update(self._table(row), refresh=True)
        elif row and time.monotonic() - self._last_plain >= PLAIN_PERIOD:
            self._last_plain = time.monotonic()
            gates = gates_line(row)
            print(f"{self._clock()}  " + "  ".join(f"{t} {v}" for t, v in cells(row))
                  + (f"  {gates}" if gates else ""), flush=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60}:{seconds % 60:02d}" + (f" of {self._minutes:g} min" if self._minutes else "")

    def _table(self, row: dict[str, Any]) -> Table:
        caption = "\n".join(filter(None, (state_line(row), gates_line(row))))
        table = Table(title=f"{self._name}  {self._clock()}", caption=caption, expand=False)
        shown = cells(row)
        for title, _ in shown:
            table.add_column(title, justify="right", no_wrap=True)
        table.add_row(*(value for _, value in shown))
        return table
