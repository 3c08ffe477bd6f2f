"""What every scene stands on: green table, plinth of the arm, light backdrop, lamps and the side camera."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_rollouts.task import Task
from ws_twin_a1x.cameras import add_camera

TABLE_FRICTION = (0.8, 0.01, 0.001)
SIDE_CAMERA = ((0.0937, -0.4062, 0.27), (0.0, 0.3697, 1.1479))  # xyz, rpy of its link, as in the URDF


def add_box(body: mujoco.MjsBody, size, pos, rgba, touch: bool = False, **more) -> mujoco.MjsGeom:
    """A box by half sizes (m); with `touch` it collides with the robot's gripper."""
    return add_geom(body, mujoco.mjtGeom.mjGEOM_BOX, size, pos, rgba, touch, **more)


def add_geom(body: mujoco.MjsBody, kind, size, pos, rgba, touch: bool = False, **more) -> mujoco.MjsGeom:
    """A primitive; robot geoms are contype 1, objects contype 2 (conaffinity 3 also meets other objects)."""
    contact = {"contype": 2, "conaffinity": 3} if touch else {"contype": 0, "conaffinity": 0}
    size = list(size) + [0.0] * (3 - len(size))
    return body.add_geom(type=kind, size=size, pos=pos, rgba=rgba, group=2, **contact, **more)


def build_stage(spec: mujoco.MjSpec, table: float) -> None:
    """Add the stage to a model whose world frame is base_link; `table` is the height of its top in m."""
    world = spec.worldbody
    add_box(world, (1.2, 1.2, 0.02), (0.3, 0, table - 0.02), (0.10, 0.42, 0.40, 1), touch=True, name="table",
            friction=TABLE_FRICTION)
    if table < 0:
        add_box(world, (0.06, 0.06, -table / 2), (0, 0, table / 2), (0.75, 0.76, 0.76, 1))
    wall = (0.80, 0.81, 0.81, 1)
    add_box(world, (1.5, 0.02, 1.0), (0.3, 0.75, 0.5), wall)
    add_box(world, (0.02, 1.5, 1.0), (1.1, 0.0, 0.5), wall)
    world.add_light(name="lamp", pos=[0.1, -0.5, 1.4], dir=[0.15, 0.35, -1], castshadow=True,
                    type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, diffuse=[0.55, 0.55, 0.55], specular=[0.2, 0.2, 0.2])
    spec.visual.headlight.ambient = [0.38, 0.38, 0.38]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0, 0, 0]
    add_camera(world, "side", *SIDE_CAMERA)


def place(model: mujoco.MjModel, data: mujoco.MjData, name: str, task: Task, centre, rng: np.random.Generator) -> float:
    """Put a body that only resets move on the table around `centre` (x, y), as `task.scatter` says; its yaw."""
    x, y, yaw = rng.uniform(-1, 1, 3) * task.scatter
    mocap = model.body(name).mocapid[0]
    data.mocap_pos[mocap] = (centre[0] + x, centre[1] + y, task.table)
    data.mocap_quat[mocap] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
    return float(yaw)
