"""The robot's own pixels of one shot, kept so that they can be drawn at another pose."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ws_rollouts.task import Task
from ws_world_model.scene.shots import Shot

OVERSAMPLING = 2  # pixels drawn for each of the policy's, along a side
BESIDE = 40  # px of the camera around the crop in which the arm's pixels are kept
HAND_DEPTH = 0.10  # m, of the robot's pixels in the wrist view that are too near to measure


@dataclass(frozen=True)
class Arm:
    """In the side view: tool (3,) m, opening, and N pixels as points in their links' frames; link (N,) int8, local
    (N, 3) float32 m, rgb (N, 3) uint8."""

    tool: np.ndarray
    opening: float
    link: np.ndarray
    local: np.ndarray
    rgb: np.ndarray

    def placed(self, rotations: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The points in base_link, (N, 3) float32 m, for these poses of the links."""
        xyz = np.einsum("nij,nj->ni", rotations[self.link], self.local) + positions[self.link]
        return xyz.astype(np.float32)


@dataclass(frozen=True)
class Hand:
    """In the wrist view, as large as it is drawn: color (P, P, 3) uint8 times alpha, alpha (P, P) and depth (P, P) m
    float32."""

    opening: float
    color: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


def arm_pixels(shot: Shot, task: Task) -> Arm:
    """The arm around the task's crop of the side view."""
    seen = shot.views["side"]
    x, y, width, height = task.crop("side")
    mask = np.zeros(seen.link.shape, bool)
    rows, columns = (slice(max(a - BESIDE, 0), a + size + BESIDE) for a, size in ((y, height), (x, width)))
    mask[rows, columns] = (seen.link >= 0)[rows, columns]
    link = seen.link[mask]
    local = np.einsum("nij,ni->nj", shot.rotations[link], seen.points[mask] - shot.positions[link])
    return Arm(shot.tool, shot.opening, link, local.astype(np.float32), seen.color[mask])


def hand_pixels(shot: Shot, task: Task) -> Hand:
    """The gripper in the task's crop of the wrist view."""
    seen = shot.views["wrist"]
    x, y, width, height = task.crop("wrist")
    crop = slice(y, y + height), slice(x, x + width)
    mask = (seen.link >= 0)[crop].astype(np.float32)
    size = (OVERSAMPLING * task.image_size,) * 2

    def shrunk(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    alpha = shrunk(mask)
    measured = shrunk(seen.depth[crop] * mask) / np.maximum(alpha, 1e-6)
    depth = np.where(alpha > 0, measured, HAND_DEPTH).astype(np.float32)
    return Hand(shot.opening, shrunk(seen.color[crop] * mask[..., None]).round().astype(np.uint8), alpha, depth)
