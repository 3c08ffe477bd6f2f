"""Pictures as sensor_msgs/Image: the policy's square frames, and full frames with depth beside them. Lossless."""

from __future__ import annotations

import struct

import numpy as np

from ws_rollouts import messages
from ws_rollouts.schema import IMAGE_TYPE

MAX_SIDE = 512  # px, of the policy's frames
COLOR, DEPTH = "rgb8", "16UC1"  # encodings; depth in mm
_PIXEL = {COLOR: (np.dtype(np.uint8), (3,)), DEPTH: (np.dtype(np.uint16), ())}


def encode_frame(frame: np.ndarray, stamp_ns: int, view: str) -> bytes:
    """CDR of an Image: (H, W, 3) uint8 RGB as rgb8, (H, W) uint16 mm as 16UC1."""
    height, width = frame.shape[:2]
    encoding = COLOR if frame.ndim == 3 else DEPTH
    kind, channels = _PIXEL[encoding]
    data = np.ascontiguousarray(frame, kind.newbyteorder("<")).reshape(-1).view(np.uint8)
    header = messages.new("std_msgs/msg/Header", stamp=messages.time_message(stamp_ns),
                          frame_id=f"{view}_camera_color_optical_frame")
    return messages.encode(messages.new(IMAGE_TYPE, header=header, height=height, width=width, encoding=encoding,
                                        is_bigendian=0, step=len(data) // height, data=data))


def decode_frame(raw: bytes, msgtype: str) -> tuple[int, np.ndarray]:
    """Stamp in ns and the (S, S, 3) uint8 frame, a view on `raw`. Raises ValueError saying what is wrong."""
    stamp, frame = decode_image(raw, msgtype, COLOR)
    height, width, _ = frame.shape
    if height != width or width > MAX_SIDE:
        raise ValueError(f"size {width}x{height}, must be square, up to {MAX_SIDE}")
    return stamp, frame


def decode_image(raw: bytes, msgtype: str, encoding: str) -> tuple[int, np.ndarray]:
    """Stamp in ns and the picture, a view on `raw`: (H, W, 3) uint8 of rgb8, (H, W) uint16 of 16UC1.

    Raises ValueError saying what is wrong: another type or encoding, no pixels, bytes that do not fit the size.
    """
    if msgtype != IMAGE_TYPE:
        raise ValueError(f"is {msgtype}, must be {IMAGE_TYPE}")
    image = messages.decode(raw, IMAGE_TYPE)
    if image.encoding != encoding:
        raise ValueError(f"encoding {image.encoding!r}, must be {encoding!r}")
    kind, channels = _PIXEL[encoding]
    row = kind.itemsize * int(np.prod(channels, dtype=int)) * image.width
    if not row or image.step != row or not image.height or len(image.data) != row * image.height:
        raise ValueError(f"{len(image.data)} bytes, step {image.step}: do not fit {image.width}x{image.height} "
                         f"{encoding}")
    pixels = image.data.view(kind.newbyteorder(">" if image.is_bigendian else "<"))
    return messages.nanoseconds(image.header.stamp), pixels.reshape(image.height, image.width, *channels)


def stamp_of(raw: bytes) -> int:
    """Stamp in ns of a serialised message that begins with a Header. Raises ValueError when it is too short."""
    if len(raw) < 12:
        raise ValueError(f"{len(raw)} bytes have no header")
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return sec * 10**9 + nanosec
