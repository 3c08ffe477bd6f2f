"""The policy's steps and frames, put together again as they come: an observation is all that has one stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ws_rollouts import messages
from ws_rollouts.episode import STATE_SIZE, VIEWS
from ws_rollouts.frames import decode_frame
from ws_rollouts.schema import FRAMES, IMAGE_TYPE, STEP, STEP_TYPE
from ws_rollouts.task import Task

TOPICS = (*FRAMES.values(), STEP)
_MOST = 20  # stamps of which parts are missing


@dataclass(frozen=True)
class Observation:
    """frames[view] (S, S, 3) uint8, state (13,) float32, both of observation `index`; `ended`: the episode's last."""

    stamp: int  # ns
    episode_id: str
    index: int
    ended: bool
    state: np.ndarray
    frames: dict[str, np.ndarray]


class Observations:
    """Takes serialised messages in any order. What stays without its other parts is counted in `lost`."""

    def __init__(self, task: Task):
        self.lost = 0
        self._task = task
        self._open: dict[int, dict[str, Any]] = {}  # stamp -> topic -> step or frame

    def offer(self, topic: str, raw: bytes) -> Observation | None:
        """The observation that this message of one of TOPICS completes. Raises ValueError for one of no use."""
        stamp, content = self._step(raw) if topic == STEP else self._frame(topic, raw)
        parts = self._open.setdefault(stamp, {})
        parts[topic] = content
        if len(parts) == len(TOPICS):
            self._drop([other for other in self._open if other < stamp])
            return _observation(stamp, self._open.pop(stamp))
        self._drop(sorted(self._open)[:-_MOST])
        return None

    def _drop(self, stamps: list[int]) -> None:
        self.lost += len(stamps)
        for stamp in stamps:
            del self._open[stamp]

    def _step(self, raw: bytes) -> tuple[int, Any]:
        step = messages.decode(raw, STEP_TYPE)
        if step.task != self._task.name:
            raise ValueError(f"{STEP}: is of task {step.task!r}, not {self._task.name!r}")
        if step.state.shape != (STATE_SIZE,) or not np.isfinite(step.state).all():
            raise ValueError(f"{STEP}: state must be {STATE_SIZE} finite numbers")
        return messages.nanoseconds(step.header.stamp), step

    def _frame(self, topic: str, raw: bytes) -> tuple[int, np.ndarray]:
        try:
            stamp, frame = decode_frame(raw, IMAGE_TYPE)
        except ValueError as error:
            raise ValueError(f"{topic}: {error}") from error
        if len(frame) != self._task.image_size:
            raise ValueError(f"{topic}: is {len(frame)} px wide, must be {self._task.image_size}")
        return stamp, frame


def _observation(stamp: int, parts: dict[str, Any]) -> Observation:
    step = parts[STEP]
    frames = {view: parts[FRAMES[view]] for view in VIEWS}
    return Observation(stamp, step.episode_id, step.index, step.terminated or step.truncated, step.state, frames)
