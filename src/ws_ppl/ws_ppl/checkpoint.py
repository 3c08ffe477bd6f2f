"""Checkpoints: everything a learner needs to go on as if it had not stopped, in one safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from ws_policy.weights import WeightsError, arrays, load, metadata
from ws_ppl.learner import Learner

CHECKPOINT, POLICY = "learner.safetensors", "policy.safetensors"


def save(learner: Learner, folder: Path) -> None:
    """Write the checkpoint and the bare policy, each atomically; the last checkpoint stays as `*.previous`."""
    folder.mkdir(parents=True, exist_ok=True)
    agent = learner.agent
    tensors = {f"{kind}.{name}": t for kind, m in agent.modules().items() for name, t in arrays(m).items()}
    tensors["log_temperature"] = agent.log_temperature.detach().numpy().copy()
    tensors["rng.torch"] = torch.get_rng_state().numpy()
    for index, state in agent.optimiser.state_dict()["state"].items():
        tensors.update({f"optimiser.{index}.{key}": value.numpy().copy() for key, value in state.items()})
    counts = {
        "learner_step": learner.learner_step,
        "version": learner.version,
        "env_steps": learner.env_steps,
        "episodes": learner.episodes,
        "rng": learner.replay.rng.bit_generator.state,
    }
    path = folder / CHECKPOINT
    if path.exists():
        _link(path, folder / f"{CHECKPOINT}.previous")
    write_atomically(path, safetensors.numpy.save(tensors, metadata={"learner": json.dumps(counts)}))
    write_atomically(folder / POLICY, learner.packet().data)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The newest readable checkpoint as tensors and counts; None when there is none.

    Raises WeightsError when there are checkpoints and none can be read.
    """
    reasons = []
    for path in (folder / CHECKPOINT, folder / f"{CHECKPOINT}.previous"):
        if not path.exists():
            continue
        try:
            data = path.read_bytes()
            return load(data), json.loads(metadata(data)["learner"])
        except (WeightsError, KeyError, json.JSONDecodeError) as error:
            reasons.append(f"{path}: {error}")
    if reasons:
        raise WeightsError("; ".join(reasons))
    return None


def restore(learner: Learner, tensors: dict[str, np.ndarray], counts: dict) -> None:
    """Put a checkpoint's state into a learner of the same sizes; add its episodes, in their order, before or after.

    Raises WeightsError when the networks have other sizes.
    """
    agent = learner.agent
    try:
        for kind, module in agent.modules().items():
            prefix = f"{kind}."
            state = {n[len(prefix) :]: torch.from_numpy(t) for n, t in tensors.items() if n.startswith(prefix)}
            module.load_state_dict(state)
        _restore_optimiser(agent.optimiser, tensors)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"checkpoint of another architecture: {error}") from error
    agent.log_temperature.data.copy_(torch.from_numpy(tensors["log_temperature"]))
    torch.set_rng_state(torch.from_numpy(tensors["rng.torch"]))
    learner.learner_step, learner.version = counts["learner_step"], counts["version"]
    learner.replay.rng.bit_generator.state = counts["rng"]


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, np.ndarray]) -> None:
    state = optimiser.state_dict()
    state["state"] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state["state"].setdefault(int(index), {})[key] = torch.from_numpy(tensor)
    optimiser.load_state_dict(state)


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to the disk, then rename: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _link(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    os.link(path, other)
