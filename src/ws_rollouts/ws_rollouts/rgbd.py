"""What a depth camera saw of an episode: full colour frames with aligned depth, and where the arm was then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PARENTS = {"side": "base_link", "wrist": "gripper_link"}  # the link that each camera is mounted on


@dataclass(frozen=True)
class RgbdStream:
    """N exposures of one camera in order of time, H x W px. Raises ValueError when the shapes do not fit each other.

    stamp (N,) int64 ns; color (N, H, W, 3) uint8 RGB; depth (N, H, W) uint16 mm along the optical axis, aligned to
    color, 0 where nothing was measured; joints (N, 6) float32 rad and opening (N,) float32 (0 closed .. 1 open) of the
    arm at each exposure; lens (4,) float64 fx, fy, cx, cy px, as in camera_info; mount (4, 4) float64: pose of the
    optical frame (x right, y down, z forward) in the link of `PARENTS`, m.
    """

    stamp: np.ndarray
    color: np.ndarray
    depth: np.ndarray
    joints: np.ndarray
    opening: np.ndarray
    lens: np.ndarray
    mount: np.ndarray

    def __post_init__(self):
        count, *size, channels = self.color.shape
        wanted = {"stamp": (count,), "depth": (count, *size), "joints": (count, 6), "opening": (count,), "lens": (4,),
                  "mount": (4, 4)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, must be {shape}")
        if channels != 3:
            raise ValueError(f"color has {channels} channels, must have 3")

    def __len__(self) -> int:
        return len(self.stamp)

    def head(self, count: int) -> RgbdStream:
        """The first `count` exposures, in memory of their own."""
        rows = {name: getattr(self, name)[:count].copy() for name in ("stamp", "color", "depth", "joints", "opening")}
        return RgbdStream(**rows, lens=self.lens, mount=self.mount)
