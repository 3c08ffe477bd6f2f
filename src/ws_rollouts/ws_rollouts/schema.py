"""What a rollout bag holds: topics, their types and quality of service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ws_rollouts.episode import VIEWS

STEP_TYPE = "ws_interfaces/msg/Step"
IMAGE_TYPE = "sensor_msgs/msg/Image"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
JOINT_TYPE = "sensor_msgs/msg/JointState"
TF_TYPE = "tf2_msgs/msg/TFMessage"
SCHEMA = 2  # of bags, in their custom_data: 1 (which none says) had no depth
STEP = "policy/step"
NOTES = "worldsample"  # MCAP metadata record that repeats custom_data, where a CRC covers it
FRAMES = {view: f"policy/{view}/image_raw" for view in VIEWS}
JOINT_STATES, TF_STATIC = "joint_states", "/tf_static"
COLOR_IMAGES = {view: f"a1x/{view}_camera/color/image_raw" for view in VIEWS}
DEPTH_IMAGES = {view: f"a1x/{view}_camera/aligned_depth_to_color/image_raw" for view in VIEWS}
CAMERA_INFO = {view: f"a1x/{view}_camera/color/camera_info" for view in VIEWS}
PAIR_NS = 33_333_333  # half a period of 15 Hz: the most that lies between depth and the color frame it belongs to

# As rmw writes an endless duration.
_ENDLESS = {"sec": 9223372036, "nsec": 854775807}
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


class BagError(ValueError):
    """A bag that cannot be used; the text names the path and the reason."""

    def __init__(self, path: Any, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Topic:
    """A topic to record; the name is relative to the node's namespace unless it starts with a slash."""

    name: str
    type: str
    reliable: bool = False
    latched: bool = False
    depth: int = 50


POLICY_TOPICS = (
    Topic(STEP, STEP_TYPE, reliable=True),
    *(Topic(name, IMAGE_TYPE, reliable=True) for name in FRAMES.values()),
)
ROBOT_TOPICS = (
    Topic(JOINT_STATES, JOINT_TYPE),
    Topic("a1x/servo/delta_twist_cmds", "geometry_msgs/msg/TwistStamped"),
    Topic("a1x/gripper_command", "std_msgs/msg/Float32"),
    Topic("a1x/servo/state", "ws_interfaces/msg/ServoState"),
    Topic("/tf", TF_TYPE),
    Topic(TF_STATIC, TF_TYPE, reliable=True, latched=True),
    Topic("robot_description", "std_msgs/msg/String", reliable=True, latched=True, depth=1),
    Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
)
CAMERA_TOPICS = tuple(
    Topic(f"a1x/{view}_camera/color/image_raw/compressed", "sensor_msgs/msg/CompressedImage") for view in VIEWS
)
RGBD_TOPICS = (  # queues are short: a color frame has 0.3 MB
    *(Topic(name, INFO_TYPE, depth=1) for name in CAMERA_INFO.values()),
    *(Topic(name, IMAGE_TYPE, depth=4) for name in (*COLOR_IMAGES.values(), *DEPTH_IMAGES.values())),
)
RGBD_NEEDS = (JOINT_STATES, TF_STATIC)  # of the robot's topics: without them nobody knows where a camera was


def qos_profile(topic: Topic) -> dict[str, Any]:
    """The quality of service that was offered, as rosbag2 writes it in metadata version 9."""
    return {
        "history": "keep_last",
        "depth": topic.depth,
        "reliability": "reliable" if topic.reliable else "best_effort",
        "durability": "transient_local" if topic.latched else "volatile",
        "deadline": dict(_ENDLESS),
        "lifespan": dict(_ENDLESS),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(_ENDLESS),
        "avoid_ros_namespace_conventions": False,
    }


def check_episode_id(episode_id: str, where: Any) -> str:
    """The id, safe as the name of a folder; else BagError."""
    if not _SAFE_NAME.fullmatch(episode_id):
        raise BagError(where, f"episode_id {episode_id!r} must be letters, digits, '_', '-' or '.'")
    return episode_id
