"""What the robot's known geometry says about a future view: the same pixels, seen from where the camera will be.

No candidate is right everywhere. Each is right for a part of the picture, and the network chooses per pixel: what
stands still (the start and the memory as they are), what moves with the tool (shifted in the side view, fixed in the
wrist view), what a bank of other episodes' frames shows of arm and fingers, and what lies at a known height under the
moving wrist camera (a homography for each height).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ws_node.options import option
from ws_rollouts.episode import STATE
from ws_world_model.calibration import Calibration

PERIOD = 0.1  # s, of a step
SIDE_CANDIDATES = 5  # start, memory, start shifted with the tool, what the bank shows, what the scene memory draws
HEIGHTS = (-0.07, -0.01)  # m, of what stands on the table, from the lowest place of gripper_link
WRIST_CANDIDATES = 3 + len(HEIGHTS)  # start, what the bank shows, start as if all lay at a height, what is drawn
PLACES = 2  # channels: each pixel's column and row relative to the tool in the side view
CHANNELS = 3 * (SIDE_CANDIDATES + WRIST_CANDIDATES) + PLACES
DRAWN = {"side": 3 * (SIDE_CANDIDATES - 1), "wrist": 3 * (SIDE_CANDIDATES + WRIST_CANDIDATES - 1)}  # first channels
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True)
class GeometryOptions:
    """What of the known geometry is used; all of it, unless one wants to know what a part is worth."""

    warps: bool = option(True, "candidates moved as tool and wrist camera move")
    memory: bool = option(True, "candidates from the episode's first frames")
    bank: bool = option(True, "arm and fingers from the nearest pose in other episodes")
    scene: bool = option(True, "candidates drawn by the scene memory, where an episode has depth and donors are there")
    layers: bool = option(True, "wrist view from a layered map of the table that both views fill")
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
        self.cameras = calibration
        self._size = calibration.size
        ramp = np.arange(-2 * self._size, 2 * self._size)
        self._ramp = np.clip(128 + 127 * ramp / self._size, 0, 255).astype(np.uint8)

    def exposed(self, state: np.ndarray, before: np.ndarray | None, age: np.ndarray) -> np.ndarray:
        """`pose_when_exposed`, or the state as it is where that is switched off."""
        return pose_when_exposed(state, before, age if self.options.exposure else np.zeros_like(age))

    def tool_pixels(self, states: np.ndarray) -> np.ndarray:
        """(N, 13) -> (N, 3): column, row in px and depth in m of the tool in the side view."""
        return self.cameras.side.project(states[:, STATE["position"]])

    def tool_shift(self, image: np.ndarray, source: np.ndarray, tool: np.ndarray) -> np.ndarray:
        """A side frame (S, S, 3) as if all of it had moved with the tool from `source` (3,) to `tool` (tool_pixels)."""
        grow = tool[2] / source[2]
        matrix = np.array([[grow, 0, source[0] - grow * tool[0]], [0, grow, source[1] - grow * tool[1]]])
        return cv2.warpAffine(image, matrix, (self._size, self._size), flags=_WARP)

    def places(self, tools: np.ndarray) -> np.ndarray:
        """(N, S, S, 2) uint8: each pixel's column and row relative to the tool in the side view, 128 at the tool."""
        size = self._size
        out = np.empty((len(tools), size, size, 2), np.uint8)
        first = np.clip(np.round(2 * size - tools[:, :2]).astype(int), 0, 3 * size)
        for n, (column, row) in enumerate(first):
            out[n, ..., 0] = self._ramp[column : column + size]
            out[n, ..., 1] = self._ramp[row : row + size, None]
        return out

    def candidates(self, start: dict, memory: dict, sources: dict, poses: dict, known: dict,
                   drawn: dict | None = None) -> np.ndarray:
        """All candidates of one sequence, (N, S, S, CHANNELS) uint8: side, then wrist, then the places.

        `start` and `memory`: view -> (S, S, 3). `sources`: view -> (2, 13), where these two were taken. `poses`:
        view -> (N, 13), where the future frames are taken. `known`: view -> for each of them a frame of the bank and
        the proprioception (13,) it belongs to, or None. `drawn`: view -> (N, S, S, 3) by the scene memory.
        """
        count, size = len(poses["side"]), self._size
        out = np.zeros((count, size, size, CHANNELS), np.uint8)
        if self.options.views != "wrist":
            self._side(out, start["side"], memory["side"], sources["side"], poses["side"], known["side"])
        if self.options.views != "side":
            self._wrist(out, start["wrist"], sources["wrist"][0], poses["wrist"], known["wrist"])
        if drawn is not None:
            for view, at in DRAWN.items():
                out[..., at : at + 3] = drawn[view]
        return out

    def _side(self, out: np.ndarray, start: np.ndarray, memory: np.ndarray, sources, poses, known) -> None:
        tools = self.tool_pixels(poses)
        out[..., 0:3] = start
        if self.options.memory:
            out[..., 3:6] = memory
        if self.options.warps:
            source = self.tool_pixels(sources)[0]
            for n, tool in enumerate(tools):
                out[n, ..., 6:9] = self.tool_shift(start, source, tool)
            out[..., -PLACES:] = self.places(tools)
        for n, entry in enumerate(known):
            if entry is not None:
                out[n, ..., 9:12] = self.tool_shift(entry[0], self.tool_pixels(entry[1][None])[0], tools[n])

    def _wrist(self, out: np.ndarray, start: np.ndarray, source: np.ndarray, poses: np.ndarray, known) -> None:
        """The homography of a plane between two views: Hartley and Zisserman, Multiple View Geometry, section 13.1."""
        at = 3 * SIDE_CANDIDATES
        out[..., at : at + 3] = start
        at += 3
        for n, entry in enumerate(known):
            if entry is not None:
                out[n, ..., at : at + 3] = entry[0]
        if not self.options.warps:
            return
        matrix, (there,), (turned,) = self.cameras.wrist.matrix, *self.cameras.wrist_pose(source[None])
        here, turns = self.cameras.wrist_pose(poses)
        for height in self.cameras.lowest + np.array(HEIGHTS):
            at += 3
            shift = np.zeros((len(poses), 3, 3))
            drop = np.minimum(height - here[:, 2], -0.02)  # the camera stays above what it looks at
            shift[:, :, 2] = (here - there) / drop[:, None]
            maps = matrix @ turned.T @ (np.eye(3) + shift) @ turns @ np.linalg.inv(matrix)
            for n, each in enumerate(maps):
                out[n, ..., at : at + 3] = cv2.warpPerspective(start, each, (self._size, self._size), flags=_WARP)
