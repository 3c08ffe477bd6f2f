"""The scene memory: successes with depth in, what their scenes look like from anywhere out."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from ws_driver_a1x.links import Links
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.task import Task
from ws_world_model.scene.calibration import Correction, agreed, calibrate
from ws_world_model.scene.donor import Donor, DonorBuilder, SceneError
from ws_world_model.scene.parts import skill_parts
from ws_world_model.scene.robot import arm_pixels, hand_pixels
from ws_world_model.scene.shots import Shot, Unprojector
from ws_world_model.scene.table import ABOVE, Region, TableMap, fit_plane, height

LEAST_SHOTS = 4
CALIBRATED = 3  # donors from which the mounts are corrected
OUTSIDE = 1.0  # s before or after an episode from which an exposure is none of it
MOST_RESIDUAL = 0.008  # m, rms of the table plane from which a camera is not where its mount says
MOST_TILT, MOST_LIFT = 0.05, 0.02  # slope of that plane, and m beside the task's table at the workspace, likewise
FOOT = 9  # px around a thing that count neither as table nor as background
NOISE = 3.0  # residuals of the table plane above which something stands on it


def fingertip_reach(links: Links) -> float:
    """How far the fingertips reach along the tool from gripper_link, m."""
    finger = links.index("gripper_finger_link1")
    mine = links.box_link == finger
    rotations, positions = links.poses(np.zeros(6), 0.0)
    tool, turn = positions[links.index("gripper_link")], rotations[links.index("gripper_link")]
    at = (positions[finger] - tool) @ turn
    return float(at[0] + (links.box_centre[mine] + links.box_half[mine])[:, 0].max())


class SceneMemory:
    """Donors, the table and the background of one task and one pair of cameras.

    plane (3,): z = a + b x + c y of the table; residual: its rms, m.
    """

    def __init__(self, task: Task, unprojector: Unprojector | None = None):
        self.task = task
        self.unprojector = unprojector or Unprojector()
        self.reach = fingertip_reach(self.unprojector.links)
        self.region = Region(task)
        self.donors: list[Donor] = []
        self.lenses: dict[str, np.ndarray] = {}  # fx, fy, cx, cy px of the newest episode's cameras
        self.mounts: dict[str, np.ndarray] = {}  # (4, 4), as in RgbdStream
        self.corrections: list[Correction] = []  # of the mounts, by those of the first donors that told one
        self.refused: Counter[str] = Counter()
        self.plane, self.residual = np.array([task.table, 0.0, 0.0]), 0.0
        self.maps = {view: TableMap(self.region) for view in VIEWS}
        self._sum: np.ndarray | None = None  # colors and depth of the side camera's background, and how often seen

    def add(self, episode: Episode) -> Donor:
        """Take a success in. Raises SceneError, counted in `refused`, for one that is of no use."""
        try:
            donor = self._add(episode)
        except SceneError as error:
            self.refused[error.reason] += 1
            raise
        self.donors.append(donor)
        return donor

    def builder(self) -> DonorBuilder:
        """Cuts shots into things, by what is known of the table now."""
        return DonorBuilder(self.plane, self.margin, self.region, self.reach, self.task.gripper == "fixed")

    @property
    def margin(self) -> float:
        """Height over the table from which something stands on it, m."""
        return max(ABOVE, NOISE * self.residual)

    @property
    def background(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The side camera's: color (H, W, 3) float, depth (H, W) m, and how often each pixel was seen (H, W)."""
        assert self._sum is not None
        count = self._sum[..., 4]
        mean = self._sum[..., :4] / np.maximum(count, 1.0)[..., None]
        return mean[..., :3], mean[..., 3], count

    def _add(self, episode: Episode) -> Donor:
        shots = self._shots(episode, episode.rgbd)
        try:
            parts = skill_parts(episode, self.task)
        except ValueError as error:
            raise SceneError("no skill part", str(error)) from error
        if len(self.donors) < CALIBRATED:
            self._calibrate(episode, shots, min(min(part.events.values()) for part in parts))
        if self.corrections:
            shots = self._shots(episode, self.corrected(episode.rgbd))
        plane, residual = self._table(shots)
        if residual > MOST_RESIDUAL:
            raise SceneError("the table is not flat where the cameras see it: a mount is off",
                             f"{episode.episode_id}: {1000 * residual:.1f} mm rms")
        middle = (np.asarray(self.task.workspace_low) + self.task.workspace_high) / 2
        lift = float(height(plane, middle)) - self.task.table
        if np.hypot(*plane[1:]) > MOST_TILT or abs(lift) > MOST_LIFT:
            raise SceneError("the table is not where the task has it: a mount is off",
                             f"{episode.episode_id}: tilted by {100 * np.hypot(*plane[1:]):.1f} cm per m, "
                             f"{100 * lift:+.1f} cm high")
        weight = 1.0 / (1 + len(self.donors))
        self.plane = (1 - weight) * self.plane + weight * plane
        self.residual = (1 - weight) * self.residual + weight * residual
        builder = self.builder()
        donor = builder.build(episode, parts, shots)
        donor.start = episode.rgbd["side"].joints[0].astype(float)
        donor.arms = [arm_pixels(shot, self.task) for shot in shots]
        donor.hands = [hand_pixels(shot, self.task) for shot in shots]
        self._remember(shots, builder)
        self.lenses = {view: episode.rgbd[view].lens for view in VIEWS}
        self.mounts = {view: stream.mount for view, stream in self.corrected(episode.rgbd).items()}
        return donor

    def corrected(self, streams: dict[str, RgbdStream]) -> dict[str, RgbdStream]:
        """What depth cameras saw, with their mounts as they are known now."""
        return agreed(self.corrections).apply(streams) if self.corrections else streams

    def _calibrate(self, episode: Episode, shots: list[Shot], touched: int) -> None:
        """Learn of the mounts from shots as they were recorded, of things that stand still until step `touched`."""
        before = [shot for shot in shots if shot.stamp < episode.stamp[touched - 1]]
        mounts = {view: stream.mount for view, stream in episode.rgbd.items()}
        found = calibrate(before, mounts, self.task.table, self.region)
        if found is not None:
            self.corrections.append(found)

    def _shots(self, episode: Episode, streams: dict[str, RgbdStream]) -> list[Shot]:
        for view in VIEWS:
            if view not in episode.rgbd:
                raise SceneError("no depth", f"{episode.episode_id}: {view} camera")
            if not episode.rgbd[view].depth.any():
                raise SceneError("depth is all zero", f"{episode.episode_id}: {view} camera")
        first, last = episode.stamp[0] - OUTSIDE * 1e9, episode.stamp[-1] + OUTSIDE * 1e9
        shots = [shot for shot in self.unprojector.shots(streams) if first <= shot.stamp <= last]
        if len(shots) < LEAST_SHOTS:
            raise SceneError("too few exposures with depth", f"{episode.episode_id}: {len(shots)}")
        return shots

    def _table(self, shots: list[Shot]) -> tuple[np.ndarray, float]:
        points = []
        for shot in shots[:: max(1, len(shots) // 6)]:
            seen = shot.views["side"]
            points.append(seen.points[seen.scene & self.region.holds(seen.points)][::5])
        try:
            return fit_plane(np.concatenate(points))
        except ValueError as error:
            raise SceneError("no table", str(error)) from error

    def _remember(self, shots: list[Shot], builder: DonorBuilder) -> None:
        for shot in shots[::2]:
            for view, seen in shot.views.items():
                clear = cv2.erode(seen.scene.astype(np.uint8), np.ones((5, 5))) > 0
                above = seen.points[..., 2] - height(self.plane, seen.points)
                foot = cv2.dilate(builder.stands(shot, view).astype(np.uint8), np.ones((FOOT, FOOT))) > 0
                table = clear & ~foot & (np.abs(above) < self.margin) & self.region.holds(seen.points)
                self.maps[view].add(seen.points[table], seen.color[table])
                if view == "side":
                    keep = clear & ~foot & ~(self.region.holds(seen.points) & (above > self.margin))
                    if self._sum is None:
                        self._sum = np.zeros((*seen.depth.shape, 5))
                    layers = np.dstack([seen.color, seen.depth, np.ones_like(seen.depth)])
                    self._sum += np.where(keep[..., None], layers, 0.0)
