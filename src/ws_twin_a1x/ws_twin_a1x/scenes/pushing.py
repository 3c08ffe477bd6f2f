"""Pushing: a white toaster with two slices of bread; its lever is to be pressed down until it latches."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.stage import add_box, add_geom, place

CENTRE = (0.408, 0.0)  # m, nominal place of the toaster; its lever's face looks at the robot (-x)
LENGTH, WIDTH, HEIGHT, ROUNDING = 0.20, 0.13, 0.15, 0.02  # m, body along x, y, z
KNOB = (-LENGTH / 2 - 0.028, 0.0, 0.126)  # m, centre of the knob in the toaster's frame, lever up
KNOB_HALF = (0.007, 0.012, 0.005)
TRAVEL = 0.038  # m
WHITE, DARK = (0.93, 0.93, 0.91, 1), (0.12, 0.12, 0.12, 1)
CRUST, CRUMB, KNOB_COLOUR = (0.80, 0.52, 0.18, 1), (0.95, 0.78, 0.45, 1), (0.86, 0.70, 0.45, 1)
LYING = [0.7071068, 0.7071068, 0, 0]  # quaternion that turns z to y
_CYLINDER, _CAPSULE = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE


class Pushing:
    """See `ws_twin_a1x.scenes.Scene`. Poses: "lever" is the middle of the knob's top, "toaster" its foot."""

    def __init__(self, task: Task):
        self._task = task
        self._latch = TRAVEL - task.success_tolerance  # m, from which the lever stays down

    def build(self, spec: mujoco.MjSpec) -> None:
        toaster = spec.worldbody.add_body(name="toaster", mocap=True, pos=[*CENTRE, self._task.table])
        _add_shell(toaster)
        lever = toaster.add_body(name="lever", gravcomp=1.0)
        # spring 1.5 N up, 7 N at the bottom, as of a kitchen toaster; friction keeps it from chattering
        lever.add_joint(name="lever", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 0, -1], range=[0, TRAVEL],
                        stiffness=150, springref=-0.01, damping=6.0, frictionloss=0.5, armature=0.05)
        lever.mass, lever.inertia, lever.explicitinertial = 0.1, [1e-4, 1e-4, 1e-4], True
        add_box(lever, KNOB_HALF, KNOB, KNOB_COLOUR, touch=True, name="knob", friction=[0.9, 0.01, 0.001])
        add_box(lever, (0.015, 0.005, 0.003), (-LENGTH / 2 - 0.01, 0, KNOB[2]), DARK)
        for y in (-0.027, 0.027):
            _add_bread(lever, y)
        lever.add_site(name="lever", pos=[KNOB[0], KNOB[1], KNOB[2] + KNOB_HALF[2]])
        latch = spec.add_equality(name="latch", type=mujoco.mjtEq.mjEQ_JOINT, name1="lever", active=False,
                                  objtype=mujoco.mjtObj.mjOBJ_JOINT)
        latch.data[:5] = [TRAVEL, 0, 0, 0, 0]

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        place(model, data, "toaster", self._task, CENTRE, rng)
        data.eq_active[model.equality("latch").id] = 0
        data.joint("lever").qpos[0] = data.joint("lever").qvel[0] = 0.0

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        if data.joint("lever").qpos[0] >= self._latch:
            data.eq_active[model.equality("latch").id] = 1

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        return bool(data.eq_active[model.equality("latch").id])

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        pressed = float(np.clip(data.joint("lever").qpos[0] / self._latch, 0.0, 1.0))
        return 1.0 if self.success(model, data) else pressed

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        quat = data.body("toaster").xquat.copy()
        return {"lever": (data.site("lever").xpos.copy(), quat), "toaster": (data.body("toaster").xpos.copy(), quat)}


def _add_shell(toaster: mujoco.MjsBody) -> None:
    """White body with rounded edges, slots on top, a slit for the lever; one box collides."""
    x, y, z, r = LENGTH / 2, WIDTH / 2, HEIGHT, ROUNDING
    bulge = 1.03 * r  # of the round parts, drawn with 14 sides: so that no edge of a flat face peeks out
    hull = add_box(toaster, (x, y, z / 2), (0, 0, z / 2), WHITE, touch=True, name="toaster")
    hull.group = 3
    for sx, sy, top in ((x - r, y, z - r), (x, y - r, z - r), (x - r, y - r, z)):
        add_box(toaster, (sx, sy, top / 2), (0, 0, top / 2), WHITE)
    for cx in (-(x - r), x - r):
        add_geom(toaster, _CAPSULE, (bulge,), (0, 0, 0), WHITE, fromto=[cx, -(y - r), z - r, cx, y - r, z - r])
        for cy in (-(y - r), y - r):
            add_geom(toaster, _CYLINDER, (bulge, (z - r) / 2), (cx, cy, (z - r) / 2), WHITE)
    for cy in (-(y - r), y - r):
        add_geom(toaster, _CAPSULE, (bulge,), (0, 0, 0), WHITE, fromto=[-(x - r), cy, z - r, x - r, cy, z - r])
    for cy in (-0.027, 0.027):
        add_box(toaster, (0.068, 0.014, 0.001), (0, cy, z), DARK)
    add_box(toaster, (0.001, 0.006, TRAVEL / 2 + 0.012), (-x, 0, KNOB[2] - TRAVEL / 2), DARK)
    add_box(toaster, (x - 0.008, y - 0.008, 0.004), (0, 0, 0.0), DARK)


def _add_bread(lever: mujoco.MjsBody, y: float) -> None:
    """A slice that rides on the lever and sinks with it; looks only."""
    top = HEIGHT + 0.052
    for half, thick, colour in ((0.055, 0.009, CRUST), (0.050, 0.0095, CRUMB)):
        inset = 0.055 - half
        add_box(lever, (half, thick, 0.03), (0, y, top - 0.03 - 0.02), colour)
        for x in (-0.025, 0.025):
            add_geom(lever, _CYLINDER, (0.03 - inset, thick), (x, y, top - 0.03), colour, quat=LYING)
