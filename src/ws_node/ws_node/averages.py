"""Running averages of a network's weights, which act or judge more steadily than the newest do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class Average:
    """An exponential moving average of a module's parameters; it starts as their copy and follows faster at first."""

    def __init__(self, module: nn.Module, decay: float):
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self._decay = decay

    def follow(self, module: nn.Module, updates: int) -> None:
        """`updates` limit the decay to (1 + updates) / (10 + updates)."""
        import torch

        share = 1 - min(self._decay, (1 + updates) / (10 + updates))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), share)
