"""One exposure of both depth cameras, unprojected into base_link, with the robot's own pixels marked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ws_driver_a1x.links import Links
from ws_rollouts.episode import VIEWS
from ws_rollouts.rgbd import PARENTS, RgbdStream
from ws_world_model.scene.kernels import nearest_link

MARGIN, FINGER_MARGIN = 0.012, 0.004  # m, by which boxes are grown: links, and fingers, which touch what they hold
FAR = 3.0  # m, depth beyond which nothing is taken
APART = 0.2  # s, at most between the exposures of both views in one shot


@dataclass(frozen=True)
class Exposure:
    """What one camera saw, H x W px. color uint8; depth m, 0 where not measured; points base_link m; link: index of the
    robot's link that a pixel shows, -1 for none; rotation, position: pose of the optical frame."""

    color: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    link: np.ndarray
    rotation: np.ndarray
    position: np.ndarray
    lens: np.ndarray

    @property
    def scene(self) -> np.ndarray:
        """(H, W) bool: measured, and not of the robot."""
        return (self.depth > 0) & (self.link < 0)

    @cached_property
    def scene_depth(self) -> np.ndarray:
        """(H, W) float32 m, 0 where the robot hides what is behind."""
        return np.where(self.link >= 0, 0, self.depth).astype(np.float32)

    @cached_property
    def nearest(self) -> np.ndarray:
        """(H, W) float32 m: the least of it around each pixel."""
        return cv2.erode(self.scene_depth, np.ones((3, 3)))


@dataclass(frozen=True)
class Shot:
    """Both views at about one time; `tool` (3,) m and `turn` (3, 3) of gripper_link, poses of all links, opening."""

    stamp: int
    views: dict[str, Exposure]
    tool: np.ndarray
    turn: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray
    opening: float


class Unprojector:
    """Makes shots. The masks come from forward kinematics and the boxes of the robot description."""

    def __init__(self, links: Links | None = None):
        self.links = links or Links()
        fingers = [self.links.index(f"gripper_finger_link{i}") for i in (1, 2)]
        self._margin = np.where(np.isin(self.links.box_link, fingers), FINGER_MARGIN, MARGIN)
        self._tool = self.links.index("gripper_link")

    def camera(self, view: str, mount: np.ndarray, rotations: np.ndarray,
               positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose of a camera's optical frame, rotation (3, 3) and position (3,), for these poses of the links."""
        parent = self.links.index(PARENTS[view])
        turn = rotations[parent]
        return turn @ mount[:3, :3], turn @ mount[:3, 3] + positions[parent]

    def shot(self, streams: dict[str, RgbdStream], numbers: dict[str, int]) -> Shot:
        """Of exposure `numbers[view]` of each view."""
        views, poses = {}, {}
        for view in VIEWS:
            stream, i = streams[view], numbers[view]
            poses[view] = self.links.poses(stream.joints[i], float(stream.opening[i]))
            views[view] = self._exposure(view, stream, i, *poses[view])
        stream, i = streams["side"], numbers["side"]
        rotations, positions = poses["side"]
        return Shot(int(stream.stamp[i]), views, positions[self._tool], rotations[self._tool], rotations, positions,
                    float(stream.opening[i]))

    def shots(self, streams: dict[str, RgbdStream]) -> list[Shot]:
        """All shots of an episode: each side exposure with the wrist's nearest in time, at most `APART` away."""
        side, wrist = streams["side"], streams["wrist"]
        made = []
        for i, stamp in enumerate(side.stamp):
            if not len(wrist):
                break
            j = int(np.argmin(np.abs(wrist.stamp - stamp)))
            if abs(int(wrist.stamp[j]) - int(stamp)) < APART * 1e9:
                made.append(self.shot(streams, {"side": i, "wrist": j}))
        return made

    def _exposure(self, view: str, stream: RgbdStream, i: int, rotations: np.ndarray,
                  positions: np.ndarray) -> Exposure:
        rotation, position = self.camera(view, stream.mount, rotations, positions)
        depth = stream.depth[i].astype(np.float32) / 1000.0
        depth[depth > FAR] = 0.0
        fx, fy, cx, cy = stream.lens
        rows, columns = np.indices(depth.shape, np.float32)
        rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], axis=-1)
        points = ((depth[..., None] * rays) @ rotation.T + position).astype(np.float32)
        links = self.links
        link = nearest_link(points, depth > 0, links.box_link, links.box_centre, links.box_half, self._margin,
                            rotations, positions)
        return Exposure(stream.color[i], depth, points, link, rotation, position, np.asarray(stream.lens, float))
