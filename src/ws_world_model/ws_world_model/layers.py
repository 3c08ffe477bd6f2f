"""A layered map of the table: both views, laid out on level planes seen from above, completed, and looked at again.

A multiplane image (Zhou et al. 2018, "Stereo Magnification") whose planes are level in base_link. On them the fixed
side camera's picture is always distorted in the same way, and a wrist frame lies where it belongs, so a small
convolutional network can complete what the wrist camera has not seen yet; looking at the map from any pose of the wrist
camera is geometry again.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_rollouts.episode import STATE_SIZE
from ws_rollouts.task import Task
from ws_world_model.calibration import Calibration
from ws_world_model.networks import blocks, shares

_ABOVE = 0.27  # m in base_link, about where the wrist camera is: the next plane shifts the picture by so much more
PLANES = tuple(round(_ABOVE - 1.0 / (1.0 / (_ABOVE + 0.04) + 0.84 * k), 3) for k in range(8))  # m, the table first
CELLS = 144  # of a plane's side
SOURCES = 4  # start and memory, side and wrist
PATCH = 16  # cells of the square around the tool that the core looks at
_PATCH_CELL = 0.005  # m
_MARGIN = 0.08  # m of table around the workspace that the wrist camera sees
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_EACH = SOURCES + 4 * (3 + 1)  # numbers for a block of 2x2 cells of a plane: shares; each cell's colour and opacity


class TableMap:
    """Where the map's cells are, and how cameras see them; cell (row, column) is (x, y) in base_link."""

    def __init__(self, calibration: Calibration, task: Task):
        self._cameras = calibration
        ahead = calibration.wrist_offset
        low = np.array(task.workspace_low[:2]) + ahead - _MARGIN
        high = np.array(task.workspace_high[:2]) + ahead + _MARGIN
        self.low, self.step = low, (high - low) / (CELLS - 1)
        self._scale = 2.0 / (self.step * (CELLS - 1))  # of the map's -1 .. 1, in 1/m
        rows, columns = np.mgrid[: calibration.size, : calibration.size]
        pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
        self._rays = torch.from_numpy((pixels @ np.linalg.inv(calibration.wrist.matrix).T).astype(np.float32))

    def lay_out(self, start: dict, memory: dict, sources: np.ndarray, views: str, remember: bool) -> np.ndarray:
        """Both views of start and memory on all planes: (CELLS, CELLS, 3 SOURCES PLANES) uint8, planes outermost.

        `start`, `memory`: view -> (S, S, 3); `sources` (2, 13): where their wrist frames were taken.
        """
        here, turned = self._cameras.wrist_pose(sources)
        side, wrist = self._cameras.side, self._cameras.wrist
        cameras = [(start["wrist"], wrist.matrix, here[0], turned[0], views != "side"),
                   (memory["wrist"], wrist.matrix, here[1], turned[1], views != "side" and remember),
                   (start["side"], side.matrix, side.position, side.rotation, views != "wrist"),
                   (memory["side"], side.matrix, side.position, side.rotation, views != "wrist" and remember)]
        out = np.zeros((CELLS, CELLS, 3 * SOURCES * len(PLANES)), np.uint8)
        for d, height in enumerate(PLANES):
            # column and row of the map -> a point of base_link on this plane
            place = np.array([[0, self.step[0], self.low[0]], [self.step[1], 0, self.low[1]], [0, 0, height],
                              [0, 0, 1.0]])
            for s, (image, matrix, position, rotation, used) in enumerate(cameras):
                if used:
                    see = matrix @ rotation.T @ np.hstack([np.eye(3), -position[:, None]])
                    at = 3 * (SOURCES * d + s)
                    out[..., at : at + 3] = cv2.warpPerspective(image, see @ place, (CELLS, CELLS), flags=_WARP)
        return out

    def grids(self, poses: np.ndarray) -> Tensor:
        """Where the wrist camera's pixels at `poses` (B, M, 13) meet the planes: (B, PLANES, M, S^2, 2), -1 .. 1 for

        grid_sample, column first. One multiplication and addition for each number: there are many.
        """
        count = poses.shape[:2]
        here, turned = self._cameras.wrist_pose(poses.reshape(-1, STATE_SIZE))
        first = torch.from_numpy(self._on_map(here).astype(np.float32))
        rays = self._rays @ torch.from_numpy(turned[:, [1, 0, 2]].astype(np.float32)).transpose(1, 2)
        slope = rays[..., :2] / rays[..., 2:].clamp(max=-0.1) * torch.from_numpy(self._scale[::-1].astype(np.float32))
        drop = (torch.tensor(PLANES)[:, None] - torch.from_numpy(here[:, 2].astype(np.float32))).clamp(max=-0.02)
        return torch.addcmul(first.view(count[0], 1, count[1], 1, 2), slope.view(count[0], 1, count[1], -1, 2),
                             drop.view(len(PLANES), *count).transpose(0, 1).contiguous()[..., None, None])


    def around(self, positions: np.ndarray) -> Tensor:
        """The squares around tool positions (B, N, 3) as (B, N PATCH, PATCH, 2) for grid_sample, column first."""
        ramp = (np.arange(PATCH) - (PATCH - 1) / 2) * _PATCH_CELL
        square = np.stack(np.meshgrid(ramp * self._scale[1], ramp * self._scale[0]), axis=-1)
        grid = self._on_map(positions)[:, :, None, None] + square
        return torch.from_numpy(grid.reshape(len(positions), -1, PATCH, 2).astype(np.float32))

    def _on_map(self, places: np.ndarray) -> np.ndarray:
        """Places (..., 3) in base_link as column and row (..., 2), -1 .. 1."""
        return ((places[..., :2] - self.low) * self._scale - 1.0)[..., ::-1]


class Completion(nn.Module):
    """The map from what is laid out: a U-Net that chooses among the sources, draws the rest, and says what is solid."""

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 64)):
        super().__init__()
        a, b, c = widths
        self.enter = nn.Conv2d(4 * 3 * SOURCES * len(PLANES), a, 1)
        self.first = nn.Conv2d(a, a, 3, 1, 1)
        self.down1 = nn.Conv2d(a, b, 3, 2, 1)
        self.mid = nn.Conv2d(b, b, 3, 1, 1)
        self.down2 = nn.Conv2d(b, c, 3, 2, 1)
        self.low1 = nn.Conv2d(c, c, 3, 1, 1)
        self.low2 = nn.Conv2d(c, c, 3, 1, 2, dilation=2)
        self.low3 = nn.Conv2d(c, c, 3, 1, 4, dilation=4)
        self.up1 = nn.Conv2d(c, b, 1)
        self.out1 = nn.Conv2d(b, b, 3, 1, 1)
        self.up2 = nn.Conv2d(b, a, 1)
        self.out2 = nn.Conv2d(a, a, 3, 1, 1)
        self.leave = nn.Conv2d(a, _EACH * len(PLANES), 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, laid: Tensor) -> Tensor:
        """(B, CELLS, CELLS, 3 SOURCES PLANES) uint8 -> (B, PLANES, 4, CELLS, CELLS): colour and opacity in 0 .. 1."""
        known = blocks(laid, 2)
        x = self.enter(known)
        x = x + self.first(F.silu(x))
        y = self.down1(F.silu(x))
        y = y + self.mid(F.silu(y))
        z = self.down2(F.silu(y))
        for layer in (self.low1, self.low2, self.low3):
            z = z + layer(F.silu(z))
        y = y + F.interpolate(self.up1(z), scale_factor=2)
        y = y + self.out1(F.silu(y))
        x = x + F.interpolate(self.up2(y), scale_factor=2)
        x = x + self.out2(F.silu(x))
        return self._compose(known.contiguous(), self.leave(F.silu(x)).contiguous())

    @staticmethod
    def _compose(known: Tensor, out: Tensor) -> Tensor:
        """Sources (B, 4 3 SOURCES PLANES, G/2, G/2) about 0, mixed by what the network says of each block of cells."""
        out = out.unflatten(1, (len(PLANES), _EACH))
        share = shares(out[:, :, :SOURCES], dim=2)
        seen = known.unflatten(1, (4, len(PLANES), SOURCES, 3))
        mixed = (seen * share[:, None, :, :, None]).sum(3) + 0.5  # (B, 4, PLANES, 3, G/2, G/2)
        drawn = out[:, :, SOURCES:].unflatten(2, (4, 4))  # colour and opacity, then cells
        colour = mixed.permute(0, 2, 3, 1, 4, 5) + drawn[:, :, :3]
        solid = torch.sigmoid(drawn[:, :, 3:] - 1.0)
        solid = torch.cat([torch.ones_like(solid[:, :1]), solid[:, 1:]], dim=1)  # the table lets nothing through
        return F.pixel_shuffle(torch.cat([colour, solid], dim=2).flatten(2, 3).float(), 2)


def look(planes: Tensor, grids: Tensor, size: int) -> Tensor:
    """The map (B, PLANES, 4, G, G) from M poses each (B, PLANES, M, S^2, 2): (B M, 3, S, S), from the table upwards."""
    batch, _, count = grids.shape[:3]
    # all poses of a start in one grid: each plane is read, and its gradient made, once
    wide = grids.view(batch * len(PLANES), count * size, size, 2)
    seen = F.grid_sample(planes.flatten(0, 1), wide, padding_mode="border", align_corners=True)
    seen = seen.view(batch, len(PLANES), 4, count, size, size)
    picture = seen[:, 0, :3]
    for d in range(1, len(PLANES)):
        picture = torch.lerp(picture, seen[:, d, :3], seen[:, d, 3:])
    return picture.transpose(1, 2).flatten(0, 1)


def cut(planes: Tensor, squares: Tensor) -> Tensor:
    """Squares (B, N PATCH, PATCH, 2) of the maps (B, PLANES, 4, G, G): (B N, 4 PLANES, PATCH, PATCH)."""
    seen = F.grid_sample(planes.flatten(1, 2), squares, padding_mode="border", align_corners=True)
    return seen.unflatten(2, (-1, PATCH)).transpose(1, 2).flatten(0, 1)
