"""What depth cameras saw, to the topics of a bag and back. Nothing here refuses a bag: what is unfit is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ws_rollouts import messages
from ws_rollouts.episode import VIEWS
from ws_rollouts.frames import COLOR, DEPTH, decode_image, encode_frame, stamp_of
from ws_rollouts.geometry import pose_of, quaternion_of, walk
from ws_rollouts.reader import Raw
from ws_rollouts.rgbd import PARENTS, RgbdStream
from ws_rollouts.schema import (
    CAMERA_INFO,
    COLOR_IMAGES,
    DEPTH_IMAGES,
    INFO_TYPE,
    JOINT_STATES,
    JOINT_TYPE,
    PAIR_NS,
    TF_STATIC,
    TF_TYPE,
)

ARM = tuple(f"arm_joint{i}" for i in range(1, 7))
FINGERS = ("gripper_finger_joint1", "gripper_finger_joint2")
FINGER_TRAVEL = 0.05  # m of each finger, closed to open
JOINTS_WITHIN = 50_000_000  # ns from an exposure to the nearest joint state
MAX_BYTES = 512 << 20  # of one episode
_KIND = {TF_STATIC: TF_TYPE, JOINT_STATES: JOINT_TYPE} | dict.fromkeys(CAMERA_INFO.values(), INFO_TYPE)
_NAMES = (*COLOR_IMAGES.values(), *DEPTH_IMAGES.values(), *_KIND)


def optical_frame(view: str) -> str:
    """The frame of a camera's pictures."""
    return f"{view}_camera_color_optical_frame"


class RgbdReader:
    """Takes the messages of one bag; `streams` makes of them what can be made.

    `problems` then has each reason for which something was left out, and how many exposures (of a view without
    depth: 1).
    """

    def __init__(self, most: int = 0) -> None:
        """`most`: only so many exposures of each view, the first ones; 0: all."""
        self._most = most
        self.problems: Counter[str] = Counter()
        self._topics: dict[str, str] = {}  # absolute -> one of _NAMES
        self._color: dict[str, dict[int, Raw]] = {view: {} for view in VIEWS}
        self._depth: dict[str, dict[int, Raw]] = {view: {} for view in VIEWS}
        self._info: dict[str, Any] = {}
        self._links: dict[str, tuple[str, np.ndarray]] = {}  # child -> parent, its pose in that
        self._joints: dict[int, list[float]] = {}  # by stamp: six joints, opening
        self._times = np.zeros(0, np.int64)  # those stamps in order
        self._bytes = 0

    def wants(self, topic: str) -> bool:
        """Whether a topic by its absolute name is of use, in any namespace."""
        name = next((n for n in _NAMES if topic.endswith("/" + n.lstrip("/"))), None)
        if name is not None:
            self._topics[topic] = name
        return name is not None

    def add(self, raw: Raw) -> None:
        """Take a message of a topic that `wants` said yes to."""
        name = self._topics[raw.topic]
        try:
            if name in _KIND:
                if raw.type != _KIND[name]:
                    raise ValueError(f"is {raw.type}")
                self._learn(name, messages.decode(raw.data, raw.type))
                return
            self._bytes += len(raw.data)
            if self._bytes > MAX_BYTES:
                raise ValueError(f"beyond {MAX_BYTES >> 20} MiB of an episode")
            kept = self._depth if name in DEPTH_IMAGES.values() else self._color
            view = next(v for v in VIEWS if name in (DEPTH_IMAGES[v], COLOR_IMAGES[v]))
            kept[view][stamp_of(raw.data)] = raw
        except ValueError as error:
            self.problems[f"{name}: {error}"] += 1

    def streams(self) -> dict[str, RgbdStream]:
        """Views of which at least one exposure is whole."""
        self._times = np.array(sorted(self._joints), np.int64)
        found = {view: self._stream(view) for view in VIEWS}
        return {view: stream for view, stream in found.items() if stream is not None}

    def _learn(self, name: str, message: Any) -> None:
        if name == TF_STATIC:
            for link in message.transforms:  # a later one replaces an earlier one
                self._links[link.child_frame_id.lstrip("/")] = (
                    link.header.frame_id.lstrip("/"), pose_of(link.transform))
        elif name == JOINT_STATES:
            position = dict(zip(message.name, message.position.tolist(), strict=False))
            if not {*ARM, FINGERS[0]} <= position.keys():
                raise ValueError("names or positions are missing")
            values = [*(position[joint] for joint in ARM), position[FINGERS[0]] / FINGER_TRAVEL]
            if not np.isfinite(values).all():
                raise ValueError("not finite")
            self._joints[messages.nanoseconds(message.header.stamp)] = values
        else:
            self._info[name] = message

    def _stream(self, view: str) -> RgbdStream | None:
        count = len(self._depth[view])
        if not count:
            self.problems[f"{view}: no depth"] += 1
            return None
        try:
            lens, size = _lens(self._info.get(CAMERA_INFO[view]))
            mount = walk(self._links, PARENTS[view], optical_frame(view))
        except ValueError as error:
            self.problems[f"{view}: {error}"] += count
            return None
        taken = []
        for stamp in sorted(self._depth[view]):
            if self._most and len(taken) == self._most:
                break
            try:
                taken.append((stamp, *self._exposure(view, stamp, size)))
            except ValueError as error:
                self.problems[f"{view}: {error}"] += 1
        if not taken:
            return None
        stamps, color, depth, joints = zip(*taken, strict=True)
        joints = np.array(joints, np.float32)
        return RgbdStream(np.array(stamps, np.int64), np.stack(color), np.stack(depth).astype(np.uint16, copy=False),
                          joints[:, :6], joints[:, 6], lens, mount)

    def _exposure(self, view: str, stamp: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Color, depth, and the arm's joints with the opening (7,). Raises ValueError saying what is not there."""
        near = min(self._color[view], key=lambda s: abs(s - stamp), default=None)
        if near is None or abs(near - stamp) > PAIR_NS:
            raise ValueError(f"no color within {PAIR_NS // 10**6} ms of depth")
        raw = self._depth[view][stamp]
        depth = decode_image(raw.data, raw.type, DEPTH)[1]
        raw = self._color[view][near]
        color = decode_image(raw.data, raw.type, COLOR)[1]
        if not color.shape[:2] == depth.shape == size:
            raise ValueError("color, depth and camera_info differ in size")
        if not depth.any():
            raise ValueError("depth all zero")
        return color, depth, self._arm_at(stamp)

    def _arm_at(self, stamp: int) -> np.ndarray:
        times = self._times - stamp  # small, so that a float holds each exactly
        if not len(times) or np.abs(times).min() > JOINTS_WITHIN:
            raise ValueError(f"no joint state within {JOINTS_WITHIN // 10**6} ms")
        after = int(np.searchsorted(times, 0))
        ends = [min(max(i, 0), len(times) - 1) for i in (after - 1, after)]
        one, other = (np.array(self._joints[int(times[i]) + stamp]) for i in ends)
        if times[ends[1]] == 0 or ends[0] == ends[1]:  # exactly then, or beyond either end
            return other
        return one + (other - one) * (-times[ends[0]] / (times[ends[1]] - times[ends[0]]))


def rgbd_messages(rgbd: Mapping[str, RgbdStream]) -> Iterator[tuple[str, bytes, int]]:
    """Absolute topic, CDR, stamp in ns, in order of time: frames, lenses, joint states, and pictures with depth."""
    views = {view: stream for view, stream in rgbd.items() if len(stream)}
    if not views:
        return
    start = min(int(stream.stamp[0]) for stream in views.values())
    links = [_link(view, stream, start) for view, stream in views.items()]
    yield TF_STATIC, messages.encode(messages.new(TF_TYPE, transforms=links)), start
    for view, stream in views.items():
        yield "/" + CAMERA_INFO[view], messages.encode(_camera_info(view, stream, start)), start
    told = None
    exposures = sorted((int(stamp), view, i) for view, each in views.items() for i, stamp in enumerate(each.stamp))
    for stamp, view, i in exposures:
        stream = views[view]
        if stamp != told:
            told = stamp
            yield "/" + JOINT_STATES, messages.encode(_joint_state(stream, i, stamp)), stamp
        yield "/" + COLOR_IMAGES[view], encode_frame(stream.color[i], stamp, view), stamp
        yield "/" + DEPTH_IMAGES[view], encode_frame(stream.depth[i], stamp, view), stamp


def _lens(info: Any) -> tuple[np.ndarray, tuple[int, int]]:
    if info is None:
        raise ValueError("no camera_info")
    fx, _, cx, _, fy, cy, *_ = info.k.tolist()
    lens = np.array([fx, fy, cx, cy])
    if not (np.isfinite(lens).all() and fx > 0.0 and fy > 0.0):
        raise ValueError("camera_info without focal length")
    return lens, (int(info.height), int(info.width))


def _header(stamp: int, frame: str) -> Any:
    return messages.new("std_msgs/msg/Header", stamp=messages.time_message(stamp), frame_id=frame)


def _link(view: str, stream: RgbdStream, stamp: int) -> Any:
    x, y, z = stream.mount[:3, 3].tolist()
    turn = dict(zip("xyzw", quaternion_of(stream.mount[:3, :3]).tolist(), strict=True))
    transform = messages.new("geometry_msgs/msg/Transform",
                             translation=messages.new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                             rotation=messages.new("geometry_msgs/msg/Quaternion", **turn))
    return messages.new("geometry_msgs/msg/TransformStamped", header=_header(stamp, PARENTS[view]),
                        child_frame_id=optical_frame(view), transform=transform)


def _camera_info(view: str, stream: RgbdStream, stamp: int) -> Any:
    fx, fy, cx, cy = stream.lens.tolist()
    height, width = stream.depth.shape[1:]
    region = messages.new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0,
                          do_rectify=False)
    return messages.new(
        INFO_TYPE, header=_header(stamp, optical_frame(view)), height=height, width=width,
        distortion_model="plumb_bob", d=np.zeros(5), k=np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]),
        r=np.eye(3).ravel(), p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]), binning_x=0, binning_y=0,
        roi=region)


def _joint_state(stream: RgbdStream, index: int, stamp: int) -> Any:
    finger = FINGER_TRAVEL * float(stream.opening[index])
    return messages.new(JOINT_TYPE, header=_header(stamp, ""), name=[*ARM, *FINGERS],
                        position=np.array([*stream.joints[index].tolist(), finger, -finger]), velocity=np.zeros(0),
                        effort=np.zeros(0))
