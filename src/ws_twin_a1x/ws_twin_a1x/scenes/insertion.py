"""Insertion: a blue shape-sorter block; the yellow peg in the gripper is to go into its square hole."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.objects import GRIP, add_thing, firm_grip, put_in_hand
from ws_twin_a1x.scenes.shapes import add_mesh, lathe
from ws_twin_a1x.scenes.stage import add_box, place

CENTRE = (0.290, 0.0)  # m, nominal place of the block's middle, where its square hole is
HALF, HEIGHT = 0.062, 0.040  # m, the block
HOLE, DEPTH = 0.018, 0.028  # m, side and depth of the hole
PEG, LENGTH = 0.016, 0.102  # m, side and length of the peg: 1 mm of clearance on each side
REACH = 0.053  # m from gripper_link to the peg's middle: its upper end nearly meets the palm
BLUE, DARK, YELLOW = (0.06, 0.17, 0.72, 1), (0.03, 0.05, 0.20, 1), (0.93, 0.68, 0.08, 1)
SHAPES = {3: 0.013, 4: 0.012, 5: 0.011, 6: 0.010}  # corners -> radius (m) of the holes that are only painted


class Insertion:
    """See `ws_twin_a1x.scenes.Scene`. Poses: "hole" is the middle of its mouth, "peg" the middle of its lower end."""

    def __init__(self, task: Task):
        self._task = task

    def build(self, spec: mujoco.MjSpec) -> None:
        firm_grip(spec)
        block = spec.worldbody.add_body(name="block", mocap=True, pos=[*CENTRE, self._task.table])
        _add_block(block)
        for number, corners in enumerate((3, 5, 3, 6, 3, 4, 6, 5)):
            column, row = divmod(number + (number > 3), 3)
            add_mesh(block, spec, f"shape{number}", lathe([(SHAPES[corners], 0), (SHAPES[corners], 0.0006)], corners),
                     DARK, smooth=False, pos=(0.038 * (column - 1), 0.038 * (row - 1), HEIGHT))
        block.add_site(name="hole", pos=[0, 0, HEIGHT])
        half = (LENGTH / 2, PEG / 2, PEG / 2)
        peg = add_thing(spec, "peg", 0.03, half)
        bright = spec.add_material(name="peg", rgba=YELLOW, emission=0.4).name  # the wrist sees its shady side
        add_box(peg, half, (0, 0, 0), YELLOW, touch=True, friction=GRIP, condim=4, material=bright)
        peg.add_site(name="peg", pos=[LENGTH / 2, 0, 0])

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        place(model, data, "block", self._task, CENTRE, rng)
        put_in_hand(data, "peg", REACH, PEG)

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        pass

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        aside, depth = _inserted(data)
        return aside < HOLE / 2 and depth >= DEPTH - self._task.success_tolerance

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        aside, depth = _inserted(data)
        wanted = DEPTH - self._task.success_tolerance
        return float(np.clip(depth / wanted, 0.0, 1.0)) if aside < HOLE / 2 else 0.0

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {"peg": (data.site("peg").xpos.copy(), data.body("peg").xquat.copy()),
                "hole": (data.site("hole").xpos.copy(), data.body("block").xquat.copy())}


def _inserted(data: mujoco.MjData) -> tuple[float, float]:
    """How far the peg's end is from the hole's axis and below its mouth; m."""
    gap = data.site("peg").xpos - data.site("hole").xpos
    return float(np.max(np.abs(gap[:2]))), -float(gap[2])


def _add_block(block: mujoco.MjsBody) -> None:
    """A floor and four walls around the hole."""
    floor, inner, z = HEIGHT - DEPTH, HOLE / 2, HEIGHT - DEPTH / 2
    add_box(block, (HALF, HALF, floor / 2), (0, 0, floor / 2), BLUE, touch=True)
    add_box(block, (inner, inner, 0.0003), (0, 0, HEIGHT), DARK)  # dark as a deep hole looks; the peg goes through
    wide = (HALF - inner) / 2
    for side in (-1, 1):
        for half, at in (((wide, HALF, DEPTH / 2), (inner + wide, 0)), ((inner, wide, DEPTH / 2), (0, inner + wide))):
            add_box(block, half, (side * at[0], side * at[1], z), BLUE, touch=True)
