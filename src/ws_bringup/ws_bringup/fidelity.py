"""How true a world model is, from the command line: replayed recordings and perturbed actions in the twin."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ws_bringup.fidelity_report import as_json, show
from ws_bringup.machine import describe_commit, describe_machine
from ws_node.cpu import tune_for_torch
from ws_rollouts.bag import BagError, read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import SYNTHETIC, Episode
from ws_rollouts.task import Task, load_task
from ws_world_model.cases import Case, imagine_all, replay_cases
from ws_world_model.fidelity import Report, score
from ws_world_model.imagination import CHUNK, Dynamics
from ws_world_model.metrics import PSNR_CAP
from ws_world_model.pictures import write_strip, write_video


def read_bags(bags: Path, task: Task, newest: int = 0) -> tuple[list[Episode], Counter[str]]:
    """The real episodes in a folder, oldest first, and how many bags were left out for which reason.

    `newest`: only so many of the newest; 0 for all. Raises ValueError when there is no such folder.
    """
    if not bags.is_dir():
        raise ValueError(f"bags = {bags}: no such folder")
    summaries, errors = finished(bags)
    reasons = Counter(error.reason for error in errors)
    episodes: list[Episode] = []
    for summary in reversed(summaries):
        if newest and len(episodes) == newest:
            break
        try:
            if summary.source == SYNTHETIC:
                raise BagError(summary.uri, "synthetic: imagined itself, so no truth")
            episodes.append(read_episode(Path(summary.uri), task))
        except BagError as error:
            reasons[error.reason] += 1
    return episodes[::-1], reasons


def draw(folder: Path, name: str, dynamics: Dynamics, cases: Sequence[Case], report: Report) -> list[Path]:
    """A strip and a video of the worst, the median and the best of the long cases, by PSNR; returns the files."""
    longest = max(len(case) for case in cases)
    ranked = sorted((i for i, case in enumerate(cases) if 2 * len(case) >= longest), key=lambda i: report.cases[i].psnr)
    chosen = {ranked[0]: "worst", ranked[len(ranked) // 2]: "median", ranked[-1]: "best"}
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, rank in chosen.items():
        case = cases[i]
        (_, imagined), = imagine_all(dynamics, [case])
        path = folder / f"{name}-{rank}-{case.episode.episode_id}-{case.start:03d}.png"
        files += [write_strip(path, case, imagined), write_video(path, case, imagined)]
    return files


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of `worldsample fidelity`."""
    parser.add_argument("--world-model", required=True, metavar="FILE", help="safetensors file of a world model")
    parser.add_argument("--bags", metavar="DIR", help="folder of rollouts to replay; bags it was not trained on")
    parser.add_argument("--newest", type=int, default=0, metavar="N", help="only the newest N bags; 0: all")
    parser.add_argument("--every", type=int, default=CHUNK, metavar="STEPS", help="from start to start in an episode")
    parser.add_argument("--max-length", type=int, default=0, metavar="STEPS", help="longest replay; 0: to the end")
    parser.add_argument("--task", default="pushing")
    parser.add_argument("--off-expert", type=int, default=0, metavar="N", help="also perturbed actions in the twin")
    parser.add_argument("--seed", type=int, default=0, help="of the off-expert cases")
    parser.add_argument("--json", metavar="OUT", help="also write all numbers here")
    parser.add_argument("--pictures", metavar="DIR", help="also draw strips and videos here")
    return parser


def main(args: argparse.Namespace) -> int:
    """Score and show; 0, or 2 with an error that says what is wrong."""
    tune_for_torch()
    try:
        return _run(args)
    except (ValueError, OSError) as error:  # WorldModelError is a ValueError
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    for name, low in (("newest", 0), ("every", 1), ("max_length", 0), ("off_expert", 0), ("seed", 0)):
        if getattr(args, name) < low:
            raise ValueError(f"{name} = {getattr(args, name)}: must be at least {low}")
    if not args.bags and not args.off_expert:
        raise ValueError("give --bags DIR, --off-expert N, or both")
    task = load_task(args.task)
    dynamics, rewards = load(Path(args.world_model), task)
    sets: dict[str, list[Case]] = {}
    result: dict[str, Any] = {"world_model": _identity(Path(args.world_model), dynamics), "task": task.name}
    if args.bags:
        episodes, reasons = read_bags(Path(args.bags), task, args.newest)
        for reason, count in reasons.most_common():
            print(f"left out {count}: {reason}", file=sys.stderr)
        if not episodes:
            raise ValueError(f"bags = {args.bags}: no usable rollout ({reasons.total()} left out)")
        result["bags"] = {"folder": args.bags, "used": len(episodes), "left_out": dict(reasons)}
        sets["replayed"] = replay_cases(episodes, args.max_length or None, args.every)
    if args.off_expert:
        from ws_bringup.off_expert import collect  # loads mujoco

        sets["off-expert"] = collect(task, args.off_expert, args.seed, progress=_counter("off-expert", args.off_expert))
    result |= {"seed": args.seed, "commit": describe_commit(), "machine": describe_machine(),
               "command": ["worldsample", "fidelity", *_words(args)], "psnr_cap": PSNR_CAP, "reports": {}}
    for name, cases in sets.items():
        report = score(dynamics, cases, rewards=rewards, progress=_counter(f"{name} imagined", len(cases)))
        show(name, report)
        result["reports"][name] = as_json(report)
        if args.pictures:
            files = draw(Path(args.pictures), name, dynamics, cases, report)
            result["reports"][name]["pictures"] = [str(file) for file in files]
    if args.json:
        from ws_node.files import write_atomically

        write_atomically(Path(args.json), json.dumps(result, indent=2, allow_nan=False).encode())
    return 0


def load(path: Path, task: Task) -> tuple[Dynamics, Any]:
    """The world model in a file and the reward model that judges with it, None without.

    Raises ValueError or OSError that names the file and what is wrong with it.
    """
    from ws_world_model.files import read_tensors, world_model_of  # loads torch
    from ws_world_model.rewards import RewardModel

    if not path.is_file():
        raise ValueError(f"{path}: no such world-model file")
    tensors, notes = read_tensors(path)
    dynamics = world_model_of(path, tensors, notes, task)
    if "reward_task" not in notes:  # dynamics alone, as a benchmark writes them
        return dynamics, None
    rewards = RewardModel(task)
    rewards.load(tensors, notes)
    return dynamics, rewards


def _identity(path: Path, dynamics: Dynamics) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": str(path), "sha256": digest, "version": dynamics.version, "profile": dynamics.profile}


def _words(args: argparse.Namespace) -> list[str]:
    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in vars(args).items() if value is not None]
    return [word for pair in given for word in pair]


def _counter(what: str, total: int):
    """A line on a terminal that counts; None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show_count(done: int) -> None:
        print(f"\r{what} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show_count
