"""Each task in lockstep: how often the scripted operator and random actions succeed, and how fast it runs.

python benchmarks/tasks.py --episodes 200 --seed 0 --output runs/tasks.json      (in the built environment)

Both play without pictures, which neither looks at; the speed is measured with both views, by random actions, in CPU
time of this process and by the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from ws_bringup.lockstep import Env, ask, play
from ws_bringup.machine import describe_commit, describe_machine
from ws_bringup.statistics import wilson
from ws_policy.operator import ScriptedOperator
from ws_rollouts.task import load_task, task_names


def operator(env: Env, seed: int):
    """Acts for an operator that demonstrates."""
    hand = ScriptedOperator(env.task, seed=seed)
    hand.begin(True)
    return lambda seen: ask(hand, env, seen)


def chance(env: Env, seed: int):
    """Acts at random: uniform translations, a gripper class of three."""
    rng, size = np.random.default_rng([seed, 4]), env.task.action_size
    return lambda _: np.append(rng.uniform(-1, 1, size - 1), rng.integers(-1, 2)).astype(np.float32)


def success(task, player, episodes: int, seed: int) -> dict:
    """Play `episodes` on worlds drawn from `seed`."""
    env = Env(task, seed, pictures=False)
    played = [play(env, player(env, seed + number), f"{task.name}-{number}") for number in range(episodes)]
    env.close()
    won = sum(episode.success for episode in played)
    lengths = [len(episode) for episode in played if episode.success]
    return {"episodes": episodes, "successes": won, "interval": wilson(won, episodes),
            "steps": [int(v) for v in np.percentile(lengths, (0, 50, 100))] if lengths else []}


def speed(task, seed: int, steps: int = 600) -> dict:
    """Environment steps per second with both views."""
    env = Env(task, seed)
    act, taken = chance(env, seed), 0
    cpu, wall = time.process_time(), time.perf_counter()
    while taken < steps:
        env.reset()
        for _ in range(min(task.episode_steps, steps - taken)):
            env.step(act(None))
            taken += 1
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    env.close()
    return {"steps": steps, "per_cpu_s": round(steps / cpu, 1), "per_s": round(steps / wall, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=task_names(), choices=task_names())
    parser.add_argument("--episodes", type=int, default=200, help="0: only the speed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = {"seed": args.seed, "commit": describe_commit(), "machine": describe_machine(), "tasks": {}}
    for name in args.tasks:
        task = load_task(name)
        row = {"speed": speed(task, args.seed)}
        if args.episodes:
            row |= {"operator": success(task, operator, args.episodes, args.seed),
                    "random": success(task, chance, args.episodes, args.seed)}
        result["tasks"][name] = row
        print(name, json.dumps(row), flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
