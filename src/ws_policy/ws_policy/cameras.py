"""The newest good frame of each camera, and every reason not to trust one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ws_node.options import option
from ws_policy.observation import ObservationError, crop_resize, image_view
from ws_policy.statistics import Delivery
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task

_SAMPLE = 31  # every 31st byte tells whether a picture changed; coprime to 3, so that all channels are seen
_BLACK = 8  # grey level below which a whole picture counts as black


@dataclass(frozen=True)
class CameraOptions:
    """When a camera frame may be used."""

    width: int = option(424, "width of the camera frames", unit="px", low=16, high=4096)
    height: int = option(240, "height of the camera frames", unit="px", low=16, high=4096)
    rate: float = option(15.0, "frames a camera owes", unit="Hz", low=1.0, high=120.0)
    age: float = option(0.5, "oldest frame that may be used", unit="s", low=0.05, high=5.0)
    skew: float = option(0.1, "largest distance between the stamps of both views", unit="s", low=0.01, high=1.0)
    freeze_time: float = option(1.0, "same picture for so long in a moving arm: frozen", unit="s", low=0.2, high=30.0)
    freeze_motion: float = option(0.01, "motion of the gripper that changes a picture", unit="m", low=0.001, high=0.5)


class Feed:
    """One camera. Frames whose stamps do not rise and frozen frames are dropped, unusable ones rejected."""

    def __init__(self, view: str, options: CameraOptions):
        self.view = view
        self.dropped = 0
        self.rejected = 0
        self.stamp = 0  # ns, of the newest good frame
        self.frame: np.ndarray | None = None
        self.why = "no frame yet"
        self.delivery = Delivery(options.rate)
        self._options = options
        self._received = -np.inf
        self._sample: np.ndarray | None = None
        self._changed = (0.0, None)  # when the picture last changed, and where the gripper was then

    def offer(self, now: float, stamp: int, image: tuple, position: np.ndarray | None, sequence: int = 0) -> bool:
        """Take a frame if it is good.

        `now` monotonic s; `stamp` ns; `image` = encoding, width, height, step, data as in sensor_msgs/Image;
        `position` (3,) m of the gripper if known, for the freeze check; `sequence` its publisher's number, 0 unknown.
        """
        alive = now - self._received <= self._options.age
        if alive and stamp <= self.stamp:  # after a silence any stamp may come: the clock may have been set back
            self.dropped += 1
            return False
        self.delivery.add(stamp, sequence)
        try:
            frame = image_view(*image, (self._options.width, self._options.height))
            sample = frame.reshape(-1)[::_SAMPLE]
            if sample.max() < _BLACK:
                raise ObservationError("the picture is black")
        except ObservationError as error:
            self.rejected += 1
            self.why = str(error)
            return False
        if self._frozen(now, sample, position):
            self.dropped += 1
            self.why = "frozen: the same picture while the arm moves"
            return False
        self.frame, self.stamp, self._received, self.why = frame, stamp, now, ""
        return True

    def _frozen(self, now: float, sample: np.ndarray, position: np.ndarray | None) -> bool:
        since, where = self._changed
        if self._sample is None or where is None or not np.array_equal(sample, self._sample):
            self._sample = sample
            self._changed = (now, None if position is None else np.array(position))
            return False
        moved = 0.0 if position is None else float(np.linalg.norm(np.subtract(position, where)))
        return now - since >= self._options.freeze_time and moved > self._options.freeze_motion

    def check(self, now: float, clock: int) -> None:
        """Raise ObservationError unless there is a frame of an allowed age, by arrival and by stamp."""
        age = self._options.age
        if now - self._received > age:
            raise ObservationError(f"{self.view} camera: {self.why or f'no frame for {age:g} s'}")
        if abs(clock - self.stamp) > age * 1e9:
            raise ObservationError(f"{self.view} camera: stamp is {(clock - self.stamp) * 1e-9:.1f} s old")


class Cameras:
    """Both views of a task."""

    def __init__(self, task: Task, options: CameraOptions | None = None):
        options = options or CameraOptions()
        self.feeds = {view: Feed(view, options) for view in VIEWS}
        self._task = task
        self._skew = options.skew
        blank = np.zeros((options.height, options.width, 3), np.uint8)
        for view in VIEWS:  # a crop outside of the frame must stop the node at its start
            try:
                crop_resize(blank, task.crop(view), task.image_size)
            except ObservationError as error:
                raise ValueError(f"crop_{view} of task {task.name}: {error}") from error

    def stamps(self, now: float, clock: int) -> dict[str, int]:
        """Stamps (ns) of the pair that would be seen at `now` (monotonic s) and `clock` (ns).

        Raises ObservationError when a view is missing, old, or too far from the other.
        """
        for feed in self.feeds.values():
            feed.check(now, clock)
        stamps = {view: feed.stamp for view, feed in self.feeds.items()}
        skew = (max(stamps.values()) - min(stamps.values())) * 1e-9
        if skew > self._skew:
            raise ObservationError(f"the views are {skew:.2f} s apart")
        return stamps

    def frames(self) -> dict[str, np.ndarray]:
        """The pair as the policy sees it: {view: (S, S, 3) uint8}. Call `stamps` first."""
        size = self._task.image_size
        return {view: crop_resize(feed.frame, self._task.crop(view), size) for view, feed in self.feeds.items()}

    @property
    def dropped(self) -> int:
        return sum(feed.dropped for feed in self.feeds.values())

    @property
    def rejected(self) -> int:
        return sum(feed.rejected for feed in self.feeds.values())

    @property
    def delivery(self) -> float:
        """Frames received over frames due in the last minute, 0 .. 1, both views together."""
        received, due = np.sum([feed.delivery.counts for feed in self.feeds.values()], axis=0)
        return float(min(1.0, received / due)) if due else 0.0
