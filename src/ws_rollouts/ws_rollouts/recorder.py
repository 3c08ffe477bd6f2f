"""Cuts a stream of serialised messages into one bag per episode. Knows no ROS; the clock is passed in."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ws_node.options import option
from ws_rollouts import messages
from ws_rollouts.depth_tap import DepthTap, Message
from ws_rollouts.frames import stamp_of
from ws_rollouts.schema import FRAMES, STEP, STEP_TYPE, BagError, Topic
from ws_rollouts.summary import Summary, Tally, read_summary
from ws_rollouts.writer import BagWriter

_MIB = 1 << 20
_MAX_LATCHED = 32


@dataclass(frozen=True)
class RecorderOptions:
    """What the recorder may be told."""

    min_free_mib: int = option(500, "free space below which nothing is recorded", unit="MiB", low=0, high=10**7)
    idle_timeout: float = option(5.0, "an episode without steps for so long is aborted", unit="s", low=0.5, high=3600.0)
    frame_wait: float = option(0.3, "wait for the last step's frames", unit="s", low=0.0, high=5.0)
    lead_in: float = option(0.5, "messages kept from before the first step", unit="s", low=0.0, high=10.0)
    depth_period: float = option(0.3, "time between two depth frames in a bag; 0: each", unit="s", low=0.0, high=60.0)


@dataclass
class Counters:
    """What happened since the start."""

    episodes: int = 0
    messages: int = 0
    aborted: int = 0
    refused: int = 0         # episodes not recorded: no space, or a bad id
    missing_frames: int = 0  # of finished episodes
    gaps: int = 0            # steps that were no successor of the one before
    bad_steps: int = 0       # undecodable, or after the end
    unrecorded_steps: int = 0  # of episodes whose start was not seen


@dataclass
class _Open:
    """The episode that is being recorded."""

    writer: BagWriter
    tally: Tally
    heard: float                 # s, when the last step came
    deadline: float | None = None  # s, when to stop waiting for frames; set by the last step
    frames: dict[str, int] = field(default_factory=dict)  # topic -> stamp of the newest frame
    counts: dict[str, int] = field(default_factory=dict)  # topic -> frames


class Recorder:
    """Feed it messages as they come and `tick` it a few times a second.

    `topics` by absolute name; one ends in policy/step, the frames' in policy/<view>/image_raw, and those of depth
    cameras as in RGBD_TOPICS: of these it records pairs, at a rate of their own. `announce` gets the Summary of each
    finished bag that has an action. `clock` is monotonic, in s; `free_bytes` tells the free space.
    """

    def __init__(
        self,
        bags: Path,
        topics: Iterable[Topic],
        options: RecorderOptions,
        announce: Callable[[Summary], None],
        clock: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[], int] | None = None,
    ):
        self.counters = Counters()
        self.error = ""  # why nothing is recorded, empty when all is well
        self._bags = Path(bags)
        self._topics = {topic.name: topic for topic in topics}
        self._frame_topics = {n for n in self._topics if n.endswith(tuple("/" + name for name in FRAMES.values()))}
        self._options = options
        self._announce = announce
        self._clock = clock
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(self._bags).free)
        self._open: _Open | None = None
        self._recent: deque[Message] = deque(maxlen=2000)
        self._latched: dict[tuple[str, bytes], Message] = {}  # by content: several nodes may publish one topic
        self._refused_id = ""
        self.depth = DepthTap(self._topics, options.depth_period)
        for topic in self._topics.values():
            messages.definition(topic.type)  # now, not at the first step

    @property
    def episode_id(self) -> str:
        """The episode that is being recorded, or empty."""
        return self._open.tally.summary.episode_id if self._open else ""

    @property
    def depth_status(self) -> str:
        """In words, of which cameras depth comes."""
        return self.depth.status(self._clock())

    def on_message(self, topic: str, raw: bytes, stamp_ns: int) -> None:
        """Take one serialised message of a known topic; `stamp_ns` is when it was received, in the node's time."""
        message = Message(self._clock(), topic, raw, stamp_ns)
        if topic.endswith("/" + STEP):
            self._on_step(message)
        elif self.depth.handles(topic):
            self.depth.add(message)
            self._write_depth()
        else:
            self._keep(message)
            if self._open:
                self._write(message)
        self._settle(message.arrived)

    def tick(self) -> None:
        """Look at the time and at the disk; once a second will do, more often announces sooner."""
        now = self._clock()
        self._settle(now)
        if self._open and now - self._open.heard > self._options.idle_timeout:
            self._finish()
        if self._short_of_space() and self._open:
            self._finish()

    def close(self) -> None:
        """Finish what is open."""
        if self._open:
            self._finish()

    def _on_step(self, message: Message) -> None:
        try:
            step = messages.decode(message.raw, STEP_TYPE)
        except ValueError:
            self.counters.bad_steps += 1
            return
        if self._open and step.episode_id != self.episode_id:
            self._finish()
        if self._open is None:
            self._begin(step, message)
        if self._open is None:
            return
        if self._open.tally.ended:
            self.counters.bad_steps += 1
            return
        self._open.tally.add(step)
        self._open.heard = message.arrived
        self._write(message)
        if self._open and self._open.tally.ended:
            self._open.deadline = message.arrived + self._options.frame_wait

    def _begin(self, step: Any, message: Message) -> None:
        if step.index != 0 or (self._bags / step.episode_id).exists():
            self.counters.unrecorded_steps += step.episode_id != self._refused_id
            return
        writer = self._new_writer(step.episode_id)
        if writer is None:
            self.counters.refused += step.episode_id != self._refused_id
            self._refused_id = step.episode_id
            return
        self._open = _Open(writer, Tally(step), message.arrived)
        stamp = messages.nanoseconds(step.header.stamp)
        for latched in self._latched.values():
            self._write(latched._replace(stamp_ns=message.stamp_ns))
        for recent in self._recent:
            fresh = message.arrived - recent.arrived <= self._options.lead_in
            if stamp_of(recent.raw) >= stamp if recent.topic in self._frame_topics else fresh:
                self._write(recent)
        self.depth.begin(stamp - round(self._options.lead_in * 1e9))
        self._write_depth()

    def _new_writer(self, episode_id: str) -> BagWriter | None:
        if self._short_of_space():
            return None
        try:
            writer = BagWriter(self._bags, episode_id)
        except (BagError, OSError) as error:
            self.error = f"cannot record: {error}"
            return None
        for topic in self._topics.values():
            writer.add_topic(topic)
        self.error = ""
        return writer

    def _keep(self, message: Message) -> None:
        """Remember what an episode that begins soon will need."""
        is_frame = message.topic in self._frame_topics
        if is_frame and len(message.raw) < 12:
            return
        if self._topics[message.topic].latched:
            self._latched.pop((message.topic, message.raw), None)  # the newest word comes last
            self._latched[message.topic, message.raw] = message
            if len(self._latched) > _MAX_LATCHED:
                del self._latched[next(iter(self._latched))]
        elif is_frame or self._open is None:
            self._recent.append(message)
        oldest = message.arrived - max(self._options.lead_in, self._options.frame_wait)
        while self._recent and self._recent[0].arrived < oldest:
            self._recent.popleft()

    def _write(self, message: Message) -> None:
        bag = self._open
        if bag is None:  # given up with the message before
            return
        try:
            bag.writer.write(message.topic, message.raw, message.stamp_ns)
        except OSError as error:
            self._abandon(error)
            return
        self.counters.messages += 1
        if message.topic in self._frame_topics and len(message.raw) >= 12:
            bag.frames[message.topic] = stamp_of(message.raw)
            bag.counts[message.topic] = bag.counts.get(message.topic, 0) + 1

    def _write_depth(self, last: bool = False) -> None:
        if self._open:
            for message in self.depth.take(last):
                self._write(message)

    def _settle(self, now: float) -> None:
        """Finish an ended episode when its last frames are there, or have had their time."""
        bag = self._open
        if bag is None or bag.deadline is None:
            return
        complete = all(bag.frames.get(topic, -1) >= bag.tally.stamp_ns for topic in self._frame_topics)
        if complete or now >= bag.deadline:
            self._finish()

    def _finish(self) -> None:
        self._write_depth(last=True)
        bag, self._open = self._open, None
        if bag is None:
            return
        summary = bag.tally.summary
        try:
            folder = bag.writer.finish({**summary.notes(), **({"recorder": self.error} if self.error else {})})
        except OSError as error:
            self._open = bag
            self._abandon(error)
            return
        self.counters.episodes += 1
        self.counters.aborted += summary.outcome == "aborted"
        self.counters.gaps += bag.tally.gaps
        self.counters.missing_frames += sum(
            max(0, summary.steps + 1 - bag.counts.get(topic, 0)) for topic in self._frame_topics)
        if summary.steps:  # without an action there is nothing to learn from
            self._announce(read_summary(folder))

    def _abandon(self, error: OSError) -> None:
        """The disk took no more: leave the bag for recovery."""
        assert self._open is not None
        self.error = f"bag of {self.episode_id} left open: {error}"
        self._refused_id = self.episode_id
        self.counters.refused += 1
        self._open.writer.abandon()
        self._open = None

    def _short_of_space(self) -> bool:
        free = self._free_bytes()
        if free >= self._options.min_free_mib * _MIB:
            if self.error.startswith("no space"):
                self.error = ""
            return False
        self.error = f"no space: {free // _MIB} MiB free at {self._bags}, min_free_mib is {self._options.min_free_mib}"
        return True


def claim(bags: Path) -> int:
    """Make the folder, check that it can be written, and hold it for this process; a file descriptor to keep.

    Raises PermissionError with the path in its text when it cannot be written or another recorder holds it.
    """
    try:
        bags.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=bags):
            handle = os.open(bags, os.O_RDONLY)
    except OSError as error:
        raise PermissionError(f"bags folder {bags} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise PermissionError(f"bags folder {bags} is in use by another recorder") from error
    return handle
