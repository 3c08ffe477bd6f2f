"""Things that a hand can take: loose bodies, what holds them, and the plate that two tasks share."""

from __future__ import annotations

import mujoco
import numpy as np

from ws_twin_a1x.scenes.shapes import add_mesh, lathe
from ws_twin_a1x.scenes.stage import add_box

GRIP = (1.5, 0.01, 0.0005)  # friction of things against rubber pads: sliding, torsional (m), rolling (m)
PLATE_RADIUS, PLATE_TOP = 0.10, 0.006  # m; height of the flat middle
_PLATE = ((0, 0), (0.060, 0), (0.098, 0.014), (PLATE_RADIUS, 0.016), (0.096, 0.0165), (0.066, PLATE_TOP),
          (0, PLATE_TOP))
_RIM = ((0.0955, 0.0155), (0.1005, 0.0155), (0.1005, 0.0172), (0.0955, 0.0172))
SLOW = 0.05  # m/s, below which a thing lies where it is
FINGERS = ("gripper_finger_link1", "gripper_finger_link2")


def firm_grip(spec: mujoco.MjSpec) -> None:
    """Let closed fingers press: 25 to 50 N on a thing of 16 to 40 mm; the G1 is rated 100 N."""
    gripper = next(a for a in spec.actuators if a.name == "gripper_joint")
    gripper.gainprm[0], gripper.biasprm[1], gripper.biasprm[2] = 3000.0, -3000.0, -90.0
    spec.option.impratio = 10.0  # held things must not creep


def add_thing(spec: mujoco.MjSpec, name: str, mass: float, half, centre=(0, 0, 0)) -> mujoco.MjsBody:
    """A loose body with the inertia of a box of half sizes `half` around `centre`, m; `mass` kg."""
    thing = spec.worldbody.add_body(name=name)
    thing.add_freejoint(name=name)
    x, y, z = np.square(half)
    thing.mass, thing.ipos, thing.explicitinertial = mass, centre, True
    thing.inertia = mass / 3.0 * np.array([y + z, x + z, x + y])
    return thing


def add_plate(spec: mujoco.MjSpec, pos, solid: bool = True) -> mujoco.MjsBody:
    """A pale plate that stays where it is put; its frame is in the middle of its foot. Not `solid`: looks only."""
    plate = spec.worldbody.add_body(name="plate", mocap=True, pos=pos)
    add_mesh(plate, spec, "plate", lathe(_PLATE, 28), (0.78, 0.84, 0.79, 1))
    add_mesh(plate, spec, "rim", lathe(_RIM, 28), (0.60, 0.70, 0.64, 1))
    if solid:
        add_slab(plate, 0.075, (0, 0))
    return plate


def add_slab(body: mujoco.MjsBody, half: float, middle, foot: float = 0.0) -> None:
    """What carries the things on a plate: unseen, square, as high as its flat middle; m, x and y of `middle`."""
    add_box(body, (half, half, PLATE_TOP / 2), (*middle, foot + PLATE_TOP / 2), (0, 0, 0, 0), touch=True).group = 3


def put(data: mujoco.MjData, name: str, position, yaw: float = 0.0) -> None:
    """Place a loose body upright and at rest; m, rad."""
    put_turned(data, name, position, (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)))


def put_turned(data: mujoco.MjData, name: str, position, quat) -> None:
    """Place a loose body at rest; m, quaternion wxyz."""
    joint = data.joint(name)
    joint.qpos[:3], joint.qpos[3:], joint.qvel[:] = position, quat, 0.0


def put_in_hand(data: mujoco.MjData, name: str, reach: float, width: float) -> None:
    """Place a loose body `reach` m along the tool, turned as gripper_link, the fingers at both sides of its `width`."""
    hand = data.body("gripper_link")
    put_turned(data, name, hand.xpos + reach * hand.xmat.reshape(3, 3)[:, 0], hand.xquat)
    for finger, side in zip(("gripper_finger_joint1", "gripper_finger_joint2"), (1, -1), strict=True):
        data.joint(finger).qpos[0], data.joint(finger).qvel[0] = side * width / 2, 0.0


def let_go(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> bool:
    """Whether the body lies still, and no finger touches it."""
    return bool(np.linalg.norm(data.joint(name).qvel[:3]) < SLOW) and not _held(model, data, name)


def _held(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> bool:
    fingers, thing = [model.body(finger).id for finger in FINGERS], model.body(name).id
    bodies = model.geom_bodyid[data.contact.geom[: data.ncon]]
    return bool(np.any((bodies == thing).any(axis=1) & np.isin(bodies, fingers).any(axis=1)))
