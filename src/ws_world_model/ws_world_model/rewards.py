"""The reward model: an ensemble that sees in both views whether the task is done, real or imagined."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_node.averages import Average
from ws_node.cpu import bf16_pays
from ws_node.options import option
from ws_rollouts.episode import VIEWS, Episode
from ws_rollouts.task import Task
from ws_world_model.geometry import PERIOD
from ws_world_model.labels import Label, Labeller, LabelOptions
from ws_world_model.reward_data import DONE, OPEN, WindowStore, checked, frame_labels, near_misses, success_index
from ws_world_model.reward_network import WINDOW, Member, check_image_size, to_blocks
from ws_world_model.scaling import StateScale

_LIMIT = 3.0  # of the scaled state
_GROWING = ("reward.calibration.failures", "reward.calibration.recognised")
_ARCHITECTURE = "three-frame ensemble 1"  # changes when older weights no longer mean the same


class RewardError(ValueError):
    """Weights that do not fit this reward model; the text says why."""


@dataclass(frozen=True)
class RewardOptions:
    """Defaults: for twenty demonstrations and tens of rollouts on one core."""

    members: int = option(3, "classifiers in the ensemble", low=1, high=16)
    channels: int = option(48, "channels of the convolutions", low=4, high=512)
    features: int = option(64, "features of a window", low=8, high=1024)
    batch: int = option(32, "windows per member and step", low=2, high=1024)
    learning_rate: float = option(5e-4, "AdamW", low=1e-6, high=1e-1)
    weight_decay: float = option(1e-2, "AdamW", low=0.0, high=1.0)
    positive_share: float = option(0.3, "share of the batch that shows success", low=0.05, high=0.95)
    imagined_share: float = option(0.25, "share of the batch that is imagined, once there is some", low=0.0, high=0.9)
    averaging: float = option(0.99, "decay per step of the mean weights that judge", low=0.0, high=0.9999)
    near_miss_weight: float = option(2.0, "how much oftener near misses are drawn", low=1.0, high=100.0)
    near_miss_window: int = option(8, "how many frames before a success or an end are near misses", unit="steps",
                                   low=0, high=1000)
    state_dropout: float = option(0.3, "share of windows without state, so that the pictures are looked at",
                                  low=0.0, high=1.0)
    state_noise: float = option(0.1, "random change of the state, 1 its range, so that no frame is known by it",
                                low=0.0, high=1.0)
    history_dropout: float = option(0.1, "share of windows without the frames before", low=0.0, high=1.0)
    brightness: float = option(0.1, "random change of gain and offset of a window's pictures", low=0.0, high=0.5)
    capacity: int = option(6000, "real observations in memory, 31 KB each at 64 px", low=100, high=1_000_000)
    imagined_capacity: int = option(2000, "imagined observations in memory", low=100, high=1_000_000)
    min_successes: int = option(5, "successful episodes before it is ready", low=1, high=1000)
    min_updates: int = option(200, "steps before it is ready", low=1, high=100_000)
    updates_per_episode: int = option(40, "steps that each further episode is worth", low=0, high=10_000)
    bf16: str = option("auto", "convolutions in bfloat16", choices=("auto", "on", "off"))


class RewardModel:
    """Learns in small steps from labelled episodes; says of a trajectory whether and when it succeeds.

    Raises ValueError for a task whose images the network cannot take.
    """

    def __init__(
        self, task: Task, options: RewardOptions | None = None, seed: int = 0, labels: LabelOptions | None = None
    ):
        self.task = task
        self.options = options = options or RewardOptions()
        self.labeller = Labeller(labels or LabelOptions())
        size = check_image_size(task.image_size)
        self._rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the members differ by their first weights and by what they draw
            members = (Member(size, options.channels, options.features) for _ in range(options.members))
            self._members = nn.ModuleList(members)
        self._average = Average(self._members, self.options.averaging)  # what judges: steadier from step to step
        self._scale = StateScale(task)
        self._shown = max(2, round(task.success_hold / PERIOD))  # frames at a success's end that show it
        self._optimiser = torch.optim.AdamW(
            self._members.parameters(), options.learning_rate, weight_decay=options.weight_decay)
        self._bf16 = bf16_pays() if options.bf16 == "auto" else options.bf16 == "on"
        self._real = WindowStore(options.capacity, size)
        self._imagined = WindowStore(options.imagined_capacity, size)
        self.updates = 0
        self.episodes = self.successes = 0

    def add(self, episode: Episode) -> None:
        """Learn from a real episode from now on. Raises ValueError that names the episode and what is wrong."""
        images, labels = self._labelled(episode)
        if len(labels) > self.options.capacity:
            raise ValueError(f"{episode.episode_id}: its {len(labels)} observations do not fit a capacity of "
                             f"{self.options.capacity}")
        near = near_misses(labels, self.options.near_miss_window)
        self._real.add(images, episode.state, labels, near, keep=episode.is_demonstration)
        self.episodes += 1
        self.successes += episode.success

    def add_imagined(self, frames: dict[str, np.ndarray], state: np.ndarray, success_index: int | None) -> None:
        """Learn from an imagined replay of known outcome too: frames[view] (N, S, S, 3) uint8, state (N, 13).

        `success_index` is the first frame of the success, None of a failure. Raises ValueError as `add`.
        """
        images = checked(frames, state, self.task.image_size, "imagined replay")
        if success_index is not None and not 0 < success_index < len(state):
            raise ValueError(f"success_index = {success_index}: must be in 1 .. {len(state) - 1}")
        labels = frame_labels(len(state) - 1, success_index, shown=self._shown)
        self._imagined.add(images, state, labels, near_misses(labels, self.options.near_miss_window), keep=False)

    def _labelled(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        if episode.task != self.task.name:
            raise ValueError(f"{episode.episode_id}: is of task {episode.task!r}, not {self.task.name!r}")
        images = checked(episode.frames, episode.state, self.task.image_size, episode.episode_id)
        index, broken_off = success_index(episode), episode.outcome == "aborted"
        return images, frame_labels(len(episode), index, broken_off, self._shown)

    @property
    def trainable(self) -> bool:
        """Whether there is a frame of either kind to learn from."""
        return min(self._real.count(DONE), self._real.count(OPEN)) > 0

    @property
    def due(self) -> bool:
        """Whether there is data that is worth further steps."""
        extra = max(0, self.episodes - self.options.min_successes) * self.options.updates_per_episode
        return self.trainable and self.updates < self.options.min_updates + extra

    @property
    def ready(self) -> bool:
        """Whether it has seen and learnt enough to label at all; how well is for `auc` to say."""
        return self.updates >= self.options.min_updates and self.successes >= self.options.min_successes

    @property
    def stopped(self) -> bool:
        """Whether too many failures are called successes to go on."""
        return self.labeller.stopped

    def step(self) -> float:
        """One gradient step of every member; the mean loss. RuntimeError before there is data of either kind.

        Raises FloatingPointError when the loss is not finite.
        """
        if not self.trainable:
            raise RuntimeError("the reward model has not seen both a success and something else yet")
        images, state, target, drawn = self._batch()
        with self._autocast():
            blocks = self._jittered(to_blocks(torch.from_numpy(images).flatten(0, 1)))
            scaled = self._blurred(self._scale(torch.from_numpy(state), _LIMIT))
            logits = torch.cat([
                member(*member.stem(part).unflatten(0, (-1, WINDOW)).unbind(1), s)
                for member, part, s in zip(self._members, blocks.chunk(len(self._members)),
                                           scaled.chunk(len(self._members)), strict=True)])
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(target))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss of the reward model is {loss.item()}")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.updates += 1
        self._average.follow(self._members, self.updates)
        probabilities = torch.sigmoid(logits.detach()).numpy()
        for store, slots, rows in drawn:
            store.remember(slots, probabilities[rows])
        return loss.item()

    def _batch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list]:
        """Windows of all members one after the other, and where each came from: store, slots, rows."""
        options, parts, drawn, row = self.options, [], [], 0
        for _ in self._members:
            for store, label, count in self._portions():
                slots = store.draw(label, count, options.near_miss_weight, self._rng)
                parts.append((*store.windows(slots, options.history_dropout, self._rng),
                              np.full(count, label, np.float32)))
                drawn.append((store, slots, slice(row, row + count)))
                row += count
        return *(np.concatenate(part) for part in zip(*parts, strict=True)), drawn

    def _portions(self) -> Iterable[tuple[WindowStore, int, int]]:
        """One member's share of a batch: store, label, count."""
        done = round(self.options.batch * self.options.positive_share)
        done = min(max(done, 1), self.options.batch - 1)
        for label, count in ((DONE, done), (OPEN, self.options.batch - done)):
            imagined = round(count * self.options.imagined_share) if self._imagined.count(label) else 0
            yield self._imagined, label, imagined
            yield self._real, label, count - imagined

    def _jittered(self, blocks: Tensor) -> Tensor:
        rows = len(blocks) // WINDOW
        jitter = self._rng.uniform(-1, 1, (2, rows)).repeat(WINDOW, axis=1) * self.options.brightness
        gain, offset = torch.from_numpy(jitter).to(blocks.dtype).view(2, -1, 1, 1, 1)
        return torch.addcmul(blocks + offset, blocks, gain)

    def _blurred(self, scaled: Tensor) -> Tensor:
        keep = self._rng.random((len(scaled), 1)) >= self.options.state_dropout
        noise = self._rng.normal(0.0, self.options.state_noise, tuple(scaled.shape))
        return (scaled + torch.from_numpy(noise).float()) * torch.from_numpy(keep)

    def _autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)

    def predict(self, frames: dict[str, np.ndarray], state: np.ndarray, newest_only: bool = False) -> np.ndarray:
        """Probability that the task is done, (members, T) float32, at each observation of one trajectory.

        frames[view] (T, S, S, 3) uint8, state (T, 13) float32; the first observations lack a history. A live
        detector hands over its last three observations and asks for the `newest_only`: (members, 1).
        Raises ValueError that says what is wrong.
        """
        images = checked(frames, state, self.task.image_size, "trajectory")
        return self._predict(images, np.asarray(state, np.float32), newest_only)

    @torch.no_grad()
    def _predict(self, images: np.ndarray, state: np.ndarray, newest_only: bool) -> np.ndarray:
        last = len(state) - 1
        rows = np.arange(last if newest_only else 0, last + 1)
        seen = np.unique(np.maximum(rows[:, None] - np.arange(WINDOW), 0))
        back = [torch.from_numpy(np.searchsorted(seen, np.maximum(rows - age, 0))) for age in range(WINDOW)]
        with self._autocast():
            blocks = to_blocks(torch.from_numpy(images[seen]))
            scaled = self._scale(torch.from_numpy(state[rows]), _LIMIT)
            logits = []
            for member in self._average.module:
                features = member.stem(blocks)
                logits.append(member(*(features[index] for index in back), scaled))
        return torch.sigmoid(torch.stack(logits)).numpy()

    def label(self, probabilities: np.ndarray) -> Label:
        """Success, failure or neither, of what `predict` gave."""
        return self.labeller.label(probabilities)

    def observe_identity(self, true_success: bool, label: Label) -> None:
        """See Labeller."""
        self.labeller.observe_identity(true_success, label)

    def auc(self, episodes: Iterable[Episode]) -> float:
        """Area under the ROC curve over the labelled frames of episodes, of the members' mean.

        NaN, which passes no gate, when the frames are of one kind only. Raises ValueError as `add`.
        """
        scores, labels = [], []
        for episode in episodes:
            images, label = self._labelled(episode)
            scores.append(self._predict(images, episode.state, False).mean(0))
            labels.append(label)
        if not labels:
            return float("nan")
        return _area(np.concatenate(scores), np.concatenate(labels))

    def metadata(self) -> dict[str, str]:
        """What weights must agree on, for the header of a safetensors file."""
        values = {"architecture": _ARCHITECTURE, "task": self.task.name, "image_size": self.task.image_size,
                  "views": ",".join(VIEWS), "members": self.options.members, "channels": self.options.channels,
                  "features": self.options.features}
        return {f"reward_{name}": str(value) for name, value in values.items()}

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of the weights and the calibration; data and optimiser are made anew from bags."""
        weights = {f"reward.{n}": t.detach().numpy().copy() for n, t in self._average.module.state_dict().items()}
        calibration = {f"reward.calibration.{n}": value for n, value in self.labeller.tensors().items()}
        counts = np.array([self.updates, self.successes], np.int64)
        return {**weights, **calibration, "reward.counts": counts}

    def load(self, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
        """Take over `tensors` and `metadata` of another; changes nothing and raises RewardError when they do not fit.

        Other names than this model's are ignored, so that one file may hold more.
        """
        for name, expected in self.metadata().items():
            if metadata.get(name) != expected:
                raise RewardError(f"{name} is {metadata.get(name)!r}, must be {expected!r}")
        own = self.tensors()
        for name, value in own.items():
            if name not in tensors:
                raise RewardError(f"tensor {name} is missing")
            if name not in _GROWING and tensors[name].shape != value.shape:
                raise RewardError(f"tensor {name} is {tensors[name].shape}, must be {value.shape}")
            if not np.isfinite(tensors[name]).all():
                raise RewardError(f"tensor {name} is not finite")
        names = self._members.state_dict()
        weights = {n: torch.from_numpy(np.array(tensors[f"reward.{n}"], np.float32)) for n in names}
        self._members.load_state_dict(weights)
        self._average.module.load_state_dict(weights)
        self.labeller.load(tensors["reward.calibration.threshold"][0], *(tensors[n].ravel() for n in _GROWING))
        self.updates, self.successes = map(int, tensors["reward.counts"])


def _area(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of pairs of a DONE and an OPEN frame that the scores order right; ties count half (Mann-Whitney)."""
    done, other = scores[labels == DONE], np.sort(scores[labels == OPEN])
    if not len(done) or not len(other):
        return float("nan")
    below, upto = (np.searchsorted(other, done, side=side) for side in ("left", "right"))
    return float(np.mean(below + upto) / (2 * len(other)))
