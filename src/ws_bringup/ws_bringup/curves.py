"""Curves of an experiment: one picture for each kind of cost; seeds are thin lines, their mean is a thick one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

COSTS = {"real_steps": "real steps", "learner_steps": "learner steps", "cpu_minutes": "CPU minutes"}
QUANTITIES = {
    "success_rate": "success", "intervention_rate": "interventions", "q_bias": "Q minus Monte-Carlo return",
    "rho": "rho", "entropy_mean": "H", "positive_share": "f*",
    "q_real": "Q of real steps", "q_positive": "Q of imagined successes", "q_negative": "Q of imagined failures",
}

Run = list[dict[str, Any]]


def points(run: Run, cost: str, quantity: str) -> np.ndarray:
    """What one run had cost and reached at each evaluation that measured it, (n, 2)."""
    return np.array([(row[cost], row[quantity]) for row in run if row.get(quantity) is not None]).reshape(-1, 2)


def middle(runs: list[np.ndarray]) -> np.ndarray:
    """Mean over runs of their first, second ... points, as far as all of them go, (n, 2)."""
    shortest = min(map(len, runs))
    return np.mean([run[:shortest] for run in runs], axis=0)


def draw_curves(rows: Run, folder: Path) -> None:
    """curves_<cost>.png for each kind of cost."""
    cells: dict[str, dict[int, Run]] = {}
    for row in rows:
        cells.setdefault(row["cell"], {}).setdefault(row["seed"], []).append(row)
    for cost in COSTS:
        _draw(cells, cost, folder / f"curves_{cost}.png")


def _draw(cells: dict[str, dict[int, Run]], cost: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 3, figsize=(13, 10), constrained_layout=True)
    for axis, (quantity, title) in zip(axes.flat, QUANTITIES.items(), strict=True):
        for number, (name, runs) in enumerate(cells.items()):
            lines = [points(run, cost, quantity) for run in runs.values()]
            for line in lines:
                axis.plot(*line.T, color=f"C{number}", alpha=0.3, linewidth=0.8)
            axis.plot(*middle(lines).T, color=f"C{number}", linewidth=2.0, label=name)
        axis.set(title=title, xlabel=COSTS[cost])
        axis.grid(alpha=0.3)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
