"""Topics of one simulated colour camera, as realsense2_camera names, encodes and stamps them."""

from __future__ import annotations

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ws_node.conversions import byte_field
from ws_twin_a1x.cameras import HEIGHT, INTRINSICS, WIDTH

JPEG_QUALITY = 90


def camera_info(frame_id: str) -> CameraInfo:
    """The constant part of a D435i's camera_info at 424x240: no distortion, no rectification."""
    fx, fy, cx, cy = INTRINSICS
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = frame_id
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def make_publisher(node: Node, kind: type, topic: str, qos: QoSProfile) -> Publisher:
    """A publisher without QoS events: the executor would pay for each of them on each of its 200 rounds a second."""
    quiet = PublisherEventCallbacks(use_default_callbacks=False)
    return node.create_publisher(kind, topic, qos, event_callbacks=quiet)


class CameraPublisher:
    """Publishes image_raw (rgb8), camera_info and, while someone listens, image_raw/compressed (JPEG).

    With `depth` also the depth aligned to it (16UC1, mm), as far as it is given.
    """

    def __init__(self, node: Node, view: str, depth: bool = False):
        base = f"{view}_camera/color"
        reliable = QoSProfile(depth=1)
        self._image = make_publisher(node, Image, f"{base}/image_raw", reliable)
        self._info = make_publisher(node, CameraInfo, f"{base}/camera_info", QoSProfile(depth=10))
        self._jpeg = make_publisher(node, CompressedImage, f"{base}/image_raw/compressed", reliable)
        frame_id = f"{view}_camera_color_optical_frame"
        self._info_message = camera_info(frame_id)
        self._image_message = Image(width=WIDTH, height=HEIGHT, step=3 * WIDTH, encoding="rgb8")
        self._image_message.header.frame_id = frame_id
        self._jpeg_message = CompressedImage(format="rgb8; jpeg compressed bgr8")
        self._jpeg_message.header.frame_id = frame_id
        self._depth = None
        if depth:
            base = f"{view}_camera/aligned_depth_to_color"
            self._depth = make_publisher(node, Image, f"{base}/image_raw", reliable)
            self._depth_info = make_publisher(node, CameraInfo, f"{base}/camera_info", QoSProfile(depth=10))
            self._depth_message = Image(width=WIDTH, height=HEIGHT, step=2 * WIDTH, encoding="16UC1")
            self._depth_message.header.frame_id = frame_id
        self.frames = self.depth_frames = 0

    @property
    def wants_depth(self) -> bool:
        """Whether someone listens to depth."""
        return self._depth is not None and self._depth.get_subscription_count() > 0

    def publish(self, picture: np.ndarray, stamp: Time, depth: np.ndarray | None = None) -> None:
        """Publish one picture (240, 424, 3) uint8 RGB taken at `stamp`, and its depth (240, 424) uint16 mm."""
        self._info_message.header.stamp = stamp
        self._info.publish(self._info_message)
        if self._image.get_subscription_count():
            self._image_message.header.stamp = stamp
            self._image_message.data = byte_field(picture)
            self._image.publish(self._image_message)
        if self._jpeg.get_subscription_count():
            self._jpeg_message.header.stamp = stamp
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            self._jpeg_message.data = byte_field(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1])
            self._jpeg.publish(self._jpeg_message)
        self.frames += 1
        if depth is not None:
            self._depth_info.publish(self._info_message)  # aligned: the lens and the stamp of color
            self._depth_message.header.stamp = stamp
            self._depth_message.data = byte_field(depth.astype("<u2", copy=False))
            self._depth.publish(self._depth_message)
            self.depth_frames += 1
