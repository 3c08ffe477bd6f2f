"""Domain randomisation: how a world looks through two cameras, drawn anew with each world."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_twin_a1x.cameras import WIDTH

# All uniform +-, at the full level. A real mount repeats to 1 cm and 2 deg; D435i differ by 1 % and 7 px.
MOUNT, TURN = 0.01, np.radians(2.0)  # m, rad, of each camera on each axis
FOCAL, CENTRE = 0.01, 7.0  # share of the focal length; px of the principal point
LIGHT, TINT = 0.2, 0.2  # share of the lamp's brightness; of red, green and blue of whatever has one colour
LAMP = 0.3  # of the lamp's direction, a unit vector
DRAWN = ("cam_pos", "cam_quat", "cam_intrinsic", "light_diffuse", "light_dir", "geom_rgba")  # of the model


class Randomiser:
    """Changes cameras, lamp and colours of everything but the arm; `level` 0 nothing .. 1 all."""

    def __init__(self, model: mujoco.MjModel, level: float):
        self._level = level
        self._nominal = {name: getattr(model, name).copy() for name in DRAWN}
        self._pixel = model.cam_sensorsize[:, 0] / WIDTH  # m
        self._plain = model.body_rootid[model.geom_bodyid] != model.body("base_link").id
        self._colours, self._colour = np.unique(model.geom_rgba[self._plain], axis=0, return_inverse=True)

    def apply(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw anew; nothing is drawn at level 0."""
        if self._level == 0.0:
            return

        def around(scale, shape=None):
            return self._level * scale * rng.uniform(-1.0, 1.0, shape)

        nominal = self._nominal
        for i in range(model.ncam):
            model.cam_pos[i] = nominal["cam_pos"][i] + around(MOUNT, 3)
            turn = np.zeros(4)
            mujoco.mju_euler2Quat(turn, around(TURN, 3), "xyz")
            mujoco.mju_mulQuat(model.cam_quat[i], nominal["cam_quat"][i], turn)
            model.cam_intrinsic[i, :2] = nominal["cam_intrinsic"][i, :2] * (1.0 + around(FOCAL))
            model.cam_intrinsic[i, 2:] = nominal["cam_intrinsic"][i, 2:] + around(CENTRE * self._pixel[i], 2)
        model.light_diffuse[:] = nominal["light_diffuse"] * (1.0 + around(LIGHT))
        direction = nominal["light_dir"] + around(LAMP, nominal["light_dir"].shape)
        model.light_dir[:] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        tinted = self._colours.copy()
        tinted[:, :3] *= 1.0 + around(TINT, (len(tinted), 3))
        model.geom_rgba[self._plain] = np.clip(tinted, 0.0, 1.0)[self._colour.ravel()]
