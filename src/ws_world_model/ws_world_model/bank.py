"""Side frames by pose, from many episodes: how the arm looks where the start frame does not show it.

The arm looks the same in every episode at the same pose. A frame of another episode, taken at almost the pose that is
to be drawn, therefore shows it, with its shading and all its links, before another background.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from scipy.spatial import cKDTree

from ws_rollouts.episode import STATE, STATE_SIZE

CELL = 0.012  # m: one frame is kept for each cube of this size
_NEIGHBOURS = 6


class ArmBank:
    """At most `capacity` frames, the newest of each cell; the cells that were not renewed for longest make room."""

    def __init__(self, size: int, capacity: int = 1500):
        self._size, self._capacity = size, capacity
        self._entries: OrderedDict[tuple, tuple[np.ndarray, np.ndarray, int]] = OrderedDict()
        self._tree: cKDTree | None = None
        self._flat: list[tuple[np.ndarray, np.ndarray, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, frames: np.ndarray, poses: np.ndarray, owner: int) -> None:
        """Side frames (N, S, S, 3) taken at `poses` (N, 13); `owner` is a number for their episode."""
        for frame, pose in zip(frames, poses, strict=True):
            cell = (*np.floor(pose[STATE["position"]] / CELL).astype(int), round(float(pose[STATE["gripper"]][0])))
            self._entries.pop(cell, None)
            self._entries[cell] = (frame, pose, owner)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        self._tree = None

    def nearest(self, poses: np.ndarray, owner: int = -1) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """For each of `poses` (N, 13) the frame and pose nearest to it that is not of `owner`, or None."""
        if not self._entries:
            return [None] * len(poses)
        if self._tree is None:
            self._flat = list(self._entries.values())
            self._tree = cKDTree(np.stack([_place(pose[None])[0] for _, pose, _ in self._flat]))
        neighbours = min(_NEIGHBOURS, len(self._flat))
        found = self._tree.query(_place(poses), neighbours)[1].reshape(len(poses), neighbours)
        return [self._pick(row, owner) for row in found]

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
            "bank.frames": np.array(frames, np.uint8).reshape(-1, self._size, self._size, 3),
            "bank.poses": np.array(poses, np.float32).reshape(-1, STATE_SIZE),
            "bank.owners": np.array([owner for _, _, owner in self._entries.values()], np.int64),
        }

    def load(self, tensors: dict[str, np.ndarray]) -> None:
        """Replace everything. Raises ValueError when sizes do not fit."""
        frames, poses, owners = (tensors[f"bank.{name}"] for name in ("frames", "poses", "owners"))
        if frames.shape[1:] != (self._size, self._size, 3) or poses.shape != (len(frames), STATE_SIZE):
            raise ValueError(f"bank of frames {frames.shape} and poses {poses.shape}")
        self._entries.clear()
        for frame, pose, owner in zip(frames, poses, owners, strict=True):
            self.add(frame[None], pose[None], int(owner))


def _place(poses: np.ndarray) -> np.ndarray:
    """Position in m; the gripper's opening counts as a few centimetres."""
    return np.hstack([poses[:, STATE["position"]], 0.05 * poses[:, STATE["gripper"]]])
