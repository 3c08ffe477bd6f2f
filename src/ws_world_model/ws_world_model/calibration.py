"""Where the cameras are and how they project: the part of the robot's geometry that the world model need not learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ws_node.options import option
from ws_rollouts.episode import STATE, TOOL_DOWN
from ws_rollouts.task import Task

_LOOKS_DOWN = 0.25  # m, from the wrist camera to what it looks at
# Columns: the optical frame's right, down and forward in a camera link (x forward, y left, z up; REP 103).
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class CalibrationOptions:
    """Mounts and lenses; the defaults are those of the robot description and of a D435i colour stream at 424x240."""

    side_xyz: tuple[float, ...] = option((0.0937, -0.4062, 0.27), "side camera in base_link", unit="m", low=-3, high=3)
    side_rpy: tuple[float, ...] = option((0.0, 0.3697, 1.1479), "the same, turned", unit="rad", low=-3.2, high=3.2)
    wrist_xyz: tuple[float, ...] = option((-0.085, -0.015, 0.064), "wrist camera in gripper_link", unit="m", low=-1,
                                          high=1)
    wrist_rpy: tuple[float, ...] = option((0.0, 0.157, 0.0), "the same, turned", unit="rad", low=-3.2, high=3.2)
    lens: float = option(0.015, "colour lens left of its camera's link", unit="m", low=-0.1, high=0.1)
    focal: tuple[float, ...] = option((306.20, 305.32), "fx, fy", unit="px", low=1.0, high=1e4)
    centre: tuple[float, ...] = option((209.13, 118.89), "cx, cy", unit="px", low=0.0, high=1e4)


class Camera:
    """A pinhole in the policy's cropped and shrunk frames (S, S); pixel (0, 0) is the first pixel's middle."""

    def __init__(self, xyz, rpy, options: CalibrationOptions, crop: tuple[int, int, int, int], size: int):
        link = Rotation.from_euler("xyz", rpy).as_matrix()  # fixed axes, as in URDF
        self.position = np.asarray(xyz, float) + link[:, 1] * options.lens
        self.rotation = link @ _OPTICAL
        x, y, width, height = crop
        sx, sy = size / width, size / height
        (fx, fy), (cx, cy) = options.focal, options.centre
        # area-averaging maps the edge of the crop to the edge of the small frame, hence the halves
        self.matrix = np.array([[fx * sx, 0, (cx + 0.5 - x) * sx - 0.5], [0, fy * sy, (cy + 0.5 - y) * sy - 0.5],
                                [0, 0, 1.0]])

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m in the camera's parent frame -> (..., 3): column and row in px, depth in m."""
        seen = (np.asarray(points) - self.position) @ self.rotation
        pixel = seen @ self.matrix.T
        depth = np.maximum(seen[..., 2:], 1e-3)
        return np.concatenate([pixel[..., :2] / depth, depth], axis=-1)


class Calibration:
    """Both cameras of a task, and how low its tool goes."""

    def __init__(self, task: Task, options: CalibrationOptions | None = None):
        options = options or CalibrationOptions()
        self.size = task.image_size
        self.lowest = task.workspace_low[2]  # m in base_link, of gripper_link
        self.side = Camera(options.side_xyz, options.side_rpy, options, task.crop("side"), task.image_size)
        self.wrist = Camera(options.wrist_xyz, options.wrist_rpy, options, task.crop("wrist"), task.image_size)

    @property
    def wrist_offset(self) -> np.ndarray:
        """(2,) m in x, y of base_link: from the tool to where the wrist camera looks, when the tool points down."""
        position, forward = TOOL_DOWN @ self.wrist.position, TOOL_DOWN @ self.wrist.rotation[:, 2]
        return position[:2] + forward[:2] / -forward[2] * _LOOKS_DOWN

    def wrist_pose(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 13) proprioception -> the wrist lens in base_link: position (N, 3), optical rotation (N, 3, 3)."""
        tool = TOOL_DOWN @ Rotation.from_rotvec(state[:, STATE["rotation"]]).as_matrix()
        position = state[:, STATE["position"]] + tool @ self.wrist.position
        return position, tool @ self.wrist.rotation
