"""Sorting: a plate with a banana, a waffle and a seeded bun in changing places; the banana alone is to be lifted."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.objects import GRIP, PLATE_TOP, add_plate, add_slab, add_thing, firm_grip, put
from ws_twin_a1x.scenes.shapes import add_mesh, bend, lathe
from ws_twin_a1x.scenes.stage import add_box, add_geom, place

PLATE = (0.290, 0.0)  # m, nominal place
ASIDE, ALONG = 0.043, 0.036  # m from the plate's middle: the banana to a side; the others opposite, fore and aft
REACH = 0.085  # m from the plate's middle that things extend to
BANANA_YAW = 0.15  # rad, uniform +-, beside the plate's
BANANA, ARC = 0.015, 0.15  # m, radius of the banana and of its bend
LIFT = 0.05  # m over where it lay
SEEDS = 14
THINGS = {"banana": BANANA, "waffle": 0.009, "bun": 0.016}  # height (m) of each thing's middle over the plate
YELLOW, TIP = (0.95, 0.74, 0.13, 1), (0.35, 0.24, 0.08, 1)
GOLD, BROWN = (0.86, 0.62, 0.25, 1), (0.74, 0.47, 0.14, 1)
CRUST, SEED = (0.72, 0.46, 0.20, 1), (0.97, 0.92, 0.75, 1)
_PEEL = ((0.004, -0.062), (0.008, -0.056), (0.0135, -0.042), (0.016, -0.022), (0.0165, 0.0), (0.016, 0.022),
         (0.0135, 0.042), (0.008, 0.055), (0.005, 0.060))
_DOUGH = ((0, -0.016), (0.026, -0.016), (0.030, -0.010), (0.030, 0.0), (0.026, 0.010), (0.016, 0.016), (0, 0.018))


class Sorting:
    """See `ws_twin_a1x.scenes.Scene`. Poses: the middle of "banana", "waffle", "bun", and of the "plate"'s foot."""

    def __init__(self, task: Task):
        self._task = task

    def build(self, spec: mujoco.MjSpec) -> None:
        firm_grip(spec)
        # things fall asleep, which saves two thirds of the physics, only on what never moves, as plates do at resets
        spec.option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        add_slab(spec.worldbody, REACH + max(self._task.scatter[:2]), PLATE, self._task.table)
        add_plate(spec, [*PLATE, self._task.table], solid=False)
        _add_banana(spec)
        _add_waffle(spec)
        _add_bun(spec)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = place(model, data, "plate", self._task, PLATE, rng)
        side, front = rng.choice((-1, 1), 2)
        turn = rng.uniform(-BANANA_YAW, BANANA_YAW)
        middle = data.mocap_pos[model.body("plate").mocapid[0]]
        ways = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])  # the plate's x and y
        places = {"banana": (0.0, side * ASIDE, turn + np.pi * (side < 0)),  # bent around the others
                  "waffle": (front * ALONG, -side * ASIDE, 0.2), "bun": (-front * ALONG, -side * ASIDE, -0.5)}
        for name, (along, aside, own) in places.items():
            position = middle[:2] + along * ways[0] + aside * ways[1]
            put(data, name, (*position, self._rest(name)), yaw + own)

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        pass

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        others = max(self._raised(data, name) for name in ("waffle", "bun"))
        return self._raised(data, "banana") > LIFT and others < self._task.success_tolerance

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        raised = float(np.clip(self._raised(data, "banana") / LIFT, 0.0, 1.0))
        return 1.0 if self.success(model, data) else 0.9 * raised

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {name: (data.body(name).xpos.copy(), data.body(name).xquat.copy()) for name in (*THINGS, "plate")}

    def _rest(self, name: str) -> float:
        """Height of a thing's middle that lies on the plate; m."""
        return self._task.table + PLATE_TOP + THINGS[name]

    def _raised(self, data: mujoco.MjData, name: str) -> float:
        return float(data.body(name).xpos[2]) - self._rest(name)


def _add_banana(spec: mujoco.MjSpec) -> None:
    banana = add_thing(spec, "banana", 0.12, (0.06, 0.016, 0.016), (0, 0.0022, 0))
    peel = bend(lathe(_PEEL), ARC)
    add_mesh(banana, spec, "peel", peel, YELLOW)
    for name, rings in (("stem", peel[:2]), ("tip", peel[-2:])):
        add_mesh(banana, spec, name, 1.03 * (rings - rings.mean((0, 1))) + rings.mean((0, 1)), TIP)
    spine = bend(np.array([[[0, 0, s]] for s in np.linspace(-0.045, 0.045, 5)]), ARC)[:, 0]
    for a, b in zip(spine, spine[1:], strict=False):
        geom = add_geom(banana, mujoco.mjtGeom.mjGEOM_CAPSULE, (BANANA,), (0, 0, 0), YELLOW, touch=True,
                        condim=4, friction=GRIP, fromto=[*a, *b])
        geom.group = 3


def _add_waffle(spec: mujoco.MjSpec) -> None:
    half = (0.024, 0.024, THINGS["waffle"])
    waffle = add_thing(spec, "waffle", 0.04, half)
    add_box(waffle, (0.023, 0.023, 0.006), (0, 0, -0.003), BROWN)
    add_box(waffle, half, (0, 0, 0), GOLD, touch=True).group = 3
    for at in np.linspace(-0.021, 0.021, 4):
        add_box(waffle, (0.003, half[1], half[2]), (at, 0, 0), GOLD)
        add_box(waffle, (half[0], 0.003, half[2] - 0.0003), (0, at, 0), GOLD)


def _add_bun(spec: mujoco.MjSpec) -> None:
    half = (0.030, 0.024, THINGS["bun"])
    bun = add_thing(spec, "bun", 0.06, half)
    add_mesh(bun, spec, "dough", lathe(_DOUGH) * (1.15, 0.9, 1.0), CRUST)
    add_box(bun, half, (0, 0, 0), CRUST, touch=True).group = 3
    for number in range(SEEDS):  # sunflower spiral over the top
        radius, angle = 0.026 * np.sqrt((number + 0.5) / SEEDS), 2.39996 * number
        top = 0.0185 - 0.011 * (radius / 0.028) ** 2
        add_box(bun, (0.0026, 0.0016, 0.001), (1.15 * radius * np.cos(angle), 0.9 * radius * np.sin(angle), top), SEED,
                quat=[np.cos(angle), 0, 0, np.sin(angle)])
