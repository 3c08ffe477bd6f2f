"""The state of a torch optimiser as named arrays, for safetensors files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_PREFIX = "optimiser."


def state_arrays(optimiser: torch.optim.Optimizer, prefix: str = _PREFIX) -> dict[str, np.ndarray]:
    """Copies of all state tensors, by prefix, parameter's number and name."""
    return {f"{prefix}{index}.{key}": value.numpy().copy()
            for index, state in optimiser.state_dict()["state"].items() for key, value in state.items()}


def load_state_arrays(
    optimiser: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray], prefix: str = _PREFIX
) -> None:
    """Replace the state by what `state_arrays` gave; names without the prefix are others'."""
    import torch

    state: dict[int, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            index, _, key = name.removeprefix(prefix).partition(".")
            state.setdefault(int(index), {})[key] = torch.from_numpy(array)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
