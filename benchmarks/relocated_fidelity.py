"""How true relocated frames are, before any training: the twin puts its things where a relocation wants them.

python benchmarks/relocated_fidelity.py --seeds 0 1 --relocations 8 --output runs/relocated.json   (built environment)
python benchmarks/relocated_fidelity.py --picture docs/images/relocated.png

Each pair of frames at the twin's own arm poses, beside copying the donor's frame with the tool nearest to the thing.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ws_bringup.lockstep import Env, ask, play
from ws_bringup.machine import describe_commit, describe_machine
from ws_bringup.relocation import TwinStage
from ws_node.cpu import tune_for_torch
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import DEMONSTRATION, VIEWS, Episode
from ws_rollouts.task import load_task
from ws_twin_a1x.options import TwinOptions
from ws_world_model.metrics import psnr, squared_error, ssim
from ws_world_model.proposals.relocate import Places, RelocateOptions, relocations
from ws_world_model.proposals.stage import Stage
from ws_world_model.scene.arm import FreeArm
from ws_world_model.scene.memory import SceneMemory

TASKS = ("pushing", "insertion", "sorting", "pick_place", "assembly")  # as in the paper
DEMONSTRATIONS = 5
COLUMNS, SHOWN, SIDE, GAP = 7, 2, 96, 4  # of the picture: moments, relocations; px


def demonstrate(env: Env, seed: int, count: int) -> tuple[list[Episode], dict]:
    """Successful demonstrations with depth, and how the twin's things stood at the start of each."""
    operator, episodes, worlds = ScriptedOperator(env.task, seed=seed), [], {}
    number = 0
    while len(episodes) < count:
        number += 1
        operator.begin(True)
        world: dict = {}

        def act(seen, world=world):
            world.update(world or env.twin.arrangement())
            return ask(operator, env, seen)

        episode = play(env, act, f"demonstration-{number:03d}", lambda _, a: (a, DEMONSTRATION))
        if episode.success:
            episodes.append(episode)
            worlds[episode.episode_id] = world
    return episodes, worlds


def prepare(name: str, seed: int, twin: TwinOptions) -> tuple[Env, SceneMemory, dict, list[Episode]]:
    """An environment and the memory of its demonstrations."""
    task = load_task(name)
    env = Env(task, seed, twin, rgbd_every=3)
    episodes, worlds = demonstrate(env, seed, DEMONSTRATIONS)
    memory = SceneMemory(task)
    for episode in episodes:
        memory.add(episode)
    return env, memory, worlds, episodes


def copied(memory: SceneMemory, relocation, tool: np.ndarray) -> dict[str, np.ndarray]:
    """The donor's frames with the tool at the place nearest to this one, as seen from the first thing."""
    donor = relocation.donor
    local = relocation.motions[donor.part_groups[0]].back(tool)
    step = int(np.argmin(np.linalg.norm(donor.episode.state[:, :3] - local, axis=1)))
    return {view: donor.episode.frames[view][step] for view in VIEWS}


def measure(name: str, seed: int, count: int, twin: TwinOptions) -> dict:
    """PSNR and SSIM of `count` relocations that the twin carries out too."""
    env, memory, worlds, _ = prepare(name, seed, twin)
    stage = Stage(memory, FreeArm(env.task), RelocateOptions(), seed)
    stage.prepare()
    truth = TwinStage(env, memory, RelocateOptions(), worlds, stage)
    places = Places(env.task, memory.donors, RelocateOptions())
    copies: list[dict] = []
    for relocation in islice(relocations(places, (seed,)), count):
        before = len(truth.compared)
        truth.play(relocation)
        copies += [copied(memory, relocation, tool) for tool in truth.tools[before:]]
    began = time.process_time()
    made = [stage.play(each).episode for each in islice(relocations(places, (seed, 1)), count)]
    frames = sum(len(episode) + 1 for episode in made if episode is not None)
    row = {"task": name, "seed": seed, "relocations": count, "really_done": truth.counts["made"],
           "pairs": len(truth.compared), "pairs_per_s": frames / (time.process_time() - began)}
    drawn_error, copied_error, drawn_ssim, copied_ssim = [], [], [], []
    for view in VIEWS:
        true, drawn, copy = (np.stack(frames) for frames in (
            [pair[0][view] for pair in truth.compared], [pair[1][view] for pair in truth.compared],
            [each[view] for each in copies]))
        quality = [psnr(squared_error(true, other).mean((1, 2)) / (3 * 255**2)) for other in (drawn, copy)]
        similar = ssim(true, drawn), ssim(true, copy)
        row |= {f"{view}_psnr": float(quality[0].mean()), f"{view}_ssim": float(similar[0].mean())}
        drawn_error.append(quality[0])
        copied_error.append(quality[1])
        drawn_ssim.append(similar[0])
        copied_ssim.append(similar[1])
    env.close()
    return {**row, "psnr": float(np.mean(drawn_error)), "ssim": float(np.mean(drawn_ssim)),
            "copied_psnr": float(np.mean(copied_error)), "copied_ssim": float(np.mean(copied_ssim))}


def picture(seed: int) -> np.ndarray:
    """Each task: the first demonstration's frames above those of relocations of it."""
    blocks = []
    for name in TASKS:
        env, memory, _, episodes = prepare(name, seed, TwinOptions())
        memory.donors = memory.donors[:1]
        stage = Stage(memory, FreeArm(env.task), RelocateOptions(), seed)
        stage.prepare()
        made = (stage.play(each).episode for each in relocations(Places(env.task, memory.donors, RelocateOptions()),
                                                                   (seed,)))
        shown = [episodes[0], *islice((episode for episode in made if episode is not None), SHOWN)]
        blocks.append(np.concatenate([strip(episode) for episode in shown], axis=0))
        env.close()
    gap = np.full((blocks[0].shape[0], 3 * GAP, 3), 255, np.uint8)
    return np.concatenate([part for block in blocks for part in (block, gap)][:-1], axis=1)


def strip(episode: Episode) -> np.ndarray:
    """Both views at even moments, side above wrist."""
    moments = np.linspace(0, len(episode), COLUMNS).astype(int)[1::2]
    rows = [np.concatenate([cv2.resize(episode.frames[view][t], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                            for t in moments], axis=1) for view in VIEWS]
    return np.concatenate([*rows, np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--relocations", type=int, default=8)
    parser.add_argument("--depth-noise", type=float, default=0.0, help="sigma / z^2, 1/m; a D435i 0.005")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    tune_for_torch()
    if args.picture:
        args.picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.picture), picture(args.seeds[0])[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        return
    twin = TwinOptions(depth_noise=args.depth_noise, depth_holes=args.depth_noise > 0)
    rows = []
    for name in args.tasks:
        for seed in args.seeds:
            rows.append({**measure(name, seed, args.relocations, twin), "depth_noise": args.depth_noise,
                         "commit": describe_commit(), "machine": describe_machine()})
            print(json.dumps(rows[-1]), flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
