"""World models as files: safetensors with a manifest that says what they are; foreign ones are refused by name."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from ws_node.files import write_atomically
from ws_node.options import build
from ws_rollouts.task import Task
from ws_world_model.calibration import CalibrationOptions
from ws_world_model.dynamics import DynamicsOptions, KinematicWorldModel
from ws_world_model.geometry import GeometryOptions

FORMAT = "worldsample world model 1"
MAX_BYTES = 4 << 30


class WorldModelError(ValueError):
    """A world-model file that must not be used; the text names the path and the reason."""


def save_world_model(model: KinematicWorldModel, path: Path, notes: Mapping[str, str] | None = None,
                     more: Mapping[str, np.ndarray] | None = None) -> None:
    """Write the model's weights, and `more` tensors under names of their own, atomically. Raises OSError."""
    tensors = {f"model.{name}": t.detach().cpu().numpy().copy() for name, t in model.state_dict().items()}
    manifest = {
        "format": FORMAT, "profile": model.profile, "task": model.task.name, "version": str(model.version),
        "image_size": str(model.task.image_size), "options": json.dumps(dataclasses.asdict(model.options)),
        "calibration": json.dumps(dataclasses.asdict(model.calibration)),
        "geometry": json.dumps(dataclasses.asdict(model.projector.options)), **(notes or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for bank in model.banks.values():
        tensors |= bank.tensors()
    write_atomically(path, safetensors.numpy.save({**tensors, **(more or {})}, metadata=manifest))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and manifest of a file of ours, all finite. Raises WorldModelError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
        if len(head) < 8 or size > MAX_BYTES or struct.unpack("<Q", head)[0] > size - 8:
            raise WorldModelError(f"{path}: not a safetensors file, or cut off")
        with safetensors.safe_open(str(path), "numpy") as file:
            manifest = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except WorldModelError:
        raise
    except Exception as error:
        raise WorldModelError(f"{path}: not readable as safetensors: {error}") from error
    if manifest.get("format") != FORMAT:
        raise WorldModelError(f"{path}: format {manifest.get('format')!r}, not {FORMAT!r}")
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise WorldModelError(f"{path}: {name} is not finite")
    return tensors, manifest


def load_world_model(path: Path, task: Task) -> KinematicWorldModel:
    """The model in a file, for this task. Raises WorldModelError for another task, profile or architecture."""
    return world_model_of(path, *read_tensors(Path(path)), task)


def world_model_of(
    path: Path, tensors: Mapping[str, np.ndarray], manifest: Mapping[str, str], task: Task
) -> KinematicWorldModel:
    """`load_world_model` from what `read_tensors` found in `path`, for who wants more of the file than the model."""
    for name, expected in (("task", task.name), ("profile", "cpu"), ("image_size", str(task.image_size))):
        if manifest.get(name) != expected:
            raise WorldModelError(f"{path}: {name} is {manifest.get(name)!r}, not {expected!r}")
    try:
        model = KinematicWorldModel(task, build(DynamicsOptions, json.loads(manifest["options"])),
                                    build(CalibrationOptions, json.loads(manifest["calibration"])),
                                    build(GeometryOptions, json.loads(manifest["geometry"])))
        model.version = int(manifest["version"])
        weights = {n.removeprefix("model."): torch.from_numpy(t) for n, t in tensors.items() if n.startswith("model.")}
        model.load_state_dict(weights)
        for bank in model.banks.values():
            bank.load(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WorldModelError(f"{path}: another architecture: {error}") from error
    return model.requires_grad_(False).eval()
