"""Trains the latent flow world model on a bag folder and says how true it is and how fast it imagines.

python benchmarks/world_model_gpu.py runs/pushing/bags --steps 50000 --output world_model_gpu.json
python benchmarks/world_model_gpu.py runs/pushing/bags --profile test --device cpu --steps 200 --batch 2

The JSON file is written anew at every evaluation: losses, PSNR and SSIM of replayed held-out episodes beside
persistence, and the time of a clip of both views. Pictures of a folder should be recorded with the task's image_size
at what the profile works in (256 px); smaller ones are enlarged, which gains nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import yaml

from ws_node.files import write_atomically
from ws_node.options import build
from ws_rollouts.bag import read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import load_task, task_names
from ws_world_model.fidelity import replay_cases, score
from ws_world_model.flow.model import PRESETS, FlowOptions, FlowWorldModel, clips_of
from ws_world_model.imagination import context_of

CLIP = 48  # frames of the clip that is timed: four chunks
REPEATS = 5


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", type=Path, help="folder of finished bags")
    parser.add_argument("--task", default="pushing", choices=task_names(), help="default: pushing")
    parser.add_argument("--profile", default="gpu", choices=sorted(PRESETS), help="default: gpu")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the profile's")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                        help="another value of an option of the profile, e.g. width=768; may be repeated")
    parser.add_argument("--steps", type=_positive, default=50_000, help="training steps")
    parser.add_argument("--batch", type=_positive, default=16, help="clips in a batch")
    parser.add_argument("--length", type=_positive, default=27, help="actions in a clip; 27: two chunks and history")
    parser.add_argument("--held-out", type=_positive, default=4, help="newest episodes that are not trained on")
    parser.add_argument("--every", type=_positive, default=2000, help="steps between two evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("world_model_gpu.json"), help="JSON file of results")
    parser.add_argument("--weights", type=Path, help="safetensors file to go on from, if there, and to write")
    return parser.parse_args(words)


def options_of(arguments: argparse.Namespace) -> FlowOptions:
    """The profile with what the command line changes. Raises ValueError that names the option."""
    values = dataclasses.asdict(PRESETS[arguments.profile]) | {"seed": arguments.seed}
    if arguments.device:
        values["device"] = arguments.device
    for word in arguments.option:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--option {word}: must be NAME=VALUE")
        values[name] = yaml.safe_load(value)
    return build(FlowOptions, values)


def episodes_of(bags: Path, task: str, length: int, held_out: int) -> tuple[list[Episode], list[Episode]]:
    """Episodes to train on, long enough for a clip, and the newest ones, which are held out.

    Raises ValueError when there are too few.
    """
    found = [read_episode(Path(s.uri)) for s in finished(bags)[0]]
    found = [e for e in found if e.task == task and len(e) > 0]
    train = [e for e in found[:-held_out] if len(e) >= length]
    if not train:
        raise ValueError(f"{bags}: {len(found)} episodes of {task}; needs {held_out} to hold out and at least one "
                         f"more of {length} actions")
    return train, found[-held_out:]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, evaluate, time; returns what the JSON file holds."""
    task, options = load_task(arguments.task), options_of(arguments)
    model = FlowWorldModel(task, options)
    train, held_out = episodes_of(arguments.bags, task.name, arguments.length, arguments.held_out)
    if arguments.weights and arguments.weights.exists():
        model.load_tensors(safetensors.numpy.load_file(arguments.weights))
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__, "options": dataclasses.asdict(options), "batch": arguments.batch,
        "length": arguments.length, "parameters": model.parameter_counts(),
        "episodes": {"trained_on": len(train), "held_out": len(held_out)}, "training": [], "fidelity": [],
    }
    random = np.random.default_rng(arguments.seed)
    for path in filter(None, (arguments.output, arguments.weights)):
        path.parent.mkdir(parents=True, exist_ok=True)
    while model.steps < arguments.steps:
        until = min(model.steps + arguments.every, arguments.steps)
        results["training"].append(_train(model, train, arguments, until, random))
        results["fidelity"].append({"step": model.steps, "rows": _fidelity(model, held_out)})
        results["clip"] = _timed(model, held_out[-1])
        if options.device == "cuda":
            results["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        write_atomically(arguments.output, json.dumps(results, indent=1).encode())
        if arguments.weights:
            write_atomically(arguments.weights, safetensors.numpy.save(model.tensors(training=True)))
        print(_line(results), flush=True)
    return results


def _train(model: FlowWorldModel, episodes: list[Episode], arguments: argparse.Namespace, until: int,
           random: np.random.Generator) -> dict[str, Any]:
    """Mean losses of the steps up to `until`, and steps per second."""
    sums: dict[str, list[float]] = {}
    began, first = time.monotonic(), model.steps
    while model.steps < until:
        chosen = [episodes[i] for i in random.integers(len(episodes), size=arguments.batch)]
        segments = [(e, int(random.integers(len(e) - arguments.length + 1))) for e in chosen]
        for name, value in model.train_step(clips_of(segments, arguments.length)).items():
            sums.setdefault(name, []).append(value)
    rate = (until - first) / (time.monotonic() - began)
    return {"step": until, "steps_per_s": rate, **{name: float(np.mean(values)) for name, values in sums.items()}}


def _fidelity(model: FlowWorldModel, episodes: list[Episode]) -> list[dict[str, Any]]:
    rows = [dataclasses.asdict(row) for row in score(model, replay_cases(episodes, CLIP)).rows]
    return [_without_nan(row) for row in rows if row["cases"]]


def _timed(model: FlowWorldModel, episode: Episode) -> dict[str, Any]:
    """Seconds for one clip of both views, from NumPy to NumPy; the first, which warms up, does not count."""
    context = dataclasses.replace(context_of(episode, 0, 1), age=np.zeros((1, CLIP + 1, len(VIEWS)), np.float32))
    actions = np.resize(episode.action[:-1], (1, CLIP, model.task.action_size))
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.monotonic()
        model.imagine(context, actions)
        seconds.append(time.monotonic() - began)
    return {"frames": CLIP, "views": len(VIEWS), "seconds": float(np.median(seconds[1:])), "all": seconds}


def _line(results: dict[str, Any]) -> str:
    pooled = [r for r in results["fidelity"][-1]["rows"] if (r["view"], r["horizon"]) == ("pooled", "full")]
    psnr = f", PSNR {pooled[0]['model']['psnr']:.2f} dB, persistence {pooled[0]['persistence']['psnr']:.2f} dB"
    losses = ", ".join(f"{name} {value:.4g}" for name, value in results["training"][-1].items())
    return f"{losses}{psnr}; {CLIP} frames of both views in {results['clip']['seconds']:.2f} s"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(v) for name, v in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _positive(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: must be at least 1")
    return value


def main(words: Sequence[str] | None = None) -> int:
    """Run; 0, or 2 with an error that says what is wrong."""
    try:
        run(parse(words))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
