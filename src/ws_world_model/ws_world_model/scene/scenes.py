"""The scenes of real episodes, placed once, and their frames drawn once."""

from __future__ import annotations

from collections import Counter, OrderedDict

import numpy as np

from ws_rollouts.episode import VIEWS
from ws_rollouts.rgbd import RgbdStream
from ws_world_model.imagination import Beginning
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.redrawing import Redraw, Redrawer
from ws_world_model.scene.replay import Placed, Placer

KEPT = 64  # placed scenes, about 1 MB each


class Scenes:
    """What a scene memory can draw of episodes that it is shown the first exposures of.

    What was placed is placed again when there are twice as many donors.
    """

    def __init__(self, memory: SceneMemory):
        self.memory = memory
        self._placer, self._redrawer = Placer(memory), None
        self._placed: OrderedDict[str, tuple[int, Placed | None]] = OrderedDict()
        self._drawn: dict[str, tuple[int, dict[str, np.ndarray] | None]] = {}

    @property
    def refused(self) -> Counter[str]:
        """Scenes that could not be placed, by reason."""
        return self._placer.refused

    def begin(self, beginning: Beginning) -> Redraw | None:
        """Where an episode's next frames are drawn, having seen what went before; None where it cannot be placed."""
        placed = self._place(beginning.episode_id, beginning.rgbd)
        if placed is None:
            return None
        redraw = self._drawer().begin(placed)
        redraw.follow(beginning.states)
        return redraw

    def drawn(self, episode_id: str, rgbd: dict[str, RgbdStream],
              poses: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """All frames of a recorded episode from where they were taken, view -> (T+1, 13), as its first exposure lets
        one draw them: view -> (T+1, S, S, 3) uint8; made once."""
        count, frames = self._drawn.get(episode_id, (0, None))
        if len(self.memory.donors) >= 2 * count:
            placed = self._place(episode_id, rgbd)
            frames = None
            if placed is not None:
                redraw = self._drawer().begin(placed)
                rows = [redraw.draw({view: poses[view][k] for view in VIEWS}) for k in range(len(poses[VIEWS[0]]))]
                frames = {view: np.stack([row[view] for row in rows]) for view in VIEWS}
            self._drawn[episode_id] = len(self.memory.donors), frames
        return frames

    def forget(self, episode_id: str) -> None:
        """Drop the frames of an episode that is not trained on any more."""
        self._drawn.pop(episode_id, None)

    def _drawer(self) -> Redrawer:
        if self._redrawer is None or self._redrawer.donors != len(self.memory.donors):
            kinematics = self._redrawer.kinematics if self._redrawer else None
            self._redrawer = Redrawer(self.memory, kinematics)
        return self._redrawer

    def _place(self, episode_id: str, rgbd: dict[str, RgbdStream]) -> Placed | None:
        if not rgbd or not self.memory.donors:
            return None
        count, placed = self._placed.get(episode_id, (0, None))
        if len(self.memory.donors) >= 2 * count:
            count, placed = len(self.memory.donors), self._placer.place(episode_id, rgbd)
        self._placed[episode_id] = count, placed
        self._placed.move_to_end(episode_id)
        while len(self._placed) > KEPT:
            self._placed.popitem(last=False)
        return placed
