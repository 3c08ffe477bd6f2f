"""Assembly: a white board with three pegs; the red ring on the near one is to go onto the middle one."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.scenes.objects import GRIP, add_thing, firm_grip, let_go, put
from ws_twin_a1x.scenes.shapes import add_mesh, lathe
from ws_twin_a1x.scenes.stage import add_box, add_geom, place

CENTRE = (0.290, 0.0)  # m, nominal place of the middle peg
PITCH, PEG, TALL = 0.065, 0.005, 0.042  # m between pegs, their radius and height over the board
BOARD = (0.105, 0.036, 0.006)  # m, half sizes
OUTER, INNER, HALF = 0.022, 0.010, 0.009  # m, radii and half the height of a ring
SEGMENTS, FEET = 8, 4  # of a ring, that collide: boxes with fingers, pegs and rings, small balls with the board
FLAT = 4  # contact bit of board and feet, apart so that a ring at rest has 4 contacts instead of 32
WHITE, WOOD = (0.80, 0.80, 0.79, 1), (0.80, 0.70, 0.52, 1)
COLOURS = {"red_ring": (0.83, 0.09, 0.11, 1), "yellow_ring": (0.95, 0.74, 0.12, 1)}
PLACES = {"red_ring": -1, "yellow_ring": 1}  # in pitches from the middle peg


class Assembly:
    """See `ws_twin_a1x.scenes.Scene`. Poses: the middle of "red_ring" and "yellow_ring", the top of "goal_peg"."""

    def __init__(self, task: Task):
        self._task = task

    def build(self, spec: mujoco.MjSpec) -> None:
        firm_grip(spec)
        board = spec.worldbody.add_body(name="board", mocap=True, pos=[*CENTRE, self._task.table])
        plank = add_box(board, BOARD, (0, 0, BOARD[2]), WHITE, touch=True)
        plank.contype, plank.conaffinity = FLAT, 1  # for fingers and for the rings' feet
        top = 2 * BOARD[2] + TALL
        for number in (-1, 0, 1):
            add_geom(board, mujoco.mjtGeom.mjGEOM_CAPSULE, (PEG,), (0, 0, 0), WOOD, touch=True,
                     fromto=[number * PITCH, 0, BOARD[2], number * PITCH, 0, top - PEG])
        board.add_site(name="goal_peg", pos=[0, 0, top])
        for name, colour in COLOURS.items():
            _add_ring(spec, name, colour)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = place(model, data, "board", self._task, CENTRE, rng)
        x, y, z = data.mocap_pos[model.body("board").mocapid[0]]
        for name, number in PLACES.items():
            along = number * PITCH
            put(data, name, (x + along * np.cos(yaw), y + along * np.sin(yaw), z + 2 * BOARD[2] + HALF), yaw)

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        pass

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        aside, height = self._gap(data)
        return aside < INNER and height < HALF + self._task.success_tolerance and let_go(model, data, "red_ring")

    def progress(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        aside, height = self._gap(data)
        if self.success(model, data):
            return 1.0
        return 0.9 * float(np.clip(1.0 - aside / PITCH, 0.0, 1.0)) * (1.0 if height < TALL else 0.9)

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        rings = {name: (data.body(name).xpos.copy(), data.body(name).xquat.copy()) for name in COLOURS}
        return {**rings, "goal_peg": (data.site("goal_peg").xpos.copy(), data.body("board").xquat.copy())}

    def _gap(self, data: mujoco.MjData) -> tuple[float, float]:
        """How far the red ring's middle is from the goal's axis and above the board; m."""
        gap = data.body("red_ring").xpos - data.site("goal_peg").xpos
        return float(np.linalg.norm(gap[:2])), float(gap[2]) + TALL


def _add_ring(spec: mujoco.MjSpec, name: str, colour) -> None:
    """Looks round; boxes all around collide, two of them flat to the fingers."""
    ring = add_thing(spec, name, 0.03, (OUTER, OUTER, HALF))
    profile = [(INNER, -HALF), (OUTER, -HALF), (OUTER, HALF), (INNER, HALF), (INNER, -HALF)]
    add_mesh(ring, spec, name, lathe(profile, 24), colour, smooth=False)
    middle, thick = (OUTER + INNER) / 2, (OUTER - INNER) / 2
    width = np.tan(np.pi / SEGMENTS) * middle
    for angle in np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS:
        along = (np.cos(angle), np.sin(angle))
        box = add_box(ring, (thick, width, HALF), (middle * along[0], middle * along[1], 0), colour, touch=True,
                      friction=GRIP, condim=4, quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        box.group = 3
    for angle in np.arange(FEET) * 2 * np.pi / FEET:
        foot = add_geom(ring, mujoco.mjtGeom.mjGEOM_SPHERE, (0.002,), (middle * np.cos(angle), middle * np.sin(angle),
                        0.002 - HALF), colour, touch=True, friction=GRIP, condim=4)
        foot.group, foot.contype, foot.conaffinity = 3, 0, FLAT
