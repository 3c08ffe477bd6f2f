"""A success with depth for tests that know no twin: a colored box on a gray table, pressed by an arm nobody sees."""

from __future__ import annotations

import cv2
import numpy as np

from ws_driver_a1x.links import Links
from ws_rollouts.episode import DEMONSTRATION, STATE, VIEWS, Episode
from ws_rollouts.rgbd import PARENTS, RgbdStream
from ws_rollouts.task import Task, load_task
from ws_world_model.scene.arm import PERIOD, FreeArm
from ws_world_model.scene.points import Cloud

LENS = np.array([306.2, 305.32, 209.13, 118.89])
SIZE = (240, 424)  # px, height and width
HALF, TOP = np.array([0.05, 0.03]), 0.06  # m: half the box's footprint, and the height of its upper side
REACH = 0.078  # m, of the fingertips below gripper_link
SPOTS = {(0.20, -0.12): (220, 40, 40), (0.36, -0.10): (40, 40, 220), (0.22, 0.13): (40, 180, 40)}  # on the table
SPOT = 0.02  # m, radius
DEPTH_EVERY = 2  # steps


def mount(view: str) -> np.ndarray:
    """(4, 4) pose of the optical frame of a camera in the link that it hangs on."""
    rotation, position = {
        "side": ([[0.9119, -0.14829, 0.38267], [-0.4104, -0.3295, 0.85029], [0, -0.93244, -0.36134]],
                 (0.08, -0.40, 0.27)),
        "wrist": ([[0, -0.15636, 0.9877], [-1, 0, 0], [0, -0.9877, -0.15636]], (-0.085, 0.0, 0.064)),
    }[view]
    u, _, v = np.linalg.svd(np.array(rotation, float))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = u @ v, position
    return pose


def see(rotation: np.ndarray, position: np.ndarray, table: float, center: np.ndarray | None,
        yaw: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Color (H, W, 3) uint8 and depth (H, W) m of table and box from a camera's optical frame, by rays."""
    rows, columns = np.indices(SIZE, float)
    rays = np.stack([(columns - LENS[2]) / LENS[0], (rows - LENS[3]) / LENS[1], np.ones(SIZE)], -1) @ rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[..., 2] < -1e-9, (table - position[2]) / rays[..., 2], np.inf)
        spots = position + np.where(np.isfinite(depth), depth, 0.0)[..., None] * rays
        color = np.full((*SIZE, 3), 128.0)
        for place, paint in SPOTS.items():
            color[np.linalg.norm(spots[..., :2] - place, axis=-1) < SPOT] = paint
        if center is not None:
            c, s = np.cos(yaw), np.sin(yaw)
            turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])  # into the box's frame
            start = turn @ (position - (*center, (table + TOP) / 2))
            half = np.array([*HALF, (TOP - table) / 2])
            way = rays @ turn.T
            enters, leaves = (-np.sign(way) * half - start) / way, (np.sign(way) * half - start) / way
            first, last = np.nanmax(enters, -1), np.nanmin(leaves, -1)
            hit = (first < last) & (first > 0) & (first < depth)
            local = (start + np.where(hit, first, 0.0)[..., None] * way) / half  # -1 .. 1
            paint = np.stack([40 + 160 * (local[..., 0] > 0), 40 + 160 * (local[..., 1] > 0),
                              60 + 60 * local[..., 2]], -1)
            color[hit], depth[hit] = paint[hit], first[hit]
    return color.clip(0, 255).astype(np.uint8), np.where(depth < 60.0, depth, 0.0)


def box_cloud(center: tuple[float, float] = (0.0, 0.0), yaw: float = 0.0, every: float = 0.002,
              size: float = 1.0) -> Cloud:
    """The box's upper side and the two sides at its low x and y: halves along each axis in colors of their own."""
    points = []
    x, y = (np.arange(-h, h, every / size) + every / 2 for h in HALF)
    z = np.arange(0.0, TOP, every)
    for axes in ((x, y, [TOP]), (x, [-HALF[1]], z), ([-HALF[0]], y, z)):
        points.append(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3))
    local = np.concatenate(points)
    rgb = np.stack([40 + 160 * (local[:, 0] > 0), 40 + 160 * (local[:, 1] > 0), 1000 * local[:, 2] + 60], -1)
    c, s = np.cos(yaw), np.sin(yaw)
    xyz = local * (size, size, 1.0) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) + (*center, 0.0)
    return Cloud.of(xyz, rgb.astype(np.uint8))


def pressed(number: int = 0, center: tuple[float, float] = (0.28, 0.02), yaw: float = 0.0, task: Task | None = None,
            depth: bool = True, box: bool = True) -> Episode:
    """A demonstration of Pushing in which the arm presses on the middle of the box."""
    task = task or load_task("pushing")
    arm, links = FreeArm(task), Links()
    arm.reset(np.array(task.reset_joints), 0.0)
    scale, tool = np.array(task.action_scale), arm.state[STATE["position"]]
    goal = np.array([*center, TOP + REACH - 0.004])
    way = [np.array([*center, float(tool[2])]), np.array([*center, goal[2] + 0.04]), goal]
    rows = []
    while True:
        joints = arm.at(arm.time).copy()
        before = rows[-1][4] if rows else arm.target
        gap = way[0] - arm.target
        while np.abs(gap).max() < 1e-4 and len(way) > 1:
            gap = way.pop(0) * 0 + way[0] - arm.target
        over = len(way) == 1 and np.linalg.norm(arm.state[STATE["position"]] - goal) < 0.002
        action = np.zeros(task.action_size, np.float32)
        action[:-1] = 0.0 if over else np.clip(gap / scale, -1, 1) * 0.8
        rows.append((joints, arm.state, action, (arm.target - before) / scale, arm.target.copy()))
        if over:
            break
        if len(rows) > task.episode_steps:
            raise RuntimeError("the arm does not come to the box")
        arm.step(action, 0.0)
    joints, states, actions, executed, _ = (np.array(each) for each in zip(*rows, strict=True))
    count = len(rows)
    stamp = ((1 + 1000 * number + PERIOD * np.arange(count)) * 1e9).astype(np.int64)
    seen = {view: [] for view in VIEWS}
    for each in joints:
        rotations, positions = links.poses(each, 0.0)
        for view in VIEWS:
            parent = links.index(PARENTS[view])
            pose = mount(view)
            seen[view].append(see(rotations[parent] @ pose[:3, :3], rotations[parent] @ pose[:3, 3] + positions[parent],
                                  task.table, np.array(center) if box else None, yaw))
    frames, streams = {}, {}
    for view in VIEWS:
        x, y, width, height = task.crop(view)
        frames[view] = np.stack([cv2.resize(color[y : y + height, x : x + width], (task.image_size,) * 2,
                                            interpolation=cv2.INTER_AREA) for color, _ in seen[view]])
        streams[view] = RgbdStream(
            stamp[::DEPTH_EVERY], np.stack([color for color, _ in seen[view]][::DEPTH_EVERY]),
            np.stack([(1000 * z + 0.5).astype(np.uint16) for _, z in seen[view]][::DEPTH_EVERY]),
            joints[::DEPTH_EVERY].astype(np.float32), np.zeros(len(stamp[::DEPTH_EVERY]), np.float32), LENS,
            mount(view))
    reward = np.zeros(count, np.float32)
    reward[-1] = 1.0
    return Episode(
        episode_id=f"pushing-pressed-{number:04d}", task=task.name, frames=frames, state=states.astype(np.float32),
        action=actions.astype(np.float32), executed=executed.astype(np.float32), reward=reward,
        source=np.full(count, DEMONSTRATION, np.uint8), stamp=stamp, weights_version=np.zeros(count, np.uint32),
        terminated=True, truncated=False, exposed={view: stamp.copy() for view in VIEWS},
        rgbd=streams if depth else {},
    )
