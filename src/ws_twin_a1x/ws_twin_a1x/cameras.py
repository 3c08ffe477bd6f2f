"""Simulated RealSense D435i colour cameras: intrinsics, frames and pictures."""

from __future__ import annotations

import mujoco
import numpy as np

VIEWS = ("side", "wrist")
WIDTH, HEIGHT = 424, 240
# fx, fy, cx, cy of a D435i colour stream at 424x240 (librealsense#4050, #7300; the same table in both).
INTRINSICS = (306.20, 305.32, 209.13, 118.89)
COLOR_OFFSET = 0.015  # m, colour lens in y of <name>_link (realsense2_description)
_SENSOR = 0.0014 * WIDTH  # m; any width does, MuJoCo wants one beside pixels


def add_camera(body: mujoco.MjsBody, view: str, position: np.ndarray, forward: np.ndarray, up: np.ndarray) -> None:
    """Put the colour camera of `view` on a body: lens `position` (3,) m, viewing direction and image-up (3,) in its frame."""
    forward = np.asarray(forward, float) / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.column_stack([right, np.cross(right, forward), -forward])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    fx, fy, cx, cy = INTRINSICS
    body.add_camera(
        name=view, pos=position, quat=quat, resolution=[WIDTH, HEIGHT], sensor_size=[_SENSOR, _SENSOR * HEIGHT / WIDTH],
        focal_pixel=[fx, fy], principal_pixel=[cx - WIDTH / 2, HEIGHT / 2 - cy],
    )


def optical_in_parent(model: mujoco.MjModel, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Pose of `<view>_camera_color_optical_frame` (x right, y down, z forward) in the body that carries it: (3,) m, (3, 3)."""
    camera = model.camera(view)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, camera.quat)
    return camera.pos.copy(), rotation.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])


class Cameras:
    """Renders both views of a model; one GL context."""

    def __init__(self, model: mujoco.MjModel, shadows: bool):
        self._renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
        flags = self._renderer.scene.flags
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
            flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = shadows and flag in ("SHADOW", "REFLECTION")
        self._view = mujoco.MjvOption()
        self._view.geomgroup[3] = 0  # collision shapes
        self._view.sitegroup[:] = 0

    def render(self, data: mujoco.MjData, view: str) -> np.ndarray:
        """Picture of `view` ("side" or "wrist"): (240, 424, 3) uint8 RGB."""
        self._renderer.update_scene(data, camera=view, scene_option=self._view)
        return self._renderer.render()

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()
