"""Finds the color frame that each depth frame belongs to, and thins them out. Holds a few frames, never more."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ws_rollouts.episode import VIEWS
from ws_rollouts.frames import COLOR, DEPTH, decode_image, stamp_of
from ws_rollouts.schema import CAMERA_INFO, COLOR_IMAGES, DEPTH_IMAGES, IMAGE_TYPE, PAIR_NS

_COLORS, _DEPTHS = 6, 4  # frames held of a view: 2.6 MB at 424x240
_SILENCE = 10.0  # s without depth after which a view counts as one that has none


class Message(NamedTuple):
    """A serialised message as it came."""

    arrived: float  # s, monotonic
    topic: str
    raw: bytes
    stamp_ns: int  # when it was received, in the node's time


class _Pair(NamedTuple):
    stamp: int  # ns, of the depth
    color: Message
    depth: Message


@dataclass
class _View:
    colors: deque[tuple[int, Message]] = field(default_factory=lambda: deque(maxlen=_COLORS))  # with their stamps, ns
    depths: deque[tuple[int, Message]] = field(default_factory=deque)  # whose color has not come yet
    info: Message | None = None   # the newest camera_info
    newest: _Pair | None = None
    heard: float = -math.inf      # s, when depth last came
    told: bool = False            # whether the bag has camera_info
    written: int | None = None    # stamp of the last pair in the bag
    due: int | None = None        # stamp from which the next pair is wanted


class DepthTap:
    """Between episodes it keeps the newest pair of each view; in one, `take` gives a pair a `period` (s).

    `topics` by absolute name; those that are none of a depth camera's are not looked at. `counts` tells what was
    dropped.
    """

    def __init__(self, topics: Iterable[str], period: float):
        self.counts = {"depth_frames": 0, "depth_without_color": 0, "depth_other_size": 0, "depth_wrong_encoding": 0}
        self._period = round(period * 1e9)
        kinds = {"/" + names[view]: (view, kind) for view in VIEWS
                 for kind, names in (("info", CAMERA_INFO), ("color", COLOR_IMAGES), ("depth", DEPTH_IMAGES))}
        self._kinds = {topic: kinds[name] for topic in topics for name in kinds if topic.endswith(name)}
        self._views = {view: _View() for view, kind in self._kinds.values() if kind == "depth"}

    def handles(self, topic: str) -> bool:
        """Whether `add` is the place for it."""
        return topic in self._kinds

    def add(self, message: Message) -> None:
        """Take a message of a topic that it handles."""
        name, kind = self._kinds[message.topic]
        view = self._views[name]
        if kind == "info":
            view.info = message
            return
        try:
            stamp = stamp_of(message.raw)
        except ValueError:
            self.counts["depth_wrong_encoding"] += 1
            return
        if kind == "color":
            view.colors.append((stamp, message))
        else:
            view.heard = message.arrived
            view.depths.append((stamp, message))
            if len(view.depths) > _DEPTHS:
                view.depths.popleft()
                self.counts["depth_without_color"] += 1
        self._match(view)

    def begin(self, since: int) -> None:
        """An episode begins; pairs from before `since` (stamp, ns) are none of it."""
        for view in self._views.values():
            view.told, view.written, view.due = False, None, None
            if view.newest is not None and view.newest.stamp < since:
                view.newest = None

    def take(self, last: bool = False) -> Iterator[Message]:
        """What the bag wants now: a view's camera_info once, pairs as they are due, and the newest at the `last`."""
        for view in self._views.values():
            if view.newest is None:
                continue
            stamp = view.newest.stamp
            if not view.told and view.info is not None:
                view.told = True
                yield view.info._replace(stamp_ns=view.newest.depth.stamp_ns)
            if stamp != view.written and (last or view.due is None or stamp >= view.due):
                view.written, view.due = stamp, self._due_after(stamp, view.due)
                self.counts["depth_frames"] += 1
                yield view.newest.color
                yield view.newest.depth

    def status(self, now: float) -> str:
        """In words, of which views depth comes; `now` as the messages' `arrived`."""
        heard = [name for name, view in self._views.items() if now - view.heard < _SILENCE]
        return ("from " + " and ".join(heard) if heard else "none heard") if self._views else "off"

    def _due_after(self, stamp: int, due: int | None) -> int:
        """On a grid from the first one: of frames at 0, 0.2, 0.4 s ... it takes one each 0.3 s on average."""
        if due is None or not self._period:
            return stamp + self._period
        return due + self._period * (1 + (stamp - due) // self._period)

    def _match(self, view: _View) -> None:
        """Pair what can be paired; a depth frame waits until a color frame is not older."""
        while view.depths and view.colors and view.depths[0][0] <= view.colors[-1][0]:
            stamp, depth = view.depths.popleft()
            apart, color = min(((abs(at - stamp), message) for at, message in view.colors), key=lambda each: each[0])
            if apart > PAIR_NS:
                self.counts["depth_without_color"] += 1
                continue
            try:
                size = decode_image(depth.raw, IMAGE_TYPE, DEPTH)[1].shape
                other = decode_image(color.raw, IMAGE_TYPE, COLOR)[1].shape[:2]
            except ValueError:
                self.counts["depth_wrong_encoding"] += 1
                continue
            if size != other:
                self.counts["depth_other_size"] += 1
                continue
            view.newest = _Pair(stamp, color, depth)
