"""How well, and how fast, the cpu profile learns from a folder of bags: one variant per call.

    python benchmarks/world_model.py runs/pushing/bags --output benchmarks/results/world_model --cpu-minutes 15
    python benchmarks/world_model.py runs/pushing/bags --data demos --geometry warps=false --seed 1 ...

Trains on all but the newest rollouts, scores on those (48 steps, open loop) as training goes on, and writes a JSON file
with the curve, the command, the commit and the machine. CPU time is this process's, on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from ws_node.cpu import tune_for_torch

tune_for_torch()

import numpy as np  # noqa: E402  torch and what imports it come after its settings

from ws_bringup.fidelity import read_bags  # noqa: E402
from ws_bringup.machine import describe_commit, describe_machine  # noqa: E402
from ws_node.options import build  # noqa: E402
from ws_rollouts.task import load_task  # noqa: E402
from ws_world_model.cases import replay_cases  # noqa: E402
from ws_world_model.counterfactuals import sample_segment  # noqa: E402
from ws_world_model.dynamics import DynamicsOptions  # noqa: E402
from ws_world_model.fidelity import score  # noqa: E402
from ws_world_model.files import save_world_model  # noqa: E402
from ws_world_model.generation import Generator  # noqa: E402
from ws_world_model.geometry import GeometryOptions  # noqa: E402
from ws_world_model.imagination import context_of, stack  # noqa: E402
from ws_world_model.rewards import RewardModel  # noqa: E402
from ws_world_model.training import Trainer, TrainerOptions  # noqa: E402

HORIZON = 48
REPLAY_EVERY = 10  # steps of the reward model


def main(argv: list[str] | None = None) -> int:
    """Train, score, write; 0, or 2 when there is nothing to train on."""
    args = _arguments().parse_args(argv)
    task = load_task(args.task)
    episodes, reasons = read_bags(args.bags, task) if args.bags.is_dir() else ([], Counter())
    for reason, count in reasons.most_common():
        print(f"left out {count}: {reason}", file=sys.stderr)
    demos = [episode for episode in episodes if episode.is_demonstration]
    rollouts = [episode for episode in episodes if not episode.is_demonstration]
    held_out, rollouts = rollouts[-args.hold_out :], rollouts[: -args.hold_out]
    rollouts = rollouts[-args.rollouts :] if args.rollouts else rollouts
    demos, rollouts = {"both": (demos, rollouts), "demos": (demos, []), "rollouts": ([], rollouts)}[args.data]
    if not held_out or not demos + rollouts:
        print(f"error: {args.bags}: no episodes to train on, or none to hold out", file=sys.stderr)
        return 2
    trainer = Trainer(
        task, build(TrainerOptions, {"memory_mib": 4000, **_pairs(args.trainer)}),
        build(DynamicsOptions, _pairs(args.dynamics)), geometry=build(GeometryOptions, _pairs(args.geometry)),
        seed=args.seed)
    for episode in demos + rollouts:
        trainer.add(episode)
    result = {
        "command": " ".join(sys.argv), "seed": args.seed, "commit": describe_commit(), "machine": describe_machine(),
        "data": args.data,
        "demonstrations": len(demos), "rollouts": len(rollouts), "held_out": [len(e) for e in held_out],
        "geometry": dataclasses.asdict(trainer.model.projector.options), "curve": [],
    }
    _train(trainer, held_out, args, result)
    result["generation"] = generation_speed(trainer.model, held_out)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / f"{args.name}.json").write_text(json.dumps(result, indent=1))
    notes, tensors = {"steps": str(trainer.steps)}, {}
    if args.reward_steps:
        rewards = train_rewards(trainer.model, demos, rollouts, args.reward_steps, args.seed)
        notes |= rewards.metadata()
        tensors = rewards.tensors()
    save_world_model(trainer.model, args.output / f"{args.name}.safetensors", notes, tensors)
    return 0


def _train(trainer: Trainer, held_out: list, args: argparse.Namespace, result: dict) -> None:
    cases = replay_cases(held_out, HORIZON)
    spent, losses = 0.0, []
    for share in (1 / 15, 2 / 15, 1 / 3, 2 / 3, 1.0):
        while trainer.steps < share * args.steps if args.steps else spent < share * 60 * args.cpu_minutes:
            began = time.process_time()
            losses.append(trainer.step())
            spent += time.process_time() - began
        report = score(trainer.model, cases)
        row = {"cpu_minutes": spent / 60, "steps": trainer.steps,
               "losses": {name: float(np.mean([each[name] for each in losses])) for name in losses[0]},
               "rows": [dataclasses.asdict(r) for r in report.rows],
               "outcomes": [dataclasses.asdict(o) for o in report.outcomes],
               "position_error": report.position_error}
        result["curve"].append(row)
        losses = []
        print(f"{spent / 60:5.1f} CPU min, {trainer.steps} steps: " + _line(report), flush=True)


def _line(report) -> str:
    texts = []
    for horizon in (HORIZON, "full"):
        for view in ("side", "wrist", "pooled"):
            row = report.row(view, horizon)
            ours, copy = row.model, row.persistence
            texts.append(f"{view}@{horizon} {ours.psnr:.2f} dB {ours.ssim:.3f} (copy {copy.psnr:.2f} {copy.ssim:.3f}; "
                         f"moving {ours.psnr_moving:.2f} vs {copy.psnr_moving:.2f}, {row.moving_share:.0%})")
    off = ", ".join(f"{1000 * ours:.1f} mm @{horizon}" for horizon, (ours, _) in report.position_error.items())
    judged = ", ".join(f"{o.judge} right {o.agreement:.2f} of {o.cases - o.abstained}" for o in report.outcomes)
    return "; ".join([*texts, f"position off by {off}", judged])


def train_rewards(model, demos: list, rollouts: list, steps: int, seed: int) -> RewardModel:
    """A reward model as the node trains it: first on what is real, then also on replays of known outcome."""
    rewards, rng = RewardModel(model.task, seed=seed), np.random.default_rng(seed)
    generator = Generator(model, rewards, seed=seed)
    for episode in demos + rollouts:
        rewards.add(episode)
    for step in range(steps):
        if step >= steps // 2 and step % REPLAY_EVERY == 0:
            generator.generate(sample_segment(rollouts, demos, generator.options, rng), replay_only=True)
        rewards.step()
    return rewards


def generation_speed(model, episodes: list, variants: int = 7, rounds: int = 5) -> dict:
    """Dual-view frames a second and seconds a chunk for `variants` sequences of 48 steps from one start."""
    longest = max(episodes, key=len)
    steps = min(HORIZON, len(longest))
    context = stack([context_of(longest, 0, steps)] * variants)
    actions = np.repeat(longest.action[None, :steps], variants, axis=0)
    model.imagine(context, actions)
    times = []
    for _ in range(rounds):
        began = time.process_time()
        model.imagine(context, actions)
        times.append(time.process_time() - began)
    return {"dual_view_frames_per_cpu_second": variants * steps / float(np.median(times)),
            "slowest": variants * steps / max(times), "fastest": variants * steps / min(times), "rounds": rounds}


def _pairs(words: list[str]) -> dict:
    """name=value words, values as YAML."""
    return {name: yaml.safe_load(value) for name, value in (word.split("=", 1) for word in words)}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/world_model"))
    parser.add_argument("--name", default="cpu", help="of the result's files")
    parser.add_argument("--task", default="pushing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu-minutes", type=float, default=15.0)
    parser.add_argument("--steps", type=int, default=0, help="train for so many steps instead: fair on a busy machine")
    parser.add_argument("--reward-steps", type=int, default=0, help="also train a reward model, kept in the same file")
    parser.add_argument("--hold-out", type=int, default=20, help="newest rollouts that are never trained on")
    parser.add_argument("--rollouts", type=int, default=0, help="train on so many of the newest others; 0: all")
    parser.add_argument("--data", choices=("both", "demos", "rollouts"), default="both")
    for name, what in (("geometry", GeometryOptions), ("dynamics", DynamicsOptions), ("trainer", TrainerOptions)):
        known = ", ".join(field.name for field in dataclasses.fields(what))
        parser.add_argument(f"--{name}", nargs="*", default=[], metavar="NAME=VALUE", help=known)
    return parser


if __name__ == "__main__":
    sys.exit(main())
