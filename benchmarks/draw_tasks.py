"""Draws the pictures of docs/tasks.md and the README: both views of every task.

python benchmarks/draw_tasks.py --seed 3      (in the built environment)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ws_bringup.lockstep import Env, ask
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task, load_task

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images" / "tasks"
TASKS = ("pushing", "insertion", "sorting", "pick_place", "assembly")  # as in the paper
GAP = 4  # px
MOMENT = 0.6  # of the episode


def played(task: Task, seed: int) -> list[dict]:
    """Pictures of each view at every step of an episode that the operator does."""
    env = Env(task, seed, pictures=False)
    operator = ScriptedOperator(task, seed=seed)
    operator.begin(True)
    seen = env.reset()
    pictures, over = [{view: env.twin.render(view) for view in VIEWS}], False
    while not over:
        seen, _, success, truncated = env.step(ask(operator, env, seen))
        over = success or truncated
        pictures.append({view: env.twin.render(view) for view in VIEWS})
    env.close()
    return pictures


def row(pictures: list[np.ndarray], axis: int = 1) -> np.ndarray:
    """Beside each other, or below with `axis` 0, with a white gap."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gaps = [np.full(shape, 255, np.uint8)] * len(pictures)
    return np.concatenate([part for pair in zip(pictures, gaps, strict=True) for part in pair][:-1], axis=axis)


def square(picture: np.ndarray, crop: tuple[int, int, int, int], size: int = 180) -> np.ndarray:
    """A crop of a picture, shrunk to (size, size, 3)."""
    x, y, width, height = crop
    return cv2.resize(picture[y : y + height, x : x + width], (size, size), interpolation=cv2.INTER_AREA)


def save(name: str, picture: np.ndarray) -> None:
    """Write RGB as docs/images/tasks/<name>.png."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(FOLDER / f"{name}.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    strip = []
    for name in TASKS:
        task = load_task(name)
        pictures = played(task, args.seed)
        save(name, row([pictures[moment][view] for moment in (0, -1) for view in VIEWS]))
        middle = pictures[round(MOMENT * len(pictures))]
        strip.append(row([square(middle[view], task.crop(view)) for view in VIEWS], axis=0))
    save("all", row(strip))


if __name__ == "__main__":
    main()
