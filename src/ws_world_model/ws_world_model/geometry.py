"""What the robot's known geometry says about a future view: the same pixels, seen from where the camera will be.

No candidate is right everywhere. Each is right for a part of the picture, and the network chooses per pixel: what
stands still (the start and the memory as they are), what moves with the tool (shifted in the side view, fixed in the
wrist view), and what lies at a known height under the moving wrist camera (a homography for each height).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ws_node.options import option
from ws_rollouts.episode import STATE
from ws_world_model.calibration import Calibration

PERIOD = 0.1  # s, of a step
HEIGHTS = (-0.04, 0.05, 0.10, 0.15)  # m in base_link: the table, and what stands on it
MEMORY_HEIGHTS = (-0.04, 0.10)
SIDE_CANDIDATES = 3
WRIST_CANDIDATES = 1 + len(HEIGHTS) + len(MEMORY_HEIGHTS)
CONTACT_CHANNELS = 3 * (1 + len(HEIGHTS))
CHANNELS = 3 * (SIDE_CANDIDATES + WRIST_CANDIDATES) + 2  # and the place relative to the tool in the side view
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True)
class GeometryOptions:
    """What of the known geometry is used; all of it, unless one wants to know what a part is worth."""

    warps: bool = option(True, "candidates moved as tool and wrist camera move")
    memory: bool = option(True, "candidates from the episode's first frames")
    exposure: bool = option(True, "poses at the time of exposure instead of the step's")
    views: str = option("both", "views that are seen", choices=("both", "side", "wrist"))


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

    def __init__(self, calibration: Calibration, options: GeometryOptions | None = None):
        self.options = options or GeometryOptions()
        self._cameras = calibration
        self._size = calibration.size
        ramp = np.arange(-2 * self._size, 2 * self._size)
        self._ramp = np.clip(128 + 127 * ramp / self._size, 0, 255).astype(np.uint8)

    def exposed(self, state: np.ndarray, before: np.ndarray | None, age: np.ndarray) -> np.ndarray:
        """`pose_when_exposed`, or the state as it is where that is switched off."""
        return pose_when_exposed(state, before, age if self.options.exposure else np.zeros_like(age))

    def contact(self, wrist: np.ndarray, source: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The start's wrist frame (S, S, 3) as it is and as it lies under the tool at `states` (T, 13).

        Returns (T, S, S, CONTACT_CHANNELS) uint8.
        """
        out = np.zeros((len(states), *wrist.shape[:2], CONTACT_CHANNELS), np.uint8)
        if self.options.views == "side":
            return out
        out[..., :3] = wrist
        if self.options.warps:
            out[..., 3:] = self.plane_warps(wrist, source, states, HEIGHTS)
        return out

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
        out = np.zeros((count, size, size, CHANNELS), np.uint8)
        if self.options.views != "wrist":
            self._side(out, start["side"], memory["side"], sources["side"], poses["side"])
        if self.options.views != "side":
            self._wrist(out[..., 3 * SIDE_CANDIDATES : -2], start["wrist"], memory["wrist"], sources["wrist"],
                        poses["wrist"])
        return out

    def _side(self, out: np.ndarray, start: np.ndarray, memory: np.ndarray, sources, poses) -> None:
        tools = self.tool_pixels(poses)
        out[..., 0:3] = start
        if self.options.memory:
            out[..., 3:6] = memory
        if self.options.warps:
            out[..., 6:9] = self.tool_shifts(start, self.tool_pixels(sources)[0], tools)
            out[..., -2:] = self.places(tools)

    def _wrist(self, out: np.ndarray, start: np.ndarray, memory: np.ndarray, sources, poses) -> None:
        out[..., :3] = start
        if self.options.warps:
            out[..., 3 : CONTACT_CHANNELS] = self.plane_warps(start, sources[0], poses, HEIGHTS)
        if self.options.memory and self.options.warps:
            out[..., CONTACT_CHANNELS:] = self.plane_warps(memory, sources[1], poses, MEMORY_HEIGHTS)
