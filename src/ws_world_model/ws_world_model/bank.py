"""Frames by pose, from many episodes: how arm and fingers look where the start frame does not show it.

The arm looks the same in every episode at the same pose, and so do the fingers, to the wrist camera, at the same
opening. A frame of another episode, taken at almost the pose that is to be drawn, therefore shows them, with their
shading and all links, before another background.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ws_rollouts.episode import STATE, STATE_SIZE

_NEIGHBOURS = 6


@dataclass(frozen=True)
class BankOptions:
    """What counts as the same pose, and as near."""

    place: float  # m: one frame is kept for each cube of this size
    opening: float  # and each such share of the gripper's opening
    metres: float  # that the whole opening counts as, when the nearest is sought
    capacity: int  # frames


BANKS = {"side": BankOptions(place=0.012, opening=0.5, metres=0.05, capacity=1500),
         "wrist": BankOptions(place=0.04, opening=0.03, metres=0.8, capacity=750)}


class FrameBank:
    """One view's frames, the newest of each cell; when full, the cells that were not renewed for longest make room."""

    def __init__(self, view: str, size: int):
        self._name, self._size, self._options = f"bank.{view}", size, BANKS[view]
        self._entries: OrderedDict[tuple, tuple[np.ndarray, np.ndarray, int]] = OrderedDict()
        self._tree: cKDTree | None = None
        self._flat: list[tuple[np.ndarray, np.ndarray, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, frames: np.ndarray, poses: np.ndarray, owner: int) -> None:
        """Frames (N, S, S, 3) taken at `poses` (N, 13); `owner` is a number for their episode."""
        sides = [self._options.place] * 3 + [self._options.opening]
        cells = np.floor(np.hstack([poses[:, STATE["position"]], poses[:, STATE["gripper"]]]) / sides).astype(int)
        for frame, pose, cell in zip(frames, poses, map(tuple, cells), strict=True):
            self._entries.pop(cell, None)
            self._entries[cell] = (frame, pose, owner)
        while len(self._entries) > self._options.capacity:
            self._entries.popitem(last=False)
        self._tree = None

    def nearest(self, poses: np.ndarray, owner: int = -1) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """For each of `poses` (N, 13) the frame and pose nearest to it that is not of `owner`, or None."""
        if not self._entries:
            return [None] * len(poses)
        if self._tree is None:
            self._flat = list(self._entries.values())
            self._tree = cKDTree(self._places(np.stack([pose for _, pose, _ in self._flat])))
        neighbours = min(_NEIGHBOURS, len(self._flat))
        found = self._tree.query(self._places(poses), neighbours)[1].reshape(len(poses), neighbours)
        return [self._pick(row, owner) for row in found]

    def _places(self, poses: np.ndarray) -> np.ndarray:
        return np.hstack([poses[:, STATE["position"]], self._options.metres * poses[:, STATE["gripper"]]])

    def _pick(self, row: np.ndarray, owner: int) -> tuple[np.ndarray, np.ndarray] | None:
        for index in row:
            frame, pose, whose = self._flat[index]
            if whose != owner:
                return frame, pose
        return None

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything, for a file."""
        frames = [frame for frame, _, _ in self._entries.values()]
        poses = [pose for _, pose, _ in self._entries.values()]
        return {
            f"{self._name}.frames": np.array(frames, np.uint8).reshape(-1, self._size, self._size, 3),
            f"{self._name}.poses": np.array(poses, np.float32).reshape(-1, STATE_SIZE),
            f"{self._name}.owners": np.array([owner for _, _, owner in self._entries.values()], np.int64),
        }

    def load(self, tensors: dict[str, np.ndarray]) -> None:
        """Replace everything. Raises ValueError when sizes do not fit."""
        frames, poses, owners = (tensors[f"{self._name}.{name}"] for name in ("frames", "poses", "owners"))
        if frames.shape[1:] != (self._size, self._size, 3) or poses.shape != (len(frames), STATE_SIZE):
            raise ValueError(f"{self._name} of frames {frames.shape} and poses {poses.shape}")
        self._entries.clear()
        for frame, pose, owner in zip(frames, poses, owners, strict=True):
            self.add(frame[None], pose[None], int(owner))
