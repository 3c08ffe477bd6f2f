"""The policy's frames as sensor_msgs/Image: square rgb8, lossless."""

from __future__ import annotations

import struct

import numpy as np

from ws_rollouts import messages
from ws_rollouts.schema import IMAGE_TYPE

MAX_SIDE = 512  # px


def encode_frame(frame: np.ndarray, stamp_ns: int, view: str) -> bytes:
    """CDR of an Image with the (S, S, 3) uint8 RGB `frame`."""
    height, width, _ = frame.shape
    header = messages.new("std_msgs/msg/Header", stamp=messages.time_message(stamp_ns),
                          frame_id=f"{view}_camera_color_optical_frame")
    return messages.encode(messages.new(IMAGE_TYPE, header=header, height=height, width=width, encoding="rgb8",
                                        is_bigendian=0, step=3 * width, data=np.ascontiguousarray(frame).reshape(-1)))


def decode_frame(raw: bytes, msgtype: str) -> tuple[int, np.ndarray]:
    """Stamp in ns and the (S, S, 3) uint8 frame, a view on `raw`. Raises ValueError saying what is wrong."""
    if msgtype != IMAGE_TYPE:
        raise ValueError(f"is {msgtype}, must be {IMAGE_TYPE}")
    image = messages.decode(raw, IMAGE_TYPE)
    if image.encoding != "rgb8":
        raise ValueError(f"encoding {image.encoding!r}, must be 'rgb8'")
    if image.height != image.width or not 0 < image.width <= MAX_SIDE:
        raise ValueError(f"size {image.width}x{image.height}, must be square, up to {MAX_SIDE}")
    if image.step != 3 * image.width or len(image.data) != image.step * image.height:
        raise ValueError(f"{len(image.data)} bytes, step {image.step}: do not fit {image.width}x{image.height} rgb8")
    return messages.nanoseconds(image.header.stamp), image.data.reshape(image.height, image.width, 3)


def stamp_of(raw: bytes) -> int:
    """Stamp in ns of a serialised message that begins with a Header. Raises ValueError when it is too short."""
    if len(raw) < 12:
        raise ValueError(f"{len(raw)} bytes have no header")
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return sec * 10**9 + nanosec
