"""Reads messages from an MCAP file in one pass, checks every CRC, and says what is damaged."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from ws_rollouts.schema import NOTES, BagError

MAX_FILE_BYTES = 1 << 30
MAX_CHUNK_BYTES = 64 << 20  # a chunk's claim is checked against this before memory is taken
_MESSAGE = struct.Struct("<HIQQ")
_RECORD = struct.Struct("<BQ")
_FOOTER_BYTES = 8 + 8 + 4 + 8  # summary start, offsets' start, CRC; then the magic
_BROKEN = (McapError, struct.error, ValueError, zstandard.ZstdError, OverflowError, KeyError)


class Raw(NamedTuple):
    """One serialised message."""

    topic: str
    type: str
    log_ns: int
    publish_ns: int
    data: bytes


class McapFile:
    """The messages of one MCAP file in the order of the file.

    `damage`, after iterating, lists what could not be read; whole chunks beside it are read all the same.
    `notes` holds the custom data written by BagWriter. Raises BagError for a file that is no MCAP, empty or too large.
    """

    def __init__(self, path: Path, topics: Callable[[str], bool] = lambda _: True):
        self.path = Path(path)
        self.damage: list[str] = []
        self.notes: dict[str, str] = {}
        self._wanted = topics
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str] | None] = {}
        self._data = _load(self.path)

    def __iter__(self) -> Iterator[Raw]:
        stream = BytesIO(self._data)
        reader = StreamReader(stream, emit_chunks=True, validate_crcs=True, record_size_limit=len(self._data))
        records = iter(reader.records)
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except _BROKEN as error:
                where = f"after {stream.tell()} of {len(self._data)} bytes"
                self.damage.append(f"cut off or damaged {where}: {_text(error)}")
                return
            if isinstance(record, Chunk):
                yield from self._chunk(record, stream.tell())
            elif isinstance(record, Message):
                yield from self._message(record.channel_id, record.log_time, record.publish_time, record.data)
            elif isinstance(record, Metadata) and record.name == NOTES:
                self.notes = dict(record.metadata)
            else:
                self._declare(record)

    def _chunk(self, chunk: Chunk, end: int) -> Iterator[Raw]:
        try:
            data = _uncompressed(chunk)
            yield from self._split(data)
        except _BROKEN as error:
            self.damage.append(f"chunk that ends at byte {end}: {_text(error)}")
            self._declare_from_summary()  # the first chunk declares the channels of all others

    def _declare_from_summary(self) -> None:
        with contextlib.suppress(*_BROKEN):
            start = struct.unpack_from("<Q", self._data, len(self._data) - _FOOTER_BYTES)[0]
            for record in StreamReader(BytesIO(self._data[start:]), skip_magic=True, emit_chunks=True).records:
                self._declare(record)

    def _split(self, data: bytes) -> Iterator[Raw]:
        position = 0
        while position < len(data):
            opcode, length = _RECORD.unpack_from(data, position)
            begin, position = position + _RECORD.size, position + _RECORD.size + length
            if position > len(data):
                raise ValueError("a record reaches beyond its chunk")
            if opcode == Opcode.MESSAGE:
                channel, _, log_ns, publish_ns = _MESSAGE.unpack_from(data, begin)
                if self._channels[channel]:
                    yield from self._message(channel, log_ns, publish_ns, data[begin + _MESSAGE.size : position])
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._declare(_parsed(opcode, data[begin:position]))

    def _message(self, channel: int, log_ns: int, publish_ns: int, data: bytes) -> Iterator[Raw]:
        known = self._channels.get(channel)
        if known:
            yield Raw(*known, log_ns, publish_ns, data)

    def _declare(self, record: Any) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record.name
        elif isinstance(record, Channel):
            kind = self._schemas.get(record.schema_id, "")
            self._channels[record.id] = (record.topic, kind) if self._wanted(record.topic) else None


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[Raw]:
    """Messages of an MCAP file, of all or the given absolute topics. Raises BagError at the first damage's end."""
    file = McapFile(path, (lambda _: True) if topics is None else set(topics).__contains__)
    yield from file
    if file.damage:
        raise BagError(path, "; ".join(file.damage))


def mcap_path(folder: Path) -> Path:
    """The one MCAP file in a bag's folder. Raises BagError when there is none, or several."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BagError(folder, "no such bag")
    files = sorted(folder.glob("*.mcap"))
    if len(files) != 1:
        raise BagError(folder, f"{len(files)} .mcap files, must be one")
    return files[0]


def _load(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BagError(path, f"{size} bytes, more than {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise BagError(path, f"cannot be read: {error.strerror}") from error
    if not data:
        raise BagError(path, "empty file")
    if data[:8] != b"\x89MCAP0\r\n"[: len(data)]:
        raise BagError(path, "no MCAP file")
    return data


def _uncompressed(chunk: Chunk) -> bytes:
    if chunk.compression not in ("", "zstd"):
        raise ValueError(f"compression {chunk.compression!r} is not supported")
    size = zstandard.frame_content_size(chunk.data) if chunk.compression else len(chunk.data)
    if size != chunk.uncompressed_size or size > MAX_CHUNK_BYTES:
        raise ValueError(f"size {size}, the chunk says {chunk.uncompressed_size}")
    stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    return stream.read(length)


def _parsed(opcode: int, data: bytes) -> Schema | Channel:
    stream = ReadDataStream(BytesIO(data))
    return Schema.read(stream) if opcode == Opcode.SCHEMA else Channel.read(stream)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
