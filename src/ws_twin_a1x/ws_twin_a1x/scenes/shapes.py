"""Round shapes for looks: meshes made of rings of points, computed when a scene is built."""

from __future__ import annotations

import mujoco
import numpy as np

SIDES = 18


def lathe(profile, sides: int = SIDES) -> np.ndarray:
    """Rings (n, sides, 3) m of a body of revolution about z; `profile` is (radius, z) from one end to the other."""
    angle = np.linspace(0.0, 2 * np.pi, sides, endpoint=False)
    radius, z = np.array(profile, float).T[:, :, None]
    return np.stack(np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle), z), axis=-1)


def bend(rings: np.ndarray, radius: float) -> np.ndarray:
    """A body along z laid along x and bent in the plane: its axis becomes an arc of `radius` m, centre at +y."""
    across, up, along = rings[..., 0], rings[..., 1], rings[..., 2] / radius
    return np.stack([(radius - across) * np.sin(along), radius - (radius - across) * np.cos(along), up], axis=-1)


def lay(rings: np.ndarray) -> np.ndarray:
    """A body along z laid along x."""
    return np.roll(rings, 1, axis=-1)


def add_mesh(body: mujoco.MjsBody, spec: mujoco.MjSpec, name: str, rings: np.ndarray, rgba, smooth: bool = True,
             pos=(0, 0, 0)) -> None:
    """Show `rings`, joined and closed at both ends, on a body; it neither collides nor weighs."""
    count, sides = rings.shape[:2]
    corner = np.arange(count * sides).reshape(count, sides)
    here, after = corner[:-1], corner[1:]
    beside, across = np.roll(here, -1, axis=1), np.roll(after, -1, axis=1)
    walls = [np.stack(triangle, axis=-1).reshape(-1, 3) for triangle in ((here, beside, after),
                                                                       (beside, across, after))]
    fan = np.stack([np.zeros(sides - 2, int), np.arange(1, sides - 1), np.arange(2, sides)], axis=-1)
    ends = [corner[0][fan[:, ::-1]], corner[-1][fan]]
    mesh = spec.add_mesh(name=name, uservert=rings.reshape(-1), userface=np.concatenate(walls + ends).reshape(-1))
    mesh.smoothnormal = smooth
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, rgba=rgba, group=2, contype=0, conaffinity=0,
                  pos=pos, mass=0)
