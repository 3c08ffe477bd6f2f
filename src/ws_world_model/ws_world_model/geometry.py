"""What the robot's known geometry says about a future view: the same pixels, seen from where the camera will be.

No candidate is right everywhere. Each is right for a part of the picture, and the network chooses per pixel: what
stands still (the start and the memory as they are), what moves with the tool (shifted in the side view, fixed in the
wrist view), and what lies at a known height under the moving wrist camera (a homography for each height).
"""

from __future__ import annotations

import cv2
import numpy as np

from ws_rollouts.episode import STATE
from ws_world_model.calibration import Calibration

PERIOD = 0.1  # s, of a step
HEIGHTS = (-0.04, 0.05, 0.10, 0.15)  # m in base_link: the table, and what stands on it
MEMORY_HEIGHTS = (-0.04, 0.10)
SIDE_CANDIDATES = 3
WRIST_CANDIDATES = 1 + len(HEIGHTS) + len(MEMORY_HEIGHTS)
CHANNELS = 3 * (SIDE_CANDIDATES + WRIST_CANDIDATES) + 2  # and the place relative to the tool in the side view
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def pose_when_exposed(state: np.ndarray, before: np.ndarray | None, age: np.ndarray) -> np.ndarray:
    """Proprioception (N, 13) at the time of frames that are `age` (N,) s older than the steps' `state` (N, 13).

    Between the states one step apart it moves straight; without `before`, by the velocity.
    """
    moved = state[:, STATE["velocity"]] * PERIOD if before is None else (state - before)[:, STATE["position"]]
    exposed = state.copy()
    exposed[:, STATE["position"]] -= moved * np.clip(age / PERIOD, 0.0, 1.0)[:, None]
    return exposed


class Projector:
    """Candidates for frames at given poses. All images (S, S, 3) uint8; what was not seen is black."""

    def __init__(self, calibration: Calibration):
        self._cameras = calibration
        self._size = calibration.size
        ramp = np.arange(-2 * self._size, 2 * self._size)
        self._ramp = np.clip(128 + 127 * ramp / self._size, 0, 255).astype(np.uint8)

    def plane_warps(self, image: np.ndarray, source: np.ndarray, poses: np.ndarray, heights) -> np.ndarray:
        """A wrist frame, taken at `source` (13,), as seen from `poses` (N, 13) if all lay at a height.

        Returns (N, S, S, 3 len(heights)) uint8. The homography of a plane between two views: Hartley and Zisserman,
        Multiple View Geometry, section 13.1.
        """
        size, camera = self._size, self._cameras.wrist
        here, turned = self._cameras.wrist_pose(poses)
        (there,), (source_turned,) = self._cameras.wrist_pose(source[None])
        inverse = np.linalg.inv(camera.matrix)
        out = np.empty((len(poses), size, size, 3 * len(heights)), np.uint8)
        for j, height in enumerate(heights):
            drop = np.minimum(height - here[:, 2], -0.02)  # the camera stays above what it looks at
            shift = np.zeros((len(poses), 3, 3))
            shift[:, :, 2] = (here - there) / drop[:, None]
            maps = camera.matrix @ source_turned.T @ (np.eye(3) + shift) @ turned @ inverse
            for n, matrix in enumerate(maps):
                out[n, ..., 3 * j : 3 * j + 3] = cv2.warpPerspective(image, matrix, (size, size), flags=_WARP)
        return out

    def tool_pixels(self, states: np.ndarray) -> np.ndarray:
        """(N, 13) -> (N, 3): column, row in px and depth in m of the tool in the side view."""
        return self._cameras.side.project(states[:, STATE["position"]])

    def tool_shifts(self, image: np.ndarray, source: np.ndarray, tools: np.ndarray) -> np.ndarray:
        """A side frame, with the tool at `source` (3,), as if all had moved with it to `tools` (N, 3) (tool_pixels)."""
        out = np.empty((len(tools), self._size, self._size, 3), np.uint8)
        for n, (column, row, depth) in enumerate(tools):
            grow = depth / source[2]
            matrix = np.array([[grow, 0, source[0] - grow * column], [0, grow, source[1] - grow * row]])
            out[n] = cv2.warpAffine(image, matrix, (self._size, self._size), flags=_WARP)
        return out

    def places(self, tools: np.ndarray) -> np.ndarray:
        """(N, S, S, 2) uint8: each pixel's column and row relative to the tool in the side view, 128 at the tool."""
        size = self._size
        out = np.empty((len(tools), size, size, 2), np.uint8)
        first = np.clip(np.round(2 * size - tools[:, :2]).astype(int), 0, 3 * size)
        for n, (column, row) in enumerate(first):
            out[n, ..., 0] = self._ramp[column : column + size]
            out[n, ..., 1] = self._ramp[row : row + size, None]
        return out

    def candidates(self, start: dict, memory: dict, sources: dict, poses: dict) -> np.ndarray:
        """All candidates of one sequence, (N, S, S, CHANNELS) uint8: side, then wrist, then the places.

        `start` and `memory`: view -> (S, S, 3). `sources`: view -> (2, 13), where these two were taken. `poses`:
        view -> (N, 13), where the future frames are taken.
        """
        count, size = len(poses["side"]), self._size
        out = np.empty((count, size, size, CHANNELS), np.uint8)
        tools = self.tool_pixels(poses["side"])
        out[..., 0:3], out[..., 3:6] = start["side"], memory["side"]
        out[..., 6:9] = self.tool_shifts(start["side"], self.tool_pixels(sources["side"])[0], tools)
        out[..., 9:12] = start["wrist"]
        middle = 12 + 3 * len(HEIGHTS)
        out[..., 12:middle] = self.plane_warps(start["wrist"], sources["wrist"][0], poses["wrist"], HEIGHTS)
        out[..., middle:-2] = self.plane_warps(memory["wrist"], sources["wrist"][1], poses["wrist"], MEMORY_HEIGHTS)
        out[..., -2:] = self.places(tools)
        return out
