"""metadata.yaml of a rosbag2 folder: written, and read for its summary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ws_rollouts.messages import definition
from ws_rollouts.schema import BagError, Topic, qos_profile

VERSION = 9  # rosbag2_storage::BagMetadata of Jazzy
FILE = "metadata.yaml"
_MAX_BYTES = 1 << 20
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Plain(_Dumper):
    """Writes no aliases: yaml-cpp reads them, people do not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass
class TopicCount:
    """A topic of a bag and how many messages it has; `topic.name` is absolute."""

    topic: Topic
    count: int = 0


def dump(data: Any) -> str:
    """YAML in rosbag2's order of keys."""
    return yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True)


def information(
    file: str, topics: Iterable[TopicCount], start_ns: int, end_ns: int, custom_data: dict[str, str]
) -> dict[str, Any]:
    """What metadata.yaml says of a bag with one MCAP file; times in ns."""
    topics = list(topics)
    count = sum(t.count for t in topics)
    start = {"nanoseconds_since_epoch": start_ns}
    duration = {"nanoseconds": max(0, end_ns - start_ns)}
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": count,
        "topics_with_message_count": [_topic(t) for t in topics],
        "compression_format": "",  # chunks are compressed inside the MCAP file, which these two do not mean
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, "starting_time": start, "duration": duration, "message_count": count}],
        "custom_data": {str(k): str(v) for k, v in custom_data.items()},
        "ros_distro": "jazzy",
    }


def _topic(entry: TopicCount) -> dict[str, Any]:
    return {
        "topic_metadata": {
            "name": entry.topic.name,
            "type": entry.topic.type,
            "serialization_format": "cdr",
            "offered_qos_profiles": [qos_profile(entry.topic)],
            "type_description_hash": definition(entry.topic.type)[1],
        },
        "message_count": entry.count,
    }


def read_information(folder: Path) -> dict[str, Any]:
    """The information in a bag's metadata.yaml. Raises BagError when it is missing or none."""
    path = Path(folder) / FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BagError(path, f"larger than {_MAX_BYTES} bytes")
        data = yaml.load(path.read_bytes(), Loader=_Loader)
    except FileNotFoundError:
        raise BagError(folder, f"no {FILE}: not a finished bag") from None
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise BagError(path, f"cannot be read: {error}") from error
    information = data.get("rosbag2_bagfile_information") if isinstance(data, dict) else None
    if not isinstance(information, dict):
        raise BagError(path, "no rosbag2_bagfile_information")
    return information
