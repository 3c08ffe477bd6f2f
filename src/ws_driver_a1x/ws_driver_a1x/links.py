"""Where every link of the robot is, and the boxes that enclose it: from the robot description alone."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_driver_a1x.kinematics import JOINTS, robot_description

FINGERS = ("gripper_finger_joint1", "gripper_finger_joint2")
FINGER_TRAVEL = 0.05  # m, of each finger from closed to open


class Links:
    """Forward kinematics of all links, frame base_link. Not thread-safe.

    names (L,); boxes as three arrays over B boxes: `box_link` (B,) index of a link, `box_centre` and `box_half` (B, 3)
    m in that link's frame.
    """

    def __init__(self):
        spec = mujoco.MjSpec.from_string(robot_description(True))
        spec.compiler.fusestatic = False
        spec.compiler.discardvisual = False  # the cameras have looks alone
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        model = self._model
        self.names = tuple(model.body(i).name for i in range(model.nbody))
        self._arm = [model.joint(name).qposadr[0] for name in JOINTS]
        self._fingers = [model.joint(name).qposadr[0] for name in FINGERS]
        if np.any(model.geom_type != mujoco.mjtGeom.mjGEOM_BOX):
            raise ValueError("robot description: every shape must be a box")
        rows = np.column_stack([model.geom_bodyid, model.geom_pos, model.geom_size])
        rows = np.unique(rows.round(6), axis=0)  # a link's looks and what collides of it are the same boxes
        self.box_link, self.box_centre, self.box_half = rows[:, 0].astype(np.int64), rows[:, 1:4], rows[:, 4:7]

    def index(self, name: str) -> int:
        """Of a link. Raises ValueError for an unknown one."""
        return self.names.index(name)

    def poses(self, joints: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (L, 3, 3) and positions (L, 3) m for joints (6,) rad and `opening` 0 closed .. 1 open."""
        self._data.qpos[self._arm] = joints
        self._data.qpos[self._fingers] = opening * FINGER_TRAVEL, -opening * FINGER_TRAVEL
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.xmat.reshape(-1, 3, 3).copy(), self._data.xpos.copy()
