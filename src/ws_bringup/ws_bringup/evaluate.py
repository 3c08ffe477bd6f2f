"""Evaluation in lockstep: a policy's success on fresh scenes, without interventions and without ROS."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ws_bringup.lockstep import Env, play
from ws_bringup.statistics import wilson
from ws_node.cpu import tune_for_torch
from ws_policy.exploration import EXPLORATION
from ws_rollouts.episode import Episode
from ws_rollouts.task import Task, load_task
from ws_twin_a1x.options import TwinOptions


def rollouts(runtime, task: Task, episodes: int, seed: int, exploration: float = EXPLORATION,
             twin: TwinOptions | None = None) -> Iterator[Episode]:
    """Play `episodes` episodes on scenes drawn from `seed`, without interventions.

    `runtime` has `act(observation, exploration) -> (A,)`, of which the second is the share of its deviation that it
    draws from: as on the robot, 0 for its mean, 1 as HIL-SERL evaluates.
    """
    env = Env(task, seed, twin)
    try:
        for number in range(1, episodes + 1):
            yield play(env, lambda seen: runtime.act(seen, exploration=exploration), f"evaluation-{seed}-{number}")
    finally:
        env.close()


def summary(played: Sequence[Episode]) -> dict:
    """Success with its 95 % interval, and lengths."""
    successes, lengths = sum(each.success for each in played), [len(each) for each in played]
    return {
        "episodes": len(played),
        "successes": successes,
        "success_rate": successes / len(played),
        "success_ci": list(wilson(successes, len(played))),
        "length_mean": float(np.mean(lengths)),
        "steps": int(np.sum(lengths)),
    }


def evaluate(runtime, task: Task, episodes: int, seed: int, exploration: float = EXPLORATION, progress=None) -> dict:
    """Play as `rollouts` does and summarise; `progress` is called with (done, successes).

    When interrupted (SIGINT, which also comes at the end of a run's time) the episodes that are over count.
    """
    played, began = [], time.monotonic()
    try:
        for episode in rollouts(runtime, task, episodes, seed, exploration):
            played.append(episode)
            if progress:
                progress(len(played), sum(each.success for each in played))
    except KeyboardInterrupt:
        if not played:
            raise
    how = {"task": task.name, "seed": seed, "exploration": exploration}
    return {**how, **summary(played), "wall_s": time.monotonic() - began}


def weights_of(args: argparse.Namespace, task: Task) -> bytes:
    """The safetensors bytes to evaluate: a file, or behaviour cloning on the demonstrations of a bag folder."""
    if not args.bc:
        return Path(args.weights).read_bytes()
    from ws_ppl.cloning import clone
    from ws_rollouts.bag import BagError, read_episode
    from ws_rollouts.catalog import finished

    def demonstrations():
        for bag in finished(Path(args.bags))[0]:
            try:
                yield read_episode(Path(bag.uri), task)
            except BagError as error:
                print(f"left out: {error}", file=sys.stderr)

    return clone(task, demonstrations(), args.bc_steps, seed=args.seed).data


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of `worldsample evaluate`."""
    parser.add_argument("--weights", help="policy.safetensors of a run")
    parser.add_argument("--exploration", type=float, default=EXPLORATION,
                        help="share of the actor's deviation that it acts with, 0 to 1; as on the robot when not given")
    parser.add_argument("--bc", action="store_true", help="evaluate behaviour cloning of the demonstrations")
    parser.add_argument("--bags", help="folder of rollouts, for --bc")
    parser.add_argument("--bc-steps", type=int, default=2000, help="updates of behaviour cloning")
    parser.add_argument("--task", default="pushing")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--json", help="also write the result here")
    return parser


def main(args: argparse.Namespace) -> int:
    """Run the evaluation; 0, 2 with an error that says what is wrong, or 130 when interrupted too early."""
    from ws_node.files import write_atomically
    from ws_policy.runtime import PolicyRuntime
    from ws_policy.weights import WeightsError, load

    tune_for_torch()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        if args.episodes < 1:
            raise ValueError(f"episodes = {args.episodes}: must be at least 1")
        if not 0.0 <= args.exploration <= 1.0:
            raise ValueError(f"exploration = {args.exploration}: must be in 0 .. 1")
        if bool(args.weights) == args.bc or (args.bc and not args.bags):
            raise ValueError("give either --weights FILE, or --bc --bags FOLDER")
        task = load_task(args.task)
        runtime = PolicyRuntime(task, args.seed)
        runtime.load(load(weights_of(args, task), runtime.architecture))
        show = (lambda done, won: print(f"\r{won}/{done}", end="", flush=True)) if sys.stdout.isatty() else None
        outcome = evaluate(runtime, task, args.episodes, args.seed, args.exploration, show)
    except (ValueError, OSError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before the first episode was over", file=sys.stderr)
        return 130
    result = {"policy": "bc" if args.bc else args.weights, **outcome}
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        write_atomically(Path(args.json), text.encode())
    return 0
