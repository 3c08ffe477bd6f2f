"""The rows of benchmarks/relocate.yaml as a table of pairs: the same seed's demonstrations and scenes in every column.

python benchmarks/relocate_table.py benchmarks/results/relocate      (in the built environment; writes pairs.md there)
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from ws_bringup.experiment import read_rows

KINDS = ("none", "drawn", "oracle")
DRAWS, LEAST = 10_000, 4  # of the bootstrap, and pairs below which an interval says nothing


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of paired differences (N,)."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (DRAWS, len(differences))).mean(axis=1)
    return tuple(np.percentile(means, (2.5, 97.5)))


def table(rows: list[dict]) -> list[str]:
    """Markdown: success by seed and in the mean, and what drawn relocations add."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        name, kind = row["cell"].rsplit("_", 1)
        found[name][kind][row["seed"]] = row["success_rate"]
    lines = ["| task, demonstrations | learned from | success by seed | mean | drawn minus none, pairs, 95 % |",
             "|---|---|---|---|---|"]
    for name, kinds in found.items():
        for kind in (*KINDS, *sorted(set(kinds) - set(KINDS))):
            if not kinds.get(kind):
                continue
            by_seed = sorted(kinds[kind].items())
            texts = " ".join(f"{seed}: {value:.2f}" for seed, value in by_seed)
            gain = ""
            common = sorted(set(kinds["none"]) & set(kinds[kind])) if kind != "none" else []
            if common:
                pairs = np.array([kinds[kind][seed] - kinds["none"][seed] for seed in common])
                gain = f"{pairs.mean():+.2f}, {len(pairs)}"
                if len(pairs) >= LEAST:
                    low, high = interval(pairs)
                    gain += f" ({low:+.2f} to {high:+.2f})"
            mean = np.mean([value for _, value in by_seed])
            lines.append(f"| {name} | {kind} | {texts} | {mean:.3f} | {gain} |")
    known = sorted({(row["commit"], row["machine"]) for row in rows})
    return [*lines, "", *(f"Commit {commit}, {machine}." for commit, machine in known)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    lines = table(read_rows(folder))
    (folder / "pairs.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
