"""What the policy sees: two square views and the proprioception, built from camera frames and the servo state."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ws_rollouts.episode import STATE_SIZE


class ObservationError(ValueError):
    """Something from which no observation can be made; the text says what and why."""


@dataclass(frozen=True)
class Observation:
    """One observation, RGB.

    frames[view] (S, S, 3) uint8 for "side" and "wrist"; state (13,) float32, layout `ws_rollouts.episode.STATE`;
    stamps[view] ns of the camera frames.
    """

    frames: dict[str, np.ndarray]
    state: np.ndarray
    stamps: dict[str, int]


def crop_resize(frame: np.ndarray, crop: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Cut x, y, width, height (px) out of (H, W, 3) uint8 and shrink it to (size, size, 3) by area averaging.

    Raises ObservationError when the crop leaves the frame.
    """
    x, y, width, height = crop
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > frame.shape[1] or y + height > frame.shape[0]:
        raise ObservationError(f"crop {crop} leaves the {frame.shape[1]}x{frame.shape[0]} frame")
    return cv2.resize(frame[y : y + height, x : x + width], (size, size), interpolation=cv2.INTER_AREA)


def make_state(position, rotation, gripper: float, velocity, target) -> np.ndarray:
    """Proprioception (13,) float32 from the servo state: m, rad, 0 .. 1, m/s, m; frame base_link.

    Raises ObservationError when a number is not finite.
    """
    position = np.asarray(position, float)
    state = np.concatenate([position, rotation, [gripper], velocity, np.subtract(target, position)]).astype(np.float32)
    if state.shape != (STATE_SIZE,):
        raise ObservationError(f"servo state gives {state.size} numbers, not {STATE_SIZE}")
    if not np.isfinite(state).all():
        raise ObservationError("servo state is not finite")
    return state


def image_view(encoding: str, width: int, height: int, step: int, data, expected: tuple[int, int]) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of a sensor_msgs/Image, without a copy.

    `expected` is (width, height). Raises ObservationError on another encoding, size or length.
    """
    if encoding != "rgb8":
        raise ObservationError(f"encoding {encoding!r}, not 'rgb8'")
    if (width, height) != tuple(expected):
        raise ObservationError(f"size {width}x{height}, not {expected[0]}x{expected[1]}")
    if step != 3 * width or len(data) != step * height:
        raise ObservationError(f"step {step} and {len(data)} bytes do not fit {width}x{height} rgb8")
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)
