"""Publishes joint_states, /tf, /tf_static and robot_description from the measured joints."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from ws_driver_a1x import vendor
from ws_driver_a1x.kinematics import JOINTS, Kinematics, robot_description
from ws_node.qos import latched

FINGERS = ("gripper_finger_joint1", "gripper_finger_joint2")


class Broadcaster:
    """As robot_state_publisher does, for this one robot and without another process."""

    def __init__(self, node: Node, kinematics: Kinematics, camera_mounts: bool):
        self._kinematics = kinematics
        description = robot_description()
        joints = {j.get("name"): j for j in ElementTree.fromstring(description).findall("joint")}
        self._states = node.create_publisher(JointState, "joint_states", QoSProfile(depth=5))
        self._tf = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=10))
        self._tf_static = node.create_publisher(TFMessage, "/tf_static", latched())
        self._description = node.create_publisher(String, "robot_description", latched())
        self._description.publish(String(data=description))
        self._state = JointState(name=[*JOINTS, *FINGERS])
        self._moving = TFMessage(transforms=[_transform(joints[name]) for name in (*JOINTS, *FINGERS)])
        self._finger_rest = [t.transform.translation.y for t in self._moving.transforms[len(JOINTS):]]
        fixed = [j for j in joints.values() if j.get("type") == "fixed"]
        fixed = [j for j in fixed if camera_mounts or not j.get("name").endswith("_camera_joint")]
        transforms = [_transform(j) for j in fixed]
        for transform in transforms:
            transform.header.stamp = node.get_clock().now().to_msg()
        self._tf_static.publish(TFMessage(transforms=transforms))

    def publish(self, stamp: Time, joints: np.ndarray, velocity: np.ndarray, effort: np.ndarray,
                opening: float) -> None:
        """Measured joints, rad, rad/s, Nm, (6,) each, and the gripper's opening 0 closed .. 1 open."""
        fingers = vendor.fingers(opening)
        state = self._state
        state.header.stamp = stamp
        state.position = [*joints.tolist(), *fingers]
        state.velocity = [*velocity.tolist(), 0.0, 0.0]
        state.effort = [*effort.tolist(), 0.0, 0.0]
        self._states.publish(state)
        transforms = self._moving.transforms
        for transform, (x, y, z, w) in zip(transforms, self._kinematics.link_turns(joints).tolist(), strict=False):
            rotation = transform.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
        for transform, rest, finger in zip(transforms[len(JOINTS):], self._finger_rest, fingers, strict=True):
            transform.transform.translation.y = rest + finger
        for transform in transforms:
            transform.header.stamp = stamp
        self._tf.publish(self._moving)


def _numbers(text: str) -> list[float]:
    return [float(v) for v in text.split()]


def _transform(joint: ElementTree.Element) -> TransformStamped:
    """A URDF joint at zero."""
    message = TransformStamped(child_frame_id=joint.find("child").get("link"))
    message.header.frame_id = joint.find("parent").get("link")
    origin, transform = joint.find("origin"), message.transform
    transform.translation.x, transform.translation.y, transform.translation.z = _numbers(origin.get("xyz"))
    r, p, y = np.multiply(0.5, _numbers(origin.get("rpy")))
    cr, cp, cy, sr, sp, sy = *np.cos([r, p, y]).tolist(), *np.sin([r, p, y]).tolist()
    rotation = transform.rotation
    rotation.x, rotation.y = sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy
    rotation.z, rotation.w = cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy
    return message
