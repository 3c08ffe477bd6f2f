"""Simulated RealSense D435i colour cameras: intrinsics, frames and pictures."""

from __future__ import annotations

import importlib
import os

import mujoco
import numpy as np

from ws_rollouts.episode import VIEWS

WIDTH, HEIGHT = 424, 240
# fx, fy, cx, cy of a D435i colour stream at 424x240 (librealsense#4050, #7300; the same table in both).
INTRINSICS = (306.20, 305.32, 209.13, 118.89)
COLOR_OFFSET = 0.015  # m, colour lens in y of <name>_link (realsense2_description)
_EDGE = 12  # px; no randomised lens sees that far beyond the nominal one
_SENSOR = 0.0014 * WIDTH  # m; any width does, MuJoCo wants one beside pixels


def add_camera(body: mujoco.MjsBody, view: str, xyz: tuple[float, ...], rpy: tuple[float, ...]) -> None:
    """Put the colour camera of `view` on a body.

    `xyz` m and `rpy` rad (as in URDF) place `<view>_camera_link` in it: x forward, y left, z up; the lens is beside.
    """
    quat, rotation = np.zeros(4), np.zeros(9)
    mujoco.mju_euler2Quat(quat, np.array(rpy), "XYZ")
    mujoco.mju_quat2Mat(rotation, quat)
    rotation = rotation.reshape(3, 3)
    forward, left, up = rotation.T
    mujoco.mju_mat2Quat(quat, np.column_stack([-left, up, -forward]).ravel())
    fx, fy, cx, cy = INTRINSICS
    body.add_camera(
        name=view, pos=xyz + COLOR_OFFSET * left, quat=quat, resolution=[WIDTH, HEIGHT],
        sensor_size=[_SENSOR, _SENSOR * HEIGHT / WIDTH], focal_pixel=[fx, fy],
        # signs as MuJoCo draws it; it counts from the picture's edge, camera_info from the first pixel's middle
        principal_pixel=[WIDTH / 2 - cx - 0.5, HEIGHT / 2 - cy - 0.5],
    )


def camera_link(model: mujoco.MjModel, view: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Where `<view>_camera_link` is (x forward, y left, z up, beside the lens as on a D435i).

    Returns the parent frame, the position in it (3,) m and the quaternion wxyz (4,).
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    parent = {"side": "base_link", "wrist": "gripper_link"}[view]
    body, camera = data.body(parent), data.camera(view)
    from_parent = body.xmat.reshape(3, 3).T
    right, up, back = camera.xmat.reshape(3, 3).T
    rotation = from_parent @ np.column_stack([-back, -right, up])
    position = from_parent @ (camera.xpos - body.xpos) - rotation @ (0.0, COLOR_OFFSET, 0.0)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    return parent, position, quat


def optical_mount(link: tuple[str, np.ndarray, np.ndarray]) -> np.ndarray:
    """(4, 4) pose of the optical frame (x right, y down, z forward) in a camera link's parent, from `camera_link`."""
    _, position, quat = link
    rotation, mount = np.zeros(9), np.eye(4)
    mujoco.mju_quat2Mat(rotation, quat)
    forward, left, up = rotation.reshape(3, 3).T
    mount[:3, :3], mount[:3, 3] = np.column_stack([-left, -up, forward]), position + COLOR_OFFSET * left
    return mount


class Cameras:
    """Renders both views of a model, off screen. One GL context; use it from one thread.

    `crops`: view -> x, y, width, height (px) of what `render` gives of it; without them the whole pictures. What is
    left out is not drawn, which saves half of the time.
    Makes its own context: `mujoco.Renderer` takes the one that MUJOCO_GL named when mujoco was first imported.
    Raises RuntimeError when that is not possible.
    """

    def __init__(self, model: mujoco.MjModel, shadows: bool, crops: dict[str, tuple[int, int, int, int]] | None = None):
        self._crops = crops or dict.fromkeys(VIEWS, (0, 0, WIDTH, HEIGHT))
        buffer = model.vis.global_  # of the size that is needed: its other pixels would be drawn too
        buffer.offwidth = max(width for _, _, width, _ in self._crops.values())
        buffer.offheight = max(height for _, _, _, height in self._crops.values())
        self._gl = _gl_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        for flag, on in (("SHADOW", shadows), ("REFLECTION", shadows), ("SKYBOX", False), ("HAZE", False)):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = on
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = [0, 0, 1, 0, 0, 0]  # 2 is looks, 3 is collision
        self._options.sitegroup[:] = 0
        self._model, self._groups, self._shadows = model, model.geom_group.copy(), shadows

    def render(self, data: mujoco.MjData, view: str) -> np.ndarray:
        """Picture of `view` ("side" or "wrist"), or its crop: (240, 424, 3) or (height, width, 3) uint8 RGB."""
        x, y, width, height = self._crops[view]
        self._draw(data, view)
        picture = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, mujoco.MjrRect(0, 0, width, height), self._context)
        return np.ascontiguousarray(picture[::-1])

    def render_rgbd(self, data: mujoco.MjData, view: str) -> tuple[np.ndarray, np.ndarray]:
        """As `render`, and the distance along the optical axis of what each pixel shows: (height, width) float32 m."""
        _, _, width, height = self._crops[view]
        self._draw(data, view)
        picture, depth = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
        mujoco.mjr_readPixels(picture, depth, mujoco.MjrRect(0, 0, width, height), self._context)
        planes, extent = self._model.vis.map, self._model.stat.extent
        near, far = planes.znear * extent, planes.zfar * extent
        return np.ascontiguousarray(picture[::-1]), near / (1.0 - depth[::-1] * (1.0 - near / far))

    def _draw(self, data: mujoco.MjData, view: str) -> None:
        x, y, _, height = self._crops[view]
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(view).id
        if not self._shadows:  # which may come from outside
            self._model.geom_group[:] = np.where(self._in_view(data, view), self._groups, 5)
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL,
                               self._scene)
        self._model.geom_group[:] = self._groups
        window = mujoco.MjrRect(-x, y + height - HEIGHT, WIDTH, HEIGHT)  # reaches over the buffer
        mujoco.mjr_render(window, self._scene, self._context)

    def close(self) -> None:
        """Free the GL context."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _in_view(self, data: mujoco.MjData, view: str) -> np.ndarray:
        """Which geoms' bounding spheres reach into the pyramid of the crop, (ngeom,) bool."""
        x, y, width, height = self._crops[view]
        fx, fy, cx, cy = INTRINSICS
        camera = data.camera(view)
        right, up, back = ((data.geom_xpos - camera.xpos) @ camera.xmat.reshape(3, 3)).T
        inside = np.ones(len(back), bool)
        for along, edge, sign in ((right, (x - cx - _EDGE) / fx, 1), (right, (x + width - cx + _EDGE) / fx, -1),
                                  (up, (cy - y - height - _EDGE) / fy, 1), (up, (cy - y + _EDGE) / fy, -1)):
            inside &= sign * (along + edge * back) > -self._model.geom_rbound * np.hypot(1.0, edge)
        return inside


def _gl_context():
    """An off-screen context, EGL unless MUJOCO_GL says osmesa."""
    name = "osmesa" if os.environ.get("MUJOCO_GL") == "osmesa" else "egl"
    try:
        return importlib.import_module(f"mujoco.{name}").GLContext(WIDTH, HEIGHT)
    except Exception as error:  # a missing library shows as ImportError, AttributeError or RuntimeError
        text = f"no off-screen rendering by {name}; install libegl1 and libgl1-mesa-dri: {error}"
        raise RuntimeError(text) from None
