"""Draws both views of a donor's things at other places, with the arm where it would be."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ws_rollouts.episode import VIEWS
from ws_world_model.scene.donor import Donor
from ws_world_model.scene.kernels import splat
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.points import Cloud, merged
from ws_world_model.scene.robot import BESIDE, OVERSAMPLING, Arm

RADIUS, WIDE = 0.0005, 0.0035  # m, half-widths of points: as they are, and to fill holes between them
SLOPE = 20.0  # m per m, by which a wide point counts as farther beside its middle
ARM_RADIUS = 0.0008  # m
BEHIND = 0.008  # m, by which a pixel must be farther than those around it to be a hole
ARMS = 2  # nearest shots whose pixels of the arm are drawn
ARM_VOXEL = 0.002  # m, in which the pixels of all shots are merged, for what the nearest had no room for


@dataclass(frozen=True)
class Motion:
    """A rigid motion of a thing on the table: turn by `yaw` rad about base_link's origin, then move by (x, y) m."""

    x: float
    y: float
    yaw: float

    @classmethod
    def about(cls, center: np.ndarray, target: np.ndarray, yaw: float) -> Motion:
        """Turn about `center` (2,) and bring that to `target` (2,)."""
        c, s = np.cos(yaw), np.sin(yaw)
        return cls(float(target[0] - c * center[0] + s * center[1]), float(target[1] - s * center[0] - c * center[1]),
                   float(yaw))

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3)."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    @property
    def shift(self) -> np.ndarray:
        """(3,) m."""
        return np.array([self.x, self.y, 0.0])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Of points (..., 3)."""
        return points @ self.rotation.T + self.shift

    def back(self, points: np.ndarray) -> np.ndarray:
        """The inverse."""
        return (points - self.shift) @ self.rotation


STILL = Motion(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pose:
    """Where the robot is: rotations (L, 3, 3) and positions (L, 3) of its links, and the gripper's opening."""

    rotations: np.ndarray
    positions: np.ndarray
    opening: float


class Drawer:
    """Frames (S, S, 3) uint8 of the task's crops, from what the memory holds when the drawer is made."""

    def __init__(self, memory: SceneMemory):
        self._memory, self._task = memory, memory.task
        self._size = memory.task.image_size
        self._side = OVERSAMPLING * self._size
        links = memory.unprojector.links
        self._tool = links.index("gripper_link")
        self._arms = [arm for donor in memory.donors for arm in donor.arms]
        self._arm_tools = np.array([arm.tool for arm in self._arms])
        self._arm_openings = np.array([arm.opening for arm in self._arms])
        self._hands = [hand for donor in memory.donors for hand in donor.hands]
        self._hand_openings = np.array([hand.opening for hand in self._hands])
        self._body = _whole(self._arms)
        self._base = self._background()

    def lens(self, view: str) -> np.ndarray:
        """fx, fy, cx, cy of the picture that is drawn."""
        x, y, width, height = self._task.crop(view)
        fx, fy, cx, cy = self._memory.lenses[view]
        sx, sy = self._side / width, self._side / height
        return np.array([fx * sx, fy * sy, (cx + 0.5 - x) * sx - 0.5, (cy + 0.5 - y) * sy - 0.5])

    def draw(self, donor: Donor, motions: list[Motion], moment: int, bodies: list[tuple[Motion, float]], pose: Pose,
             views: tuple[str, ...] = VIEWS) -> dict[str, np.ndarray]:
        """Both views of a donor's groups under `motions`, as they were at its shot `moment`; its bodies under motions
        of their own, each raised by so many m, and the robot at `pose`."""
        out = {}
        for view in views:
            mount = self._memory.mounts[view]
            rotation, position = self._memory.unprojector.camera(view, mount, pose.rotations, pose.positions)
            things = [(group[view], motion, 0.0) for group, motion in zip(donor.groups, motions, strict=True)]
            things += [(body.clouds[view], *place) for body, place in zip(donor.bodies, bodies, strict=True)]
            picture, depth = self._behind(view, rotation, position)
            self._things(picture, depth, self.lens(view), things, moment, rotation, position)
            if view == "side":
                self._draw_arm(picture, depth, rotation, position, pose)
            else:
                picture = self._lay_hand(picture, depth, pose.opening)
            out[view] = cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return out

    # what stays

    def _background(self) -> tuple[np.ndarray, np.ndarray]:
        """The side view's empty scene, drawn size: color uint8 and depth."""
        x, y, width, height = self._task.crop("side")
        color, depth, count = (a[y : y + height, x : x + width] for a in self._memory.background)
        weight = (count > 0).astype(np.float32)
        size = (self._side, self._side)
        share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        known = np.maximum(share, 1e-6)
        color = cv2.resize((color * weight[..., None]).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        depth = cv2.resize((depth * weight).astype(np.float32), size, interpolation=cv2.INTER_AREA) / known
        mount = self._memory.mounts["side"]
        plain, far = self._plain("side", mount[:3, :3], mount[:3, 3])
        picture = np.where(share[..., None] > 0.3, color / known[..., None], plain)
        self.unseen = float(np.mean(share <= 0.3))
        return picture.round().astype(np.uint8), np.where(share > 0.3, depth, far).astype(np.float32)

    def _plain(self, view: str, rotation: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The table alone: color uint8 and depth m."""
        memory, lens = self._memory, self.lens(view)
        matrix = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])
        table = memory.maps[view]
        mean = table.picture.reshape(-1, 3).mean(0)
        warp = table.homography(memory.plane, rotation, position, matrix)
        picture = cv2.warpPerspective(table.picture, warp, (self._side, self._side), flags=cv2.INTER_LINEAR,
                                      borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(map(float, mean)))
        rows, columns = np.indices((self._side, self._side))
        rays = np.stack([(columns - lens[2]) / lens[0], (rows - lens[3]) / lens[1], np.ones_like(rows)], -1)
        rays = rays @ rotation.T
        a, b, c = memory.plane
        fall = b * rays[..., 0] + c * rays[..., 1] - rays[..., 2]
        drop = position[2] - a - b * position[0] - c * position[1]
        depth = np.where(fall > 1e-6, drop / np.maximum(fall, 1e-6), 1e3)
        return picture, depth.astype(np.float32)

    def _behind(self, view: str, rotation: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if view == "side":
            return self._base[0].copy(), self._base[1].copy()
        return self._plain(view, rotation, position)

    # things

    def _things(self, picture: np.ndarray, depth: np.ndarray, lens: np.ndarray, things, moment: int,
                rotation: np.ndarray, position: np.ndarray) -> None:
        """Points, then what they leave open: gaps inside their outline by wider points, gaps that show what is behind
        by the median around."""
        behind, wide, wide_depth, key = depth.copy(), picture.copy(), depth.copy(), np.full_like(depth, np.inf)
        for cloud, motion, raised in things:  # the camera moves the other way, not the points
            turn, place = motion.rotation.T @ rotation, motion.back(position - (0.0, 0.0, raised))
            shown = cloud.xyz, cloud.rgb, cloud.born, cloud.gone, moment, turn, place, lens
            splat(*shown, RADIUS, 0.0, depth, depth, picture)
            splat(*shown, WIDE, SLOPE, key, wide_depth, wide)
        hit = (depth < behind).astype(np.uint8)
        edged = cv2.copyMakeBorder(hit, 8, 8, 8, 8, cv2.BORDER_REPLICATE)
        closed = cv2.morphologyEx(edged, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))[8:-8, 8:-8]
        hole = (closed > hit) & (wide_depth < behind)
        picture[hole], depth[hole] = wide[hole], wide_depth[hole]
        middle = cv2.medianBlur(depth, 3)
        through = (closed > 0) & (depth > middle + BEHIND)
        picture[through], depth[through] = cv2.medianBlur(picture, 3)[through], middle[through]

    # the robot

    def _draw_arm(self, picture: np.ndarray, depth: np.ndarray, rotation: np.ndarray, position: np.ndarray,
                  pose: Pose) -> None:
        gaps = np.linalg.norm(self._arm_tools - pose.positions[self._tool], axis=1)
        gaps = gaps + 0.2 * np.abs(self._arm_openings - pose.opening)  # m; a finger's width is worth 2 cm of way
        near = [self._arms[number] for number in np.argsort(gaps)[:ARMS]]
        for arm in near:
            self._splat_arm(arm, picture, depth, rotation, position, pose)
        beyond = self._beyond(near[0], rotation, position, pose)
        if beyond.any():
            whole, far = picture.copy(), depth.copy()
            self._splat_arm(self._body, whole, far, rotation, position, pose)
            picture[beyond], depth[beyond] = whole[beyond], far[beyond]

    def _splat_arm(self, arm: Arm, picture: np.ndarray, depth: np.ndarray, rotation: np.ndarray, position: np.ndarray,
                   pose: Pose) -> None:
        cloud = Cloud.of(arm.placed(pose.rotations, pose.positions), arm.rgb)
        splat(cloud.xyz, cloud.rgb, cloud.born, cloud.gone, 0, rotation, position, self.lens("side"), ARM_RADIUS, 0.0,
              depth, depth, picture)

    def _beyond(self, arm: Arm, rotation: np.ndarray, position: np.ndarray, pose: Pose) -> np.ndarray:
        """(P, P) bool: pixels for which a shot of the arm, which moved with the tool, had no room."""
        fx, fy, cx, cy = self.lens("side")
        tools = (np.stack([pose.positions[self._tool], arm.tool]) - position) @ rotation
        pixels = tools[:, :2] / tools[:, 2:] * (fx, fy)
        left, top = pixels[1] - pixels[0]  # where a pixel was then, from where it is
        x, y, width, height = self._task.crop("side")
        camera_height, camera_width = self._memory.background[2].shape
        scale = self._side / np.array([width, height])
        low = np.maximum(np.array([x, y]) - BESIDE, 0) - (x, y)
        high = np.minimum(np.array([x + width, y + height]) + BESIDE, (camera_width, camera_height)) - (x, y)
        (first, top_row), (last, bottom) = low * scale - (left, top) + 1, high * scale - (left, top) - 1
        beyond = np.ones((self._side, self._side), bool)
        rows, columns = (slice(max(0, int(np.ceil(a))), max(0, int(b))) for a, b in ((top_row, bottom), (first, last)))
        beyond[rows, columns] = False
        return beyond

    def _lay_hand(self, picture: np.ndarray, depth: np.ndarray, opening: float) -> np.ndarray:
        hand = self._hands[int(np.argmin(np.abs(self._hand_openings - opening)))]
        alpha = np.where(hand.depth < depth, hand.alpha, 0.0)[..., None]
        color = np.where(alpha > 0, hand.color, 0.0)
        return np.clip(picture * (1 - alpha) + color + 0.5, 0, 255).astype(np.uint8)


def _whole(arms: list[Arm]) -> Arm:
    """The pixels of all shots, merged on each link."""
    link, local, rgb = (np.concatenate([getattr(arm, name) for arm in arms]) for name in ("link", "local", "rgb"))
    parts = [(n, *merged(local[link == n], rgb[link == n], ARM_VOXEL)) for n in np.unique(link)]
    links, places, colors = ([part[i] for part in parts] for i in range(3))
    return Arm(np.zeros(3), 0.0, np.repeat(np.array(links, np.int8), [len(each) for each in places]),
               np.concatenate(places), np.concatenate(colors))
