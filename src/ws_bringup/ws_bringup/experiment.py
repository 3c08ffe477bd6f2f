"""Experiments in lockstep: modes and seeds from one YAML file, two cells at a time, a table and curves at the end."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ws_bringup.curves import draw_curves
from ws_bringup.machine import describe_commit, describe_machine
from ws_node.cpu import tune_for_torch


def read_spec(path: Path) -> dict[str, Any]:
    """The experiment: `seeds`, `common` values of all cells, and `cells` by name with what differs.

    Raises ValueError that names the file and what is wrong.
    """
    try:
        spec = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    unknown = sorted(set(spec) - {"seeds", "common", "cells", "target"}) if isinstance(spec, dict) else ["its content"]
    if unknown:
        raise ValueError(f"{path}: unknown entry {unknown[0]!r}; known are seeds, common, cells, target")
    if not spec.get("cells") or not spec.get("seeds"):
        raise ValueError(f"{path}: needs seeds and cells")
    return spec


def cell_values(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """A cell's values: the common ones, overlaid by its own, part by part."""
    values = dict(spec.get("common") or {})
    for key, value in (spec["cells"][name] or {}).items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return values


def run_all(spec: dict[str, Any], path: Path, folder: Path, jobs: int) -> int:
    """Run what is not done yet, `jobs` processes at a time; the number of cells that failed."""
    waiting = [(name, seed) for seed in spec["seeds"] for name in spec["cells"]
               if not (folder / f"{name}-{seed}.jsonl").exists()]
    running: list[subprocess.Popen] = []
    failed = 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, seed = waiting.pop(0)
                command = [sys.executable, "-m", "ws_bringup", "experiment", str(path), "--output", str(folder),
                           "--cell", name, "--seed", str(seed)]
                running.append(subprocess.Popen(command))
            time.sleep(0.5)
            ended = [process for process in running if process.poll() is not None]
            failed += sum(process.returncode != 0 for process in ended)
            running = [process for process in running if process not in ended]
    finally:
        for process in running:
            process.terminate()
    return failed


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of all cells that are done."""
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def steps_to(rows: list[dict[str, Any]], target: float) -> int | None:
    """Real steps at the first evaluation of one cell that reached `target`; None when none did."""
    return next((row["real_steps"] for row in rows if row["success_rate"] >= target), None)


def table(rows: list[dict[str, Any]], target: float) -> list[dict[str, Any]]:
    """One line for each cell: final success and steps to the target, by seed and in the middle."""
    lines = []
    for name in dict.fromkeys(row["cell"] for row in rows):
        seeds = sorted({row["seed"] for row in rows if row["cell"] == name})
        runs = [[row for row in rows if (row["cell"], row["seed"]) == (name, seed)] for seed in seeds]
        reached = [steps_to(run, target) for run in runs]
        known = [np.inf if steps is None else steps for steps in reached]
        lines.append({
            "cell": name, "seeds": len(seeds),
            "final_success": " ".join(f"{run[-1]['success_rate']:.2f}" for run in runs),
            "final_mean": round(float(np.mean([run[-1]["success_rate"] for run in runs])), 3),
            f"steps_to_{target:g}": " ".join("never" if steps is None else str(steps) for steps in reached),
            "median_steps": str(int(np.median(known))) if np.isfinite(np.median(known)) else "never",
            "real_steps": max(run[-1]["real_steps"] for run in runs),
            "learner_steps": max(run[-1]["learner_steps"] for run in runs),
            "cpu_minutes": round(float(np.mean([run[-1]["cpu_minutes"] for run in runs])), 1),
        })
    return lines


def write_results(folder: Path, target: float) -> list[dict[str, Any]]:
    """table.csv, table.md and the curves from the rows; returns the table."""
    rows = read_rows(folder)
    lines = table(rows, target)
    if not lines:
        return lines
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    head = list(lines[0])
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    text += ["| " + " | ".join(str(line[key]) for key in head) + " |" for line in lines]
    known = {(row["commit"], row["machine"]) for row in rows}
    text += ["", *(f"Commit {commit}, {machine}." for commit, machine in sorted(known))]
    (folder / "table.md").write_text("\n".join(text) + "\n")
    draw_curves(rows, folder)
    return lines


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of `worldsample experiment`."""
    parser.add_argument("file", type=Path, help="the experiment, such as benchmarks/pushing.yaml")
    parser.add_argument("--output", type=Path, help="folder of the results; benchmarks/results/<name> when not given")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one core each")
    parser.add_argument("--cell", help="run this cell alone, with --seed")
    parser.add_argument("--seed", type=int, help="of --cell")
    return parser


def main(args: argparse.Namespace) -> int:
    """Run, write, show; 0, 1 when a cell failed, 2 with an error that says what is wrong."""
    tune_for_torch()
    from ws_bringup.trial import make_cell, run_cell

    try:
        spec = read_spec(args.file)
        cells = {name: make_cell(name, 0, cell_values(spec, name)) for name in spec["cells"]}
        if args.cell and (args.cell not in cells or args.seed is None):
            raise ValueError(f"cell = {args.cell!r}: must be one of {', '.join(cells)}, with --seed")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = args.output or Path("benchmarks/results") / args.file.stem
    folder.mkdir(parents=True, exist_ok=True)
    if args.cell:
        provenance = {"commit": describe_commit(), "machine": describe_machine(), "experiment": args.file.stem}
        run_cell(make_cell(args.cell, args.seed, cell_values(spec, args.cell)), folder, provenance)
        return 0
    failed = run_all(spec, args.file, folder, args.jobs)
    for line in write_results(folder, float(spec.get("target", 0.9))):
        print("  ".join(f"{key} {value}" for key, value in line.items()))
    return 1 if failed else 0
