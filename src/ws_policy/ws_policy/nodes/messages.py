"""Messages of the policy, made from plain values and read into them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Image

from ws_interfaces.msg import PolicyWeights, Step
from ws_node.conversions import byte_field, to_time
from ws_policy.observation import Observation
from ws_policy.weights import Packet


def image_fields(message: Image) -> tuple:
    """encoding, width, height, step, data, as `observation.image_view` takes them."""
    return message.encoding, message.width, message.height, message.step, message.data


def frame_message(pixels: np.ndarray, stamp: Time, frame_id: str) -> Image:
    """(H, W, 3) uint8 as rgb8."""
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = byte_field(pixels)
    return message


def twist_message(linear: Sequence[float], stamp: Time) -> TwistStamped:
    """Up to three translations in m/s, frame base_link."""
    message = TwistStamped()
    message.header.stamp, message.header.frame_id = stamp, "base_link"
    vector = message.twist.linear
    vector.x, vector.y, vector.z = (float(v) for v in (*linear, 0.0, 0.0, 0.0)[:3])
    return message


def step_message(observation: Observation, action: np.ndarray, executed: np.ndarray, stamp: Time, **fields) -> Step:
    """A Step; `fields` are the others by name."""
    message = Step(**fields)
    message.header.stamp, message.header.frame_id = stamp, "base_link"
    message.state = array("f", observation.state.astype(np.float32).tobytes())
    message.action = array("f", np.asarray(action, np.float32).tobytes())
    message.executed = array("f", np.asarray(executed, np.float32).tobytes())
    message.side_stamp = to_time(observation.stamps["side"])
    message.wrist_stamp = to_time(observation.stamps["wrist"])
    return message


def packet(message: PolicyWeights) -> Packet:
    """The weights of a message, for the checks."""
    return Packet(message.session, message.version, message.learner_step, message.architecture, message.length,
                  message.sha256, bytes(message.data))
