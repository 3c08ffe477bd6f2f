"""Simulated RealSense D435i colour cameras: intrinsics, frames and pictures."""

from __future__ import annotations

import importlib
import os

import mujoco
import numpy as np

VIEWS = ("side", "wrist")
WIDTH, HEIGHT = 424, 240
# fx, fy, cx, cy of a D435i colour stream at 424x240 (librealsense#4050, #7300; the same table in both).
INTRINSICS = (306.20, 305.32, 209.13, 118.89)
COLOR_OFFSET = 0.015  # m, colour lens in y of <name>_link (realsense2_description)
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
        principal_pixel=[WIDTH / 2 - cx, HEIGHT / 2 - cy],  # signs as MuJoCo draws it; a test looks
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


class Randomiser:
    """Moves the cameras and changes the lamp a little; a real mount repeats to 1 cm and 2 deg."""

    def __init__(self, model: mujoco.MjModel, share: float):
        self._share = share
        self._position, self._quat = model.cam_pos.copy(), model.cam_quat.copy()
        self._diffuse = model.light_diffuse.copy()

    def apply(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw anew; nothing is drawn when the share is zero."""
        if self._share == 0.0:
            return
        for i in range(model.ncam):
            model.cam_pos[i] = self._position[i] + self._share * rng.uniform(-0.01, 0.01, 3)
            turn = np.zeros(4)
            mujoco.mju_euler2Quat(turn, self._share * np.radians(rng.uniform(-2.0, 2.0, 3)), "xyz")
            mujoco.mju_mulQuat(model.cam_quat[i], self._quat[i], turn)
        model.light_diffuse[:] = self._diffuse * (1.0 + self._share * rng.uniform(-0.2, 0.2))


class Cameras:
    """Renders both views of a model, off screen. One GL context; use it from one thread.

    Makes its own context: `mujoco.Renderer` takes the one that MUJOCO_GL named when mujoco was first imported.
    Raises RuntimeError when that is not possible.
    """

    def __init__(self, model: mujoco.MjModel, shadows: bool):
        self._gl = _gl_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._rect = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        for flag, on in (("SHADOW", shadows), ("REFLECTION", shadows), ("SKYBOX", False), ("HAZE", False)):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = on
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = [0, 0, 1, 0, 0, 0]  # 2 is looks, 3 is collision
        self._options.sitegroup[:] = 0
        self._model = model

    def render(self, data: mujoco.MjData, view: str) -> np.ndarray:
        """Picture of `view` ("side" or "wrist"): (240, 424, 3) uint8 RGB."""
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(view).id
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL,
                               self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._rect, self._context)
        return np.ascontiguousarray(picture[::-1])

    def close(self) -> None:
        """Free the GL context."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()


def _gl_context():
    """An off-screen context, EGL unless MUJOCO_GL says osmesa."""
    name = "osmesa" if os.environ.get("MUJOCO_GL") == "osmesa" else "egl"
    try:
        return importlib.import_module(f"mujoco.{name}").GLContext(WIDTH, HEIGHT)
    except Exception as error:  # a missing library shows as ImportError, AttributeError or RuntimeError
        text = f"no off-screen rendering by {name}; install libegl1 and libgl1-mesa-dri: {error}"
        raise RuntimeError(text) from None
