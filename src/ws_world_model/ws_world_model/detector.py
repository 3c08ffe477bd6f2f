"""Tells a success while the episode runs: the reward model on the policy's last three observations. Knows no ROS."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ws_node.options import option
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task
from ws_world_model.judges import Judge
from ws_world_model.labels import SUCCESS
from ws_world_model.observations import Observation, Observations
from ws_world_model.reward_network import WINDOW


@dataclass(frozen=True)
class DetectorOptions:
    """When a success is told."""

    consecutive: int = option(2, "observations in a row that must show the success", low=1, high=20)
    max_age: float = option(0.5, "age of the newest observation above which nothing is told", unit="s", low=0.1,
                            high=10.0)


class Detector:
    """Feed it the policy's messages as they come; `due` says when its success is to be told, and `told` that it was.

    Without a judge it only follows. What cannot be used is counted in `dropped`, and `trouble` says why as long as no
    whole observation comes.
    """

    def __init__(self, task: Task, options: DetectorOptions | None = None):
        self.options = options or DetectorOptions()
        self.judge: Judge | None = None
        self.probability = math.nan  # of success at the newest observation, by the least sure member
        self.detections = self.dropped = 0
        self.trouble = ""
        self._observations = Observations(task)
        self._window: deque[Observation] = deque(maxlen=WINDOW)
        self._judged: deque[np.ndarray] = deque(maxlen=self.options.consecutive)  # of successive observations
        self._told = ""  # the last episode that was told of

    @property
    def lost(self) -> int:
        """Observations that never became whole."""
        return self._observations.lost

    def use(self, judge: Judge) -> None:
        """Judge by this one from the next observation on."""
        self.judge = judge
        self._judged.clear()  # two models do not agree on one success

    def offer(self, topic: str, raw: bytes) -> None:
        """Take a serialised message of one of `observations.TOPICS`."""
        try:
            seen = self._observations.offer(topic, raw)
            if seen is not None:
                self._follow(seen)
                self.trouble = ""
        except ValueError as error:
            self.dropped, self.trouble = self.dropped + 1, str(error)

    def due(self, now: int) -> bool:
        """Whether the running episode shows a success that was not told yet; `now` in ns, by the policy's clock."""
        if self.judge is None or len(self._judged) < self.options.consecutive:
            return False
        newest = self._window[-1]
        late = abs(now - newest.stamp) > self.options.max_age * 1e9  # whoever is late would end the next episode
        if late or newest.ended or newest.episode_id == self._told:
            return False
        return self.judge.rewards.label(np.concatenate(self._judged, axis=1)).kind == SUCCESS

    def told(self) -> None:
        """The running episode's success was told: once is enough."""
        self._told = self._window[-1].episode_id
        self.detections += 1

    def _follow(self, seen: Observation) -> None:
        if self._window and not _follows(seen, self._window[-1]):
            self._window.clear()
            self._judged.clear()
        self._window.append(seen)
        if self.judge is None:
            return
        frames = {view: np.stack([o.frames[view] for o in self._window]) for view in VIEWS}
        state = np.stack([o.state for o in self._window])
        judged = self.judge.rewards.predict(frames, state, newest_only=True)
        if not np.isfinite(judged).all():
            self._judged.clear()
            raise ValueError("the reward model's probability is not finite")
        self.probability = float(judged.min())
        self._judged.append(judged)


def _follows(seen: Observation, last: Observation) -> bool:
    return seen.episode_id == last.episode_id and seen.index == last.index + 1
