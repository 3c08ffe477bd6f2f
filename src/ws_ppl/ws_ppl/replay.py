"""Replay: a uint8 ring of observations filled by whole episodes; the next state is an index, not a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from zlib import crc32

import numpy as np

from ws_policy.backbone import CELL, CHANNELS, MARGIN, extended, feature_maps
from ws_ppl.gripper import switches
from ws_rollouts.episode import HUMAN, POLICY, STATE_SIZE, VIEWS, Episode
from ws_rollouts.paths import guided, taught
from ws_rollouts.task import Task

PAD = CELL + CELL // 2  # px; random shift of DrQ (Kostrikov et al. 2020), which has 4 of 84
REAL_POOLS = ("demo", "online")
SYNTHETIC_POOLS = ("positive", "negative")
IMAGINED = "imagined"  # the pool of imagined successes that are imitated


@dataclass
class Batch:
    """B transitions. maps, next_maps (B, S/8, S/8, 80) int8; state, next_state (B, 13); action (B, A);

    returns (B,) n-step reward sums; discount (B,) gamma^n, or 0 after a terminal step; demo, real (B,) bool, whether it
    is to be imitated, and whether it was not imagined;
    switches (B,) bool, whether the action closes an open gripper or opens a closed one; weight (B,) of the critics'
    losses; earned (B,) what the rest of its episode earned, gamma^k with k steps to the success after this one, 0 where
    that says nothing; switches_left (B,) switches from this step to the end.
    """

    maps: np.ndarray
    next_maps: np.ndarray
    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    returns: np.ndarray
    discount: np.ndarray
    demo: np.ndarray
    switches: np.ndarray
    real: np.ndarray
    weight: np.ndarray
    earned: np.ndarray
    switches_left: np.ndarray

    @classmethod
    def join(cls, parts: list[Batch]) -> Batch:
        """One batch of several."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class Replay:
    """All real episodes once; the pools "demo" and "online" are lists of indices into them.

    A demonstration's steps and a human's corrections are in "demo", every step of a rollout is in
    "online" (HIL-SERL: corrections are in both). The oldest rollouts make room, demonstrations stay.
    """

    pools: tuple[str, ...] = REAL_POOLS
    imitated: tuple[str, ...] = ("demo",)  # pools whose actions are to be imitated
    real = True
    lucky = False  # whether a success may be luck, so that it says nothing of the steps before it
    phases = 4  # looks at each frame, each from another place within half a cell

    def __init__(self, task: Task, capacity: int, seed: int = 0):
        self._task, self._seed = task, seed
        self._size = task.image_size
        self._cells = task.image_size // CELL
        cells = self._cells + 2 * MARGIN
        self.capacity = capacity
        self._maps = np.zeros((capacity, len(VIEWS), self.phases, cells, cells, CHANNELS), np.int8)
        self._state = np.zeros((capacity, STATE_SIZE), np.float32)
        self._action = np.zeros((capacity, task.action_size), np.float32)
        self._reward = np.zeros(capacity, np.float32)
        self._last = np.zeros(capacity, np.int64)  # slot of the episode's last observation
        self._terminal = np.zeros(capacity, bool)
        self._switches = np.zeros(capacity, bool)
        self._switches_left = np.zeros(capacity, np.float32)
        self._to_success = np.full(capacity, np.inf, np.float32)
        self._imitable = np.ones(capacity, bool)
        self._free: deque[int] = deque(range(capacity))
        self._rollouts: deque[np.ndarray] = deque()
        self._starts: dict[str, np.ndarray] = {pool: np.zeros(0, np.int64) for pool in self.pools}
        self._next = np.zeros(capacity, np.int64)  # slot of the next observation
        self.rng = np.random.default_rng(seed)

    @property
    def mib_when_full(self) -> float:
        return self._maps.nbytes / 2**20

    def size(self, pool: str) -> int:
        """Transitions in a pool."""
        return len(self._starts[pool])

    def add(self, episode: Episode) -> None:
        """Store an episode; evicts the oldest rollouts when full. Raises ValueError when it cannot fit."""
        slots = self._store(episode)
        rollout = not (episode.is_demonstration and episode.success)
        self._imitable[slots[:-1]] = taught(episode, self._task)
        for pool, chosen in (("demo", guided(episode)), ("online", np.full(len(episode), rollout))):
            self._starts[pool] = np.append(self._starts[pool], slots[:-1][chosen])
        if rollout:
            self._rollouts.append(slots)

    def _store(self, episode: Episode) -> np.ndarray:
        """Put the episode's observations into free slots, and return these."""
        shape = episode.frames[VIEWS[0]].shape
        if shape[1:3] != (self._size, self._size) or episode.action.shape[1:] != self._action.shape[1:]:
            raise ValueError(f"{episode.episode_id}: frames {shape} or actions of another size than this task's")
        needed = len(episode) + 1
        while len(self._free) < needed:
            self._make_room(needed)
        slots = np.array([self._free.popleft() for _ in range(needed)])
        rng = np.random.default_rng([self._seed, crc32(episode.episode_id.encode())])  # whenever it comes, the same
        for number, view in enumerate(VIEWS):
            self._maps[slots, number] = self._looks(episode.frames[view], rng)
        self._state[slots], self._action[slots] = episode.state, episode.action
        switched = switches(episode, self._task)
        self._switches[slots], self._switches_left[slots] = switched, switched[::-1].cumsum()[::-1]
        self._to_success[slots] = np.inf if self.lucky else _steps_to_success(episode)
        self._reward[slots], self._last[slots] = episode.reward, slots[-1]
        self._terminal[slots] = False
        self._terminal[slots[-1]] = episode.terminated
        self._next[slots[:-1]], self._next[slots[-1]] = slots[1:], slots[-1]
        return slots

    def _check_room(self, episode: Episode) -> None:
        if len(episode) + 1 > self.capacity:
            raise ValueError(f"{episode.episode_id}: {len(episode)} steps are more than there is room for")

    def _make_room(self, needed: int) -> None:
        if not self._rollouts:
            raise ValueError(f"replay is full of demonstrations: {needed} slots needed, {len(self._free)} free")
        self._evict(self._rollouts.popleft())

    def _evict(self, slots: np.ndarray) -> None:
        self._free.extend(slots)
        for pool in self.pools:
            self._starts[pool] = np.setdiff1d(self._starts[pool], slots, assume_unique=True)

    def sample(self, counts: dict[str, int], n_step: int, gamma: float) -> Batch:
        """Uniform within each pool, `counts` transitions of each, n-step returns, randomly shifted frames."""
        picked = [self.rng.choice(self._starts[pool], count) for pool, count in counts.items() if count]
        start = np.concatenate(picked)
        demo = np.concatenate([np.full(count, pool in self.imitated) for pool, count in counts.items() if count])
        end, returns, power = start, np.zeros(len(start), np.float32), np.ones(len(start), np.float32)
        for _ in range(n_step):
            more = end != self._last[start]
            end = self._next[end]
            returns += np.where(more, power * self._reward[end], 0)
            power *= np.where(more, np.float32(gamma), 1)
        return Batch(
            maps=self._shifted(start),
            next_maps=self._shifted(end),
            state=self._state[start],
            next_state=self._state[end],
            action=self._action[start],
            returns=returns,
            discount=np.where(self._terminal[end], 0, power).astype(np.float32),
            demo=demo & self._imitable[start],
            switches=self._switches[start],
            real=np.full(len(start), self.real),
            weight=np.ones(len(start), np.float32),
            earned=np.float32(gamma) ** self._to_success[start],
            switches_left=self._switches_left[start],
        )

    def _shifted(self, slots: np.ndarray) -> np.ndarray:
        """Each view by itself: what both show together is one of few scenes, and would be learned by heart."""
        cells = self._cells
        out = np.empty((len(slots), cells, cells, len(VIEWS), CHANNELS), np.int8)
        places = self.rng.integers(0, (self.phases, 2 * MARGIN + 1, 2 * MARGIN + 1), (len(slots), len(VIEWS), 3))
        for row, slot in enumerate(slots):
            for view, (phase, y, x) in enumerate(places[row]):
                out[row, :, :, view] = self._maps[slot, view, phase, y : y + cells, x : x + cells]
        return out.reshape(len(slots), cells, cells, -1)

    def _looks(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(T, S, S, 3) uint8 -> (T, phases, cells, cells, 40) int8: each from another place within half a cell."""
        size = self._size + 2 * MARGIN * CELL
        padded = extended(frames, PAD)
        places = rng.integers(0, CELL + 1, (self.phases, len(frames), 2))
        cut = [np.stack([frame[y : y + size, x : x + size] for frame, (y, x) in zip(padded, each, strict=True)])
               for each in places]
        return np.stack([feature_maps(each) for each in cut], axis=1)


def _steps_to_success(episode: Episode) -> np.ndarray:
    """(T+1,) float32: steps after this one until the episode succeeds; infinite where it does not.

    Infinite also for what the policy did before a person came to its help: that success is the person's.
    """
    steps = np.full(len(episode) + 1, np.inf, np.float32)
    if episode.success:
        steps[:-1] = np.arange(len(episode))[::-1]
        helped = max(np.flatnonzero(episode.source[:-1] == HUMAN), default=0)
        steps[(episode.source == POLICY) & (np.arange(len(steps)) < helped)] = np.inf
    return steps


@dataclass(frozen=True)
class _Kept:
    slots: np.ndarray
    version: int  # of the world model
    moment: int  # learner step at which it came


class SyntheticReplay(Replay):
    """Imagined episodes in two queues: "positive" those labelled success, "negative" the others.

    They share the room, and the longer queue makes room, its oldest first: a flood of one kind leaves the other alone.
    """

    pools = SYNTHETIC_POOLS
    imitated = ()
    real = False
    lucky = True  # with a perturbation at every later step
    phases = 1

    def __init__(self, task: Task, capacity: int, seed: int = 0):
        super().__init__(task, capacity, seed)
        self._queues: dict[str, deque[_Kept]] = {pool: deque() for pool in self.pools}

    def add(self, episode: Episode, moment: int = 0) -> None:
        """As for real ones; `moment` is the learner step now, for `drop_older`.

        The episode's notes name the world model's version. Raises ValueError, also for one that has no room at all.
        """
        self._check_room(episode)
        version, slots = int(episode.notes.get("world_model_version", 0)), self._store(episode)
        pool = "positive" if episode.success else "negative"
        self._starts[pool] = np.append(self._starts[pool], slots[:-1])
        self._queues[pool].append(_Kept(slots, version, moment))

    def drop_versions(self, before: int) -> None:
        """Forget what older versions than this imagined."""
        self._drop(lambda kept: kept.version < before)

    def drop_older(self, moment: int) -> None:
        """Forget what came before this learner step."""
        self._drop(lambda kept: kept.moment < moment)

    def _drop(self, stale: Callable[[_Kept], bool]) -> None:
        for pool, queue in self._queues.items():
            for kept in filter(stale, queue):
                self._evict(kept.slots)
            self._queues[pool] = deque(kept for kept in queue if not stale(kept))

    def _make_room(self, needed: int) -> None:
        longest = max(self.pools, key=self.size)
        self._evict(self._queues[longest].popleft().slots)


class ImitationReplay(Replay):
    """Imagined successes that are imitated as demonstrations are: whole episodes, the oldest make room."""

    pools = (IMAGINED,)
    imitated = (IMAGINED,)
    real = False
    phases = 2  # there are many, so fewer looks at each: 16 KB and 2 ms of CPU an observation

    def __init__(self, task: Task, capacity: int, seed: int = 0):
        super().__init__(task, capacity, seed)
        self.taken = 0  # episodes that ever came

    @property
    def episodes(self) -> int:
        """Episodes that are there."""
        return len(self._rollouts)

    def add(self, episode: Episode) -> None:
        """Store an episode. Raises ValueError when it is no success, of another size, or has no room at all."""
        if not episode.success:
            raise ValueError(f"{episode.episode_id}: a {episode.outcome}: only successes are imitated")
        self._check_room(episode)
        slots = self._store(episode)
        self._starts[IMAGINED] = np.append(self._starts[IMAGINED], slots[:-1])
        self._rollouts.append(slots)
        self.taken += 1
