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

from ws_rollouts.task import Task
from ws_world_model.calibration import Calibration
from ws_world_model.networks import blocks, shares

PLANES = (-0.04, 0.02, 0.07, 0.11, 0.15)  # m in base_link, the table first
CELLS = 112  # of a plane's side
SOURCES = 4  # start and memory, side and wrist
_MARGIN = 0.08  # m of table around the workspace that the wrist camera sees
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_EACH = SOURCES + 3 + 1  # numbers for a cell of a plane: shares, drawn colour, opacity


class TableMap:
    """Where the map's cells are, and how cameras see them; cell (row, column) is (x, y) in base_link."""

    def __init__(self, calibration: Calibration, task: Task):
        self._cameras = calibration
        ahead = calibration.wrist_offset
        low = np.array(task.workspace_low[:2]) + ahead - _MARGIN
        high = np.array(task.workspace_high[:2]) + ahead + _MARGIN
        self.low, self.step = low, (high - low) / (CELLS - 1)
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
        """Where the wrist camera's pixels at `poses` (N, 13) meet the planes: (N, PLANES, S^2, 2) for grid_sample."""
        here, turned = (torch.from_numpy(a.astype(np.float32)) for a in self._cameras.wrist_pose(poses))
        rays = self._rays @ turned.transpose(1, 2)
        down = rays[..., 2].clamp(max=-0.1)
        drop = torch.tensor(PLANES) - here[:, 2:]
        reach = drop.clamp(max=-0.02)[:, :, None] / down[:, None]
        meets = here[:, None, None, :2] + rays[:, None, :, :2] * reach[..., None]
        cells = (meets - torch.from_numpy(self.low.astype(np.float32))) / torch.from_numpy(self.step.astype(np.float32))
        return (cells * 2.0 / (CELLS - 1) - 1.0).flip(-1)  # grid_sample wants column, row


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
        self.leave = nn.Conv2d(a, 4 * _EACH * len(PLANES), 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, laid: Tensor) -> Tensor:
        """(B, CELLS, CELLS, 3 SOURCES PLANES) uint8 -> (B, PLANES, 4, CELLS, CELLS): colour and opacity in 0 .. 1."""
        x = self.enter(blocks(laid, 2))
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
        out = F.pixel_shuffle(self.leave(F.silu(x)).float().contiguous(), 2).unflatten(1, (len(PLANES), _EACH))
        seen = laid.permute(0, 3, 1, 2).contiguous().float().div_(255.0).unflatten(1, (len(PLANES), SOURCES, 3))
        share = shares(out[:, :, :SOURCES], dim=2)
        colour = (seen * share[:, :, :, None]).sum(2) + out[:, :, SOURCES:-1]
        solid = torch.sigmoid(out[:, :, -1:] - 1.0)
        return torch.cat([colour, torch.cat([torch.ones_like(solid[:, :1]), solid[:, 1:]], dim=1)], dim=2)


def look(planes: Tensor, grids: Tensor, size: int) -> Tensor:
    """The map (B, PLANES, 4, G, G) from M poses each (B M, PLANES, S^2, 2): (B M, 3, S, S), from the table upwards."""
    batch, count = len(planes), len(grids) // len(planes)
    # all poses of a start in one grid: each plane is read, and its gradient made, once
    wide = grids.unflatten(0, (batch, count)).transpose(1, 2).reshape(batch * len(PLANES), count * size, size, 2)
    seen = F.grid_sample(planes.flatten(0, 1), wide, padding_mode="border", align_corners=True)
    seen = seen.view(batch, len(PLANES), 4, count, size, size).permute(0, 3, 1, 2, 4, 5).flatten(0, 1)
    picture = seen[:, 0, :3]
    for d in range(1, len(PLANES)):
        solid = seen[:, d, 3:]
        picture = picture + solid * (seen[:, d, :3] - picture)
    return picture
