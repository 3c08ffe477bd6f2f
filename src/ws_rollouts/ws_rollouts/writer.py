"""Writes one bag, crash-safe: it lives under `.open` until it is whole, then it is renamed into place."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import BinaryIO

from mcap.writer import CompressionType, Writer

from ws_rollouts import metadata
from ws_rollouts.messages import definition
from ws_rollouts.metadata import TopicCount
from ws_rollouts.schema import NOTES, SCHEMA, BagError, Topic, check_episode_id, qos_profile

OPEN = ".open"
CHUNK_BYTES = 64 * 1024  # what a killed recorder can lose: three steps with their frames


class BagWriter:
    """A bag in the making: `<bags>/.open/<episode_id>/`, then `<bags>/<episode_id>/` after `finish`.

    Whole chunks reach the operating system at once, so killing the process loses at most the open chunk.
    Raises BagError when the episode is there already or its id makes no folder name, OSError as the disk does.
    """

    def __init__(self, bags: Path, episode_id: str, started_ns: int | None = None, suffix: str = ""):
        self.bags = Path(bags)
        self.episode_id = check_episode_id(episode_id, self.bags)
        self.folder = self.bags / episode_id
        if self.folder.exists():
            raise BagError(self.folder, "there already")
        self.open_folder = self.bags / OPEN / (episode_id + suffix)
        self.open_folder.mkdir(parents=True)
        self.file = f"{episode_id}_0.mcap"
        self.started_ns = time.time_ns() if started_ns is None else started_ns
        self._stream: BinaryIO = (self.open_folder / self.file).open("wb")
        self._writer = Writer(self._stream, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD,
                              enable_crcs=True, enable_data_crcs=True)
        self._writer.start(profile="ros2", library="worldsample")
        self._topics: dict[str, tuple[int, TopicCount]] = {}
        self._schemas: dict[str, int] = {}
        self._start: int | None = None
        self._end = 0

    def add_topic(self, topic: Topic) -> None:
        """Register a topic by its absolute name; doing it again changes nothing."""
        if topic.name in self._topics:
            return
        text, digest = definition(topic.type)
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", text.encode())
        qos = metadata.dump([qos_profile(topic)])
        channel = self._writer.register_channel(topic.name, "cdr", self._schemas[topic.type],
                                                {"offered_qos_profiles": qos, "topic_type_hash": digest})
        self._topics[topic.name] = (channel, TopicCount(topic))

    def write(self, topic: str, raw: bytes, log_ns: int, publish_ns: int | None = None) -> None:
        """Add one serialised message of a registered topic."""
        channel, entry = self._topics[topic]
        self._writer.add_message(channel, log_ns, raw, log_ns if publish_ns is None else publish_ns, entry.count)
        self._stream.flush()  # free until a chunk is whole
        entry.count += 1
        self._start = log_ns if self._start is None else min(self._start, log_ns)
        self._end = max(self._end, log_ns)

    @property
    def messages(self) -> int:
        """Messages written so far."""
        return sum(entry.count for _, entry in self._topics.values())

    @property
    def bytes(self) -> int:
        """Bytes in the file so far."""
        return self._stream.tell()

    def finish(self, custom_data: dict[str, str]) -> Path:
        """Write the index and metadata.yaml, bring all to the disk, and move the bag into place."""
        custom_data = {"started_ns": str(self.started_ns)} | custom_data | {"schema": str(SCHEMA)}
        counts = [entry for _, entry in self._topics.values() if entry.count]
        information = metadata.information(self.file, counts, self._start or 0, self._end, custom_data)
        self._writer.add_metadata(NOTES, {str(k): str(v) for k, v in custom_data.items()})
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata.dump(information)})
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        with (self.open_folder / metadata.FILE).open("w") as file:
            file.write(metadata.dump({"rosbag2_bagfile_information": information}))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.open_folder)
        self.open_folder.rename(self.folder)
        sync_folder(self.bags)
        return self.folder

    def abandon(self) -> None:
        """Let go of the file and leave it under `.open` for `recover`."""
        with contextlib.suppress(OSError):  # the disk is full: what did not fit is lost, whole chunks are not
            self._stream.close()

    def discard(self) -> None:
        """Delete the bag in the making."""
        self.abandon()
        shutil.rmtree(self.open_folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
