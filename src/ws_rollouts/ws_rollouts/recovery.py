"""Finishes the bags that a killed recorder left open, from their whole chunks."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ws_rollouts import messages
from ws_rollouts.reader import McapFile, mcap_path
from ws_rollouts.schema import (
    CAMERA_TOPICS,
    POLICY_TOPICS,
    RGBD_TOPICS,
    ROBOT_TOPICS,
    STEP,
    STEP_TYPE,
    BagError,
    Topic,
)
from ws_rollouts.summary import Summary, Tally, read_summary
from ws_rollouts.writer import OPEN, BagWriter

LOST = ".lost"
_PART = "~"  # marks what a recovery is writing; one that was killed is begun again


@dataclass
class Recovered:
    """What became of one open bag: `summary` is None when no whole chunk was in it, or it was none of ours."""

    episode_id: str
    summary: Summary | None
    lost: str  # what could not be read, empty when nothing


def recover(bags: Path) -> list[Recovered]:
    """Turn every open bag into a finished one; every message of every whole chunk is kept.

    An episode whose end was not written comes out as aborted. What is no bag is moved to `.lost`. May be killed at any
    time and run again. Call it before anything records into `bags`. Raises OSError as the disk does.
    """
    opened = Path(bags) / OPEN
    if not opened.is_dir():
        return []
    for part in opened.glob("*" + _PART):
        shutil.rmtree(part)
    return [_recover(Path(bags), folder) for folder in sorted(opened.iterdir()) if folder.is_dir()]


def _recover(bags: Path, folder: Path) -> Recovered:
    if (bags / folder.name).exists():  # finished by a recovery that was killed before it tidied up
        shutil.rmtree(folder)
        return Recovered(folder.name, read_summary(bags / folder.name), "")
    try:
        source = McapFile(mcap_path(folder))
    except BagError as error:
        return Recovered(folder.name, None, _set_aside(bags, folder, error.reason))
    try:
        summary = _rewrite(bags, folder, source)
    except (BagError, KeyError) as error:
        return Recovered(folder.name, None, _set_aside(bags, folder, str(error)))
    shutil.rmtree(folder)
    return Recovered(folder.name, summary, "; ".join(source.damage))


def _set_aside(bags: Path, folder: Path, reason: str) -> str:
    """Out of the recorder's way, but kept for people, unless it is empty."""
    if not any(file.stat().st_size for file in folder.iterdir()):
        shutil.rmtree(folder)
        return reason
    (bags / LOST).mkdir(exist_ok=True)
    place = bags / LOST / f"{folder.name}_{time.time_ns()}"
    folder.rename(place)
    return f"{reason}; moved to {place}"


def _rewrite(bags: Path, folder: Path, source: McapFile) -> Summary | None:
    writer = BagWriter(bags, folder.name, started_ns=folder.stat().st_mtime_ns, suffix=_PART)
    tally: Tally | None = None
    try:
        for raw in source:
            writer.add_topic(known_topic(raw.topic, raw.type))
            writer.write(raw.topic, raw.data, raw.log_ns, raw.publish_ns)
            if raw.type == STEP_TYPE and raw.topic.endswith(STEP):
                tally = _count(tally, raw.data)
    except BaseException:
        writer.discard()
        raise
    if not writer.messages:
        writer.discard()
        return None
    summary = tally.summary if tally else Summary(folder.name, "")
    recovered = {"recovered": "; ".join(source.damage) or "whole"}
    return read_summary(writer.finish({**source.notes, **summary.notes(), **recovered}))


def _count(tally: Tally | None, data: bytes) -> Tally | None:
    try:
        step = messages.decode(data, STEP_TYPE)
    except ValueError:
        return tally  # kept in the bag; reading the episode will name it
    tally = tally or Tally(step)
    tally.add(step)
    return tally


def known_topic(name: str, msgtype: str) -> Topic:
    """The recorder's own entry for an absolute name, else one with its defaults."""
    for topic in (*POLICY_TOPICS, *ROBOT_TOPICS, *CAMERA_TOPICS, *RGBD_TOPICS):
        if topic.type == msgtype and ("/" + name).endswith("/" + topic.name.lstrip("/")):
            return Topic(name, msgtype, topic.reliable, topic.latched, topic.depth)
    return Topic(name, msgtype)
