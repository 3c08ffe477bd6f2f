"""How true the scene memory alone draws recorded episodes of the twin, with nothing trained: open loop, 48 steps.

    python benchmarks/scene_replay.py pushing --demonstrations 5 --rollouts 28 --held-out 8 --seed 3

Everything after an episode's first depth exposure is drawn from demonstrations with depth: once where the tool really
went, once where the recorded actions lead an arm that nothing is in the way of (the gripper as it was). Held out are
the newest episodes. Rollouts are those of a scripted operator with an unsteady hand; a third of them loses its way.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from ws_bringup.lockstep import Env, ask, play
from ws_bringup.machine import describe_commit, describe_machine
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_rollouts.episode import DEMONSTRATION, STATE, VIEWS, Episode
from ws_rollouts.task import load_task
from ws_world_model.geometry import pose_when_exposed
from ws_world_model.imagination import frame_age
from ws_world_model.metrics import psnr, squared_error, ssim
from ws_world_model.scene.arm import FreeArm, fit_lag
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.scenes import Scenes

HORIZON = 48
EVERY = 3  # exposures, with depth
STEADY, UNSTEADY, LOST = 0.2, 0.5, (25, 45)  # the hand's noise; steps after which it loses its way


def demonstrate(env: Env, count: int, seed: int) -> list[Episode]:
    """Successes of the scripted operator."""
    operator, made = ScriptedOperator(env.task, None, seed), []
    while len(made) < count:
        operator.begin(True)
        episode = play(env, lambda seen: ask(operator, env, seen), f"demonstration-{len(made):03d}",
                       lambda _, action: (action, DEMONSTRATION))
        if episode.success:
            made.append(episode)
    return made


def roll_out(env: Env, count: int, seed: int) -> list[Episode]:
    """What a hand does that wavers; every third one wavers more, and then strays."""
    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        strays = number % 3 == 2
        options = OperatorOptions(noise=UNSTEADY if strays else STEADY)
        operator = ScriptedOperator(env.task, options, 1000 * seed + number)
        operator.begin(True)
        left = [int(rng.integers(*LOST)) if strays else -1]
        drift = np.zeros(env.task.action_size)

        def act(seen, operator=operator, strays=strays, left=left, drift=drift):
            action = ask(operator, env, seen)
            left[0] -= 1
            if strays and left[0] < 0:
                drift[:-1] = 0.9 * drift[:-1] + 0.25 * rng.standard_normal(len(drift) - 1)
                action = np.clip(drift, -1, 1).astype(np.float32)
            return action

        episode = play(env, act, f"rollout-{number:03d}")
        episode.rgbd = {view: stream.head(1) for view, stream in episode.rgbd.items()}
        made.append(episode)
    return made


def free_states(arm: FreeArm, episode: Episode) -> np.ndarray:
    """Where the actions lead a free arm from the first observation: (T+1, 13)."""
    arm.resume(episode.state[0])
    states = [episode.state[0]]
    for step in range(min(HORIZON, len(episode))):
        states.append(arm.step(episode.action[step], float(episode.state[step + 1, STATE["gripper"]][0])))
    return np.stack(states)


def exposed(states: np.ndarray, age: np.ndarray) -> dict[str, np.ndarray]:
    """View -> (T+1, 13) when the frames were taken."""
    before = np.concatenate([states[:1], states[:-1]])
    return {view: pose_when_exposed(states, before, age[: len(states), i]) for i, view in enumerate(VIEWS)}


def measured(frames: dict[str, np.ndarray], episode: Episode) -> list[tuple[float, float]]:
    """Mean PSNR and SSIM of each view's frames after the first."""
    out = []
    for view in VIEWS:
        guess = frames[view][1:]
        truth = episode.frames[view][1 : len(guess) + 1]
        error = squared_error(guess, truth).mean((1, 2)) / (3 * 255.0**2)
        out.append((float(psnr(error).mean()), float(ssim(guess, truth).mean())))
    return out


def summary(rows: list) -> dict[str, list[float]]:
    """View, and "pooled" -> dB and SSIM."""
    mean = np.mean(rows, axis=0)
    values = {**dict(zip(VIEWS, mean, strict=True)), "pooled": mean.mean(0)}
    return {name: value.round(3).tolist() for name, value in values.items()}


def main(argv: list[str] | None = None) -> int:
    """Collect, draw, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    for name, default in (("demonstrations", 5), ("rollouts", 28), ("held-out", 8), ("seed", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    task = load_task(args.task)
    env = Env(task, args.seed, rgbd_every=EVERY)
    held = demonstrate(env, args.demonstrations + (0 if args.rollouts else args.held_out), args.seed)
    demonstrations, held = held[: args.demonstrations], held[args.demonstrations :]
    held = (held + roll_out(env, args.rollouts, args.seed))[-args.held_out :]
    env.close()
    memory = SceneMemory(task)
    for episode in demonstrations:
        memory.add(episode)
    arm = FreeArm(task, fit_lag(task, [(donor.episode, donor.start) for donor in memory.donors]))
    rows: dict[str, list] = {"copy": [], "real poses": [], "open loop": []}
    scenes, frames, began = Scenes(memory), 0, time.process_time()
    for episode in held:
        age, end = frame_age(episode), min(HORIZON, len(episode)) + 1
        kinds = {"real poses": episode.state[:end], "open loop": free_states(arm, episode)}
        drawn = {kind: scenes.drawn(f"{episode.episode_id} {kind}", episode.rgbd, exposed(states, age))
                 for kind, states in kinds.items()}
        if drawn["open loop"] is None:
            continue
        still = {v: np.broadcast_to(episode.frames[v][0], (end, *episode.frames[v][0].shape)) for v in VIEWS}
        for kind, made in {"copy": still, **drawn}.items():
            rows[kind].append(measured(made, episode))
        frames += 2 * end
    print(json.dumps({
        "task": task.name, "donors": len(memory.donors), "held_out": len(held), "drawn": len(rows["copy"]),
        "successes": sum(e.success for e in held), "refused": dict(scenes.refused),
        **{kind: summary(each) for kind, each in rows.items() if each},
        "cpu_ms_per_pair_of_frames": 1000 * (time.process_time() - began) / max(frames, 1),
        "seed": args.seed, "commit": describe_commit(), "machine": describe_machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
