"""Kinematics of the A1X: forward, velocity and differential inverse, on the model MuJoCo compiles from our URDF."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import daqp
import mink
import mujoco
import numpy as np
import xacro
from mink import NoSolutionFound

JOINTS = tuple(f"arm_joint{i}" for i in range(1, 7))
TOOL = "gripper_link"
# Costs of the inverse per m and per rad; the posture only decides where the two leave the arm free.
POSITION_COST, ORIENTATION_COST, POSTURE_COST, DAMPING = 1.0, 0.3, 1e-3, 1e-6
MAX_JOINT_STEP = 0.3  # rad per iteration: keeps the linear model honest


@lru_cache(maxsize=4)
def robot_description(cameras: bool = True) -> str:
    """The URDF as text."""
    source = resources.files("ws_driver_a1x") / "urdf" / "a1x.urdf.xacro"
    with resources.as_file(source) as path:
        return xacro.process_file(str(path), mappings={"cameras": str(cameras).lower()}).toprettyxml(indent="  ")


def arm_model() -> mujoco.MjModel:
    """The six arm joints alone: bodies without shapes, fingers fixed."""
    spec = mujoco.MjSpec.from_string(robot_description(False))
    spec.compiler.fusestatic = False  # keeps gripper_link, which hangs on a fixed joint
    for joint in spec.joints:
        if joint.name not in JOINTS:
            spec.delete(joint)
    for geom in spec.geoms:
        spec.delete(geom)
    for equality in spec.equalities:
        spec.delete(equality)
    return spec.compile()


class Kinematics:
    """Frame base_link, controlled point gripper_link; joints (6,) rad in the order of JOINTS. Not thread-safe."""

    def __init__(self, limit_margin: float = np.radians(3.0)):
        """`limit_margin`: how far inside the URDF's joint limits the inverse stays, rad."""
        self.model = arm_model()
        self.lower, self.upper = self.model.jnt_range.T.copy()
        self.soft_lower, self.soft_upper = self.lower + limit_margin, self.upper - limit_margin
        self.model.jnt_range[:] = np.column_stack((self.soft_lower, self.soft_upper))
        self._data = mujoco.MjData(self.model)
        self._tool = self.model.body(TOOL).id
        self._configuration = mink.Configuration(self.model)
        self._frame = mink.FrameTask(TOOL, "body", POSITION_COST, ORIENTATION_COST)
        size = len(JOINTS)
        self._posture = POSTURE_COST * np.eye(size)
        self._unconstrained, self._free = np.zeros((0, size)), np.zeros(size, np.intc)

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) m and rotation (3, 3) of gripper_link."""
        self._place(joints)
        return self._data.xpos[self._tool].copy(), self._data.xmat[self._tool].reshape(3, 3).copy()

    def link_offsets(self) -> np.ndarray:
        """Where each joint's link hangs on its parent, (6, 3) m."""
        return self.model.body_pos[self.model.jnt_bodyid].copy()

    def link_turns(self, joints: np.ndarray) -> np.ndarray:
        """How each joint's link is turned against its parent: quaternions (6, 4), x y z w."""
        half = 0.5 * np.asarray(joints, float)[:, None]  # at zero all frames are parallel
        return np.hstack((self.model.jnt_axis * np.sin(half), np.cos(half)))

    def jacobian(self, joints: np.ndarray) -> np.ndarray:
        """(6, 6): linear m, then angular rad, per rad."""
        self._place(joints)
        mujoco.mj_comPos(self.model, self._data)
        jacobian = np.zeros((6, 6))
        mujoco.mj_jacBody(self.model, self._data, jacobian[:3], jacobian[3:], self._tool)
        return jacobian

    def condition(self, joints: np.ndarray) -> float:
        """Condition number of the Jacobian, metres and radians mixed; grows towards a singularity."""
        return float(np.linalg.cond(self.jacobian(joints)))

    def clip(self, joints: np.ndarray) -> np.ndarray:
        """The nearest joints inside the soft limits."""
        return np.clip(joints, self.soft_lower, self.soft_upper)

    def differential(self, joints: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """One step of the inverse: joints (6,) after it, inside the soft limits.

        Minimises the weighted pose error of the linearised arm and the step's length, within bounds of each joint: as
        `mink.solve_ik` would with a posture task and both limits, at a third of its time. Raises NoSolutionFound.
        """
        start = self.clip(joints)
        self._configuration.update(start)
        turn = mink.SO3.from_matrix(np.asarray(rotation, float))
        self._frame.set_target(mink.SE3.from_rotation_and_translation(turn, np.asarray(position, float)))
        jacobian, error, _ = self._frame.compute_qp_residual(self._configuration)
        weighted = np.vstack((jacobian, self._posture))
        hessian = weighted.T @ weighted
        hessian.flat[:: len(hessian) + 1] += DAMPING
        gradient = -(np.append(error, np.zeros(len(start))) @ weighted)
        low = np.maximum(self.soft_lower - start, -MAX_JOINT_STEP)
        high = np.minimum(self.soft_upper - start, MAX_JOINT_STEP)
        step, _, flag, _ = daqp.solve(hessian, gradient, self._unconstrained, high, low, self._free)
        if flag <= 0:
            raise NoSolutionFound("daqp")
        return self.clip(start + step)

    def solve(self, joints: np.ndarray, position: np.ndarray, rotation: np.ndarray,
              iterations: int = 10, tolerance: float = 1e-4) -> tuple[np.ndarray, float, float]:
        """Repeat `differential` from `joints` until the error is below `tolerance` (m and rad).

        Returns joints (6,), and what is left of the error: m, rad. Never raises for an unreachable pose.
        """
        joints = self.clip(joints)
        left = self._error(joints, position, rotation)
        for _ in range(iterations):
            if max(left) <= tolerance:
                break
            try:
                joints = self.differential(joints, position, rotation)
            except NoSolutionFound:
                break
            left = self._error(joints, position, rotation)
        return joints, *left

    def _place(self, joints: np.ndarray) -> None:
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self.model, self._data)

    def _error(self, joints: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> tuple[float, float]:
        at, turned = self.forward(joints)
        cosine = (np.trace(turned.T @ rotation) - 1.0) / 2.0
        sine = np.linalg.norm(turned.T @ rotation - rotation.T @ turned) / np.sqrt(8.0)
        return float(np.linalg.norm(at - position)), float(np.arctan2(sine, cosine))
