"""Weights on the wire and at rest: safetensors bytes, and the checks that refuse all others."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

MAX_HEADER = 100_000  # bytes; a safetensors header longer than this is an attack, not a policy
MAX_BYTES = 64 << 20


class WeightsError(ValueError):
    """Weights that must not be used; the text says why."""


@dataclass(frozen=True)
class Packet:
    """The fields of ws_interfaces/PolicyWeights without the header."""

    session: str
    version: int
    learner_step: int
    architecture: str
    length: int
    sha256: str
    data: bytes


def architecture(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the sorted (name, dtype, shape) of all tensors."""
    rows = sorted((name, str(t.dtype), list(t.shape)) for name, t in tensors.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def arrays(module) -> dict[str, np.ndarray]:
    """State of a torch module as NumPy arrays (copies)."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def pack(tensors: Mapping[str, np.ndarray], session: str, version: int, learner_step: int) -> Packet:
    """Serialise tensors for the topic or a file."""
    tensors = {name: np.ascontiguousarray(t) for name, t in tensors.items()}
    metadata = {"session": session, "version": str(version), "learner_step": str(learner_step)}
    data = safetensors.numpy.save(tensors, metadata=metadata)
    digest = hashlib.sha256(data).hexdigest()
    return Packet(session, version, learner_step, architecture(tensors), len(data), digest, data)


def unpack(
    packet: Packet,
    expected_architecture: str,
    *,
    session: str = "",
    newer_than: int = -1,
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """Check a packet, cheapest test first, and return its tensors.

    Within one `session` the version must be above `newer_than`; another session starts afresh.
    Raises WeightsError with the reason.
    """
    if packet.length != len(packet.data) or packet.length > max_bytes:
        raise WeightsError(f"length {len(packet.data)}: {packet.length} announced, {max_bytes} allowed")
    if hashlib.sha256(packet.data).hexdigest() != packet.sha256:
        raise WeightsError("SHA-256 does not match: corrupted on the way")
    tensors = load(packet.data, expected_architecture)
    if packet.session == session and packet.version <= newer_than:
        raise WeightsError(f"version {packet.version} is not newer than {newer_than}")
    return tensors


def load(data: bytes, expected_architecture: str = "") -> dict[str, np.ndarray]:
    """Tensors of safetensors bytes, all finite and, where one is given, of the expected architecture.

    Raises WeightsError with the reason.
    """
    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > min(MAX_HEADER, len(data) - 8):
        raise WeightsError("not a safetensors file, or its header is too long")
    try:
        tensors = safetensors.numpy.load(data)
    except Exception as error:
        raise WeightsError(f"not readable as safetensors: {error}") from error
    if expected_architecture and architecture(tensors) != expected_architecture:
        raise WeightsError("another architecture: tensor names, shapes or dtypes differ from this policy's")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{name} is not finite")
    return tensors


def metadata(data: bytes) -> dict[str, str]:
    """Session, version and learner step written into safetensors bytes that `load` has accepted."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]).get("__metadata__", {})
