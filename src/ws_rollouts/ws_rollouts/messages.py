"""Message types without ROS: definitions, hashes and CDR of everything a rollout bag can hold."""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_LOCK = threading.Lock()


def interfaces_folder() -> Path:
    """Where the .msg files of ws_interfaces are: an installed prefix, or the source tree beside this package.

    Raises FileNotFoundError that lists where it looked.
    """
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    tried = [prefix / "share/ws_interfaces/msg" for prefix in prefixes]
    for parent in Path(__file__).resolve().parents:
        # source tree; isolated install; merged install
        tried += [parent / "ws_interfaces/msg", parent / "ws_interfaces/share/ws_interfaces/msg",
                  parent / "share/ws_interfaces/msg"]
    for folder in tried:
        if (folder / "Step.msg").is_file():
            return folder
    raise FileNotFoundError("no ws_interfaces/msg; looked in " + ", ".join(map(str, tried)))


@cache
def _typestore() -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(interfaces_folder().glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"ws_interfaces/msg/{path.stem}"))
    store.register(types)
    return store


def typestore() -> Typestore:
    """ROS 2 Jazzy's messages and ours; made once per process."""
    with _LOCK:
        return _typestore()


@cache
def definition(msgtype: str) -> tuple[str, str]:
    """Text of a type with all it contains (ros2msg), and its RIHS01 hash. Raises KeyError for an unknown type."""
    store = typestore()
    if msgtype not in store.fielddefs:
        raise KeyError(msgtype)
    text, _ = store.generate_msgdef(msgtype, ros_version=2)
    return text, store.hash_rihs01(msgtype)


def encode(message: Any) -> bytes:
    """CDR of a message made with `new`."""
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


def decode(raw: bytes, msgtype: str) -> Any:
    """The message in `raw`. Raises ValueError when the bytes are none of that type."""
    try:
        return typestore().deserialize_cdr(raw, msgtype)
    except (SerdeError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"no {msgtype}: {error}") from error


def new(msgtype: str, **fields: Any) -> Any:
    """A message; every field must be given."""
    return typestore().types[msgtype](**fields)


def time_message(stamp_ns: int) -> Any:
    """builtin_interfaces/Time of nanoseconds since the epoch."""
    return new("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def nanoseconds(time: Any) -> int:
    """Nanoseconds since the epoch of a builtin_interfaces/Time."""
    return int(time.sec) * 10**9 + int(time.nanosec)
