"""Checkpoints: everything a learner needs to go on as if it had not stopped, in one safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from ws_node.files import write_atomically
from ws_node.optimisers import load_state_arrays, state_arrays
from ws_policy.weights import WeightsError, arrays, load, metadata
from ws_ppl.learner import Learner

CHECKPOINT, POLICY = "learner.safetensors", "policy.safetensors"


def save(learner: Learner, folder: Path) -> None:
    """Write the checkpoint and the bare policy, each atomically; the last checkpoint stays as `*.previous`.

    Raises FloatingPointError, and writes nothing, when a weight is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    agent = learner.agent
    tensors = {f"{kind}.{name}": t for kind, m in agent.modules().items() for name, t in arrays(m).items()}
    tensors["log_temperature"] = agent.log_temperature.detach().numpy().copy()
    tensors["rng.torch"] = torch.get_rng_state().numpy()
    tensors |= state_arrays(agent.optimiser)
    broken = [name for name, values in tensors.items() if not np.isfinite(values).all()]
    if broken:
        raise FloatingPointError(f"{broken[0]} is not finite")
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
        load_state_arrays(agent.optimiser, tensors)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"checkpoint of another architecture: {error}") from error
    agent.log_temperature.data.copy_(torch.from_numpy(tensors["log_temperature"]))
    torch.set_rng_state(torch.from_numpy(tensors["rng.torch"]))
    learner.learner_step, learner.version = counts["learner_step"], counts["version"]
    learner.replay.rng.bit_generator.state = counts["rng"]


def _link(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    os.link(path, other)
