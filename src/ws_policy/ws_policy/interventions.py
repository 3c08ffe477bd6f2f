"""Who drives: the human while the deadman is held and fresh, else the policy; exactly one at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ws_rollouts.episode import DEMONSTRATION, HUMAN, POLICY
from ws_rollouts.task import Task

DEADMAN, SUCCESS, FAILURE = 0, 1, 2  # Joy.buttons; axes are the translations, then the gripper class


class Joystick:
    """The newest joy message. A stale or broken one counts as hands off."""

    def __init__(self, task: Task, stale: float = 0.3):
        self.rejected = 0
        self._size = task.action_size
        self._fixed_gripper = task.gripper == "fixed"
        self._stale = stale
        self._received = -np.inf
        self._action = np.zeros(self._size, np.float32)
        self._buttons = (1, 1, 1)  # a button that is down at the start has not been pressed

    def offer(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> tuple[int, ...]:
        """Take a message; returns the buttons that went down with it. `now` monotonic s."""
        axes = np.asarray(axes, np.float32)
        if len(axes) < self._size or len(buttons) < 1 or not np.isfinite(axes[: self._size]).all():
            self.rejected += 1
            self._received = -np.inf
            return ()
        action = np.clip(axes[: self._size], -1.0, 1.0)
        action[-1] = 0.0 if self._fixed_gripper else np.round(action[-1])
        buttons = tuple(int(bool(b)) for b in buttons[:3]) + (0,) * max(0, 3 - len(buttons))
        pressed = tuple(i for i, (new, old) in enumerate(zip(buttons, self._buttons, strict=True)) if new and not old)
        self._action, self._buttons, self._received = action, buttons, now
        return pressed

    def action(self, now: float) -> np.ndarray | None:
        """The human's action (A,) float32, or None when no human drives."""
        fresh = now - self._received <= self._stale
        return self._action.copy() if fresh and self._buttons[DEADMAN] else None


def decide(
    human: np.ndarray | None, policy: Callable[[], np.ndarray], demonstrating: bool
) -> tuple[np.ndarray, int]:
    """The action of this step and its source; the policy is asked only when no human drives.

    Raises ValueError when a demonstration has no human: the policy never acts in one.
    """
    if human is None:
        if demonstrating:
            raise ValueError("a demonstration needs a human")
        return policy(), POLICY
    return human, DEMONSTRATION if demonstrating else HUMAN
