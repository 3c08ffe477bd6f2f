"""Pick and place: an eggplant beside a plate, to be laid on the plate."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.objects import GRIP, PLATE_TOP, add_plate, add_thing, firm_grip, let_go, put
from ws_twin_a1x.scenes.shapes import add_mesh, lathe, lay
from ws_twin_a1x.scenes.stage import add_geom, place

PLATE, EGGPLANT = (0.300, -0.075), (0.285, 0.085)  # m, nominal places
THICK, THIN = 0.021, 0.017  # m, radii of its two ends
RESTING = PLATE_TOP + THICK + 0.012  # m over the plate's foot, at most, when it lies on the plate
_SKIN = ((0, -0.060), (0.010, -0.058), (0.017, -0.050), (0.021, -0.035), (0.022, -0.018), (0.020, 0.005),
         (0.017, 0.028), (0.014, 0.040), (0, 0.041))
_CALYX = ((0, 0.036), (0.0155, 0.036), (0.012, 0.044), (0.006, 0.052), (0.0045, 0.068), (0, 0.069))
PURPLE, GREEN = (0.20, 0.07, 0.24, 1), (0.55, 0.66, 0.30, 1)


class PickPlace:
    """See `ws_twin_a1x.scenes.Scene`. Poses: "eggplant" is its middle, "plate" the middle of its foot."""

    def __init__(self, task: Task):
        self._task = task

    def build(self, spec: mujoco.MjSpec) -> None:
        firm_grip(spec)
        add_plate(spec, [*PLATE, self._task.table])
        eggplant = add_thing(spec, "eggplant", 0.10, (0.06, 0.02, 0.02))
        add_mesh(eggplant, spec, "skin", lay(lathe(_SKIN)), PURPLE)
        add_mesh(eggplant, spec, "calyx", lay(lathe(_CALYX, 10)), GREEN)
        capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
        for radius, ends in ((THICK, (-0.036, 0.0)), (THIN, (0.0, 0.026))):
            geom = add_geom(eggplant, capsule, (radius,), (0, 0, 0), PURPLE, touch=True, condim=6, friction=GRIP,
                            fromto=[ends[0], 0, 0, ends[1], 0, 0])
            geom.group = 3

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        place(model, data, "plate", self._task, PLATE, rng)
        x, y, yaw = rng.uniform(-1, 1, 3) * self._task.scatter
        put(data, "eggplant", (EGGPLANT[0] + x, EGGPLANT[1] + y, self._task.table + THICK), yaw)

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        pass

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        aside, height = self._gap(data)
        return aside < self._task.success_tolerance and height < RESTING and let_go(model, data, "eggplant")

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        if self.success(model, data):
            return 1.0
        return 0.9 * float(np.clip(1.0 - self._gap(data)[0] / abs(EGGPLANT[1] - PLATE[1]), 0.0, 1.0))

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {name: (data.body(name).xpos.copy(), data.body(name).xquat.copy()) for name in ("eggplant", "plate")}

    def _gap(self, data: mujoco.MjData) -> tuple[float, float]:
        """How far the eggplant's middle is from the plate's axis and above its foot; m."""
        gap = data.body("eggplant").xpos - data.body("plate").xpos
        return float(np.linalg.norm(gap[:2])), float(gap[2])
