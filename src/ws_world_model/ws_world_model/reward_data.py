"""What the reward model learns from: labelled frames in bounded memory, drawn as shifted windows."""

from __future__ import annotations

from collections import deque

import numpy as np

from ws_rollouts.episode import STATE_SIZE, VIEWS, Episode
from ws_world_model.reward_network import WINDOW

PAD = 4  # px; random shift of DrQ (Kostrikov et al. 2020)
DONE, OPEN, UNCLEAR = 1, 0, -1
_CONFUSING = 0.3  # probability from which a frame that shows no success is a near miss


def frame_labels(steps: int, success_index: int | None, broken_off: bool = False, shown: int = 2) -> np.ndarray:
    """(steps + 1,) int8 of DONE, OPEN, UNCLEAR for the observations of an episode.

    An episode ends with the step that succeeds, and its frame may be older than its state: the last `shown` are DONE,
    two before cannot be told. What follows a success is UNCLEAR, and so are the last three observations of a recording
    that broke off.
    """
    labels = np.full(steps + 1, OPEN, np.int8)
    if success_index is not None:
        labels[max(0, success_index - shown - 1) :] = UNCLEAR
        labels[max(1, success_index - shown + 1) : success_index + 1] = DONE
    elif broken_off:
        labels[-3:] = UNCLEAR
    return labels


def near_misses(labels: np.ndarray, window: int) -> np.ndarray:
    """(N,) bool: the last `window` OPEN frames, where the task is about to be done or was just missed."""
    near = np.zeros(len(labels), bool)
    near[np.flatnonzero(labels == OPEN)[-window:]] = True
    return near


def success_index(episode: Episode) -> int | None:
    """Index of the observation at which the episode succeeded."""
    return len(episode) if episode.success else None


def checked(frames: dict[str, np.ndarray], state: np.ndarray, size: int, what: str) -> np.ndarray:
    """The frames as one array (N, views, S, S, 3) uint8. Raises ValueError that names `what` and the fault."""
    count = len(state)
    if state.shape != (count, STATE_SIZE) or count == 0:
        raise ValueError(f"{what}: state of shape {state.shape}, must be (N, {STATE_SIZE}) with N > 0")
    if not np.isfinite(state).all():
        raise ValueError(f"{what}: state is not finite at row {int(np.argmin(np.isfinite(state).all(1)))}")
    for view in VIEWS:
        if view not in frames:
            raise ValueError(f"{what}: no frames of view {view!r}")
        shape, dtype = frames[view].shape, frames[view].dtype
        if shape != (count, size, size, 3) or dtype != np.uint8:
            raise ValueError(f"{what}: {view} frames are {shape} {dtype}, must be {(count, size, size, 3)} uint8")
    return np.stack([frames[view] for view in VIEWS], axis=1)


class WindowStore:
    """A ring of `capacity` observations; the oldest trajectories make room, kept ones last."""

    def __init__(self, capacity: int, image_size: int):
        side = image_size + 2 * PAD
        self._size = image_size
        self.capacity = capacity
        self._frames = np.zeros((capacity, len(VIEWS), side, side, 3), np.uint8)  # pages are taken when written
        self._state = np.zeros((capacity, STATE_SIZE), np.float32)
        self._previous = np.zeros(capacity, np.int64)
        self._label = np.full(capacity, UNCLEAR, np.int8)
        self._near = np.zeros(capacity, bool)
        self._seen = np.zeros(capacity, np.float32)  # probability of success when last drawn
        self._free: deque[int] = deque(range(capacity))
        self._kept: deque[np.ndarray] = deque()
        self._passing: deque[np.ndarray] = deque()

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def count(self, label: int) -> int:
        """Observations of a label."""
        return int(np.sum(self._label == label))

    def add(self, images: np.ndarray, state: np.ndarray, labels: np.ndarray, near: np.ndarray, keep: bool) -> None:
        """A trajectory of N observations: (N, views, S, S, 3) uint8, (N, 13), (N,), (N,).

        Raises ValueError when it is longer than the capacity.
        """
        if len(labels) > self.capacity:
            raise ValueError(f"{len(labels)} observations do not fit a capacity of {self.capacity}")
        while len(self._free) < len(labels):
            self._evict((self._passing or self._kept).popleft())
        slots = np.array([self._free.popleft() for _ in labels])
        self._frames[slots] = np.pad(images, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
        self._state[slots], self._label[slots], self._near[slots] = state, labels, near
        self._previous[slots[1:]], self._previous[slots[0]] = slots[:-1], slots[0]
        self._seen[slots] = 0.0
        (self._kept if keep else self._passing).append(slots)

    def _evict(self, slots: np.ndarray) -> None:
        self._label[slots] = UNCLEAR
        self._free.extend(slots)

    def draw(self, label: int, count: int, near_weight: float, rng: np.random.Generator) -> np.ndarray:
        """Slots (count,) of frames with the label; near misses and what was confused `near_weight` times as often."""
        if not count:
            return np.zeros(0, np.int64)
        slots = np.flatnonzero(self._label == label)
        weight = np.ones(len(slots))
        if label == OPEN:
            weight[self._near[slots] | (self._seen[slots] > _CONFUSING)] = near_weight
        drawn = np.searchsorted(np.cumsum(weight), rng.random(count) * weight.sum(), side="right")
        return slots[np.minimum(drawn, len(slots) - 1)]

    def windows(
        self, slots: np.ndarray, forget: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images (B, WINDOW, views, S, S, 3) uint8, the newest first, and state (B, 13) float32.

        Each view is shifted at random, the same in all frames of a window. A share `forget` has no history: the
        newest frame thrice, as where a trajectory begins.
        """
        size, rows = self._size, len(slots)
        history = np.stack([slots, self._previous[slots], self._previous[self._previous[slots]]])
        history = np.where(rng.random(rows) < forget, slots, history)
        shifts = rng.integers(0, 2 * PAD + 1, (rows, len(VIEWS), 2))
        out = np.empty((rows, WINDOW, len(VIEWS), size, size, 3), np.uint8)
        for row in range(rows):
            for view, (y, x) in enumerate(shifts[row]):
                for age in range(WINDOW):
                    out[row, age, view] = self._frames[history[age, row], view, y : y + size, x : x + size]
        return out, self._state[slots]

    def remember(self, slots: np.ndarray, probabilities: np.ndarray) -> None:
        """What the model made of drawn frames."""
        self._seen[slots] = probabilities
