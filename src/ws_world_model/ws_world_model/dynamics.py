"""The world model of the cpu profile: known geometry proposes, a small network disposes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ws_node.cpu import bf16_pays
from ws_node.options import option
from ws_rollouts.episode import STATE, STATE_SIZE, VIEWS
from ws_rollouts.task import Task
from ws_world_model.bank import FrameBank
from ws_world_model.calibration import Calibration, CalibrationOptions
from ws_world_model.clips import ClipBatch
from ws_world_model.free import FreePaths
from ws_world_model.geometry import CHANNELS, GeometryOptions, Projector
from ws_world_model.imagination import CHUNK, Context, Imagined
from ws_world_model.layers import PATCH, PLANES, Completion, TableMap, cut, look
from ws_world_model.networks import Core, Renderer
from ws_world_model.scene.arm import Lag
from ws_world_model.scene.redrawing import Redraw
from ws_world_model.scene.scenes import Scenes


@dataclass(frozen=True)
class DynamicsOptions:
    """Sizes and losses of the cpu profile."""

    lead: float = option(0.03, "the driver's limit of the locked target's distance from the tool", unit="m", low=0.001,
                         high=0.2)
    hidden: int = option(96, "width of the recurrent core", low=8, high=1024)
    width: int = option(40, "channels of the renderer at half resolution", low=8, high=256)
    ssim_weight: float = option(0.1, "weight of 1 - SSIM beside the absolute error", low=0.0, high=10.0)
    map_weight: float = option(0.3, "weight of the absolute error of the map's view alone", low=0.0, high=10.0)
    state_weight: float = option(1.0, "weight of the proprioception's loss", low=0.0, high=100.0)
    reward_weight: float = option(0.1, "weight of the reward's loss", low=0.0, high=100.0)
    free_arm: bool = option(True, "the first guess of the tool's way is the driver's own, where nothing is in its way")
    arm_delay: float = option(0.06, "dead time of the arm behind what the driver streams", unit="s", low=0.0, high=0.2)
    arm_lag: float = option(0.04, "lag of the arm after that", unit="s", low=0.0, high=0.5)
    learning_rate: float = option(3e-3, "AdamW", low=1e-6, high=1e-1)


class KinematicWorldModel(torch.nn.Module):
    """Rolls the proprioception first, which is cheap, then draws all frames of a chunk at once, each from the start:

    no picture is made from an imagined one, so errors do not pile up over the horizon.
    """

    profile = "cpu"

    def __init__(
        self,
        task: Task,
        options: DynamicsOptions | None = None,
        calibration: CalibrationOptions | None = None,
        geometry: GeometryOptions | None = None,
    ):
        super().__init__()
        self.task = task
        self.options = options or DynamicsOptions()
        self.version = 0
        self.calibration = calibration or CalibrationOptions()
        cameras = Calibration(task, self.calibration)
        self.projector = Projector(cameras, geometry)
        self.table = TableMap(cameras, task)
        self.banks = {view: FrameBank(view, task.image_size) for view in VIEWS}
        a = self.options.width
        self.core = Core(task, self.options.hidden, self.options.lead, 4 * PLANES, PATCH)
        self.completion = Completion((a * 4 // 5, a * 6 // 5, a * 8 // 5))
        self.renderer = Renderer(self.options.hidden + STATE_SIZE, (a, a * 8 // 5, a * 12 // 5))
        o = self.options
        self.paths = FreePaths(task, Lag(o.arm_delay, o.arm_lag), o.lead) if o.free_arm else None
        self.scenes: Scenes | None = None  # data, not weights
        self._bf16 = bf16_pays()

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)

    def losses(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Loss terms of a batch of clips."""
        tensors = {name: torch.from_numpy(value) for name, value in vars(batch).items()}
        planes = self._planes(tensors["laid"])
        following, hidden = self._rolled(None if planes is None else planes.detach(), batch)  # pictures teach the map
        drawn_from = hidden.unflatten(0, batch.valid.shape[:2])[:, 0]
        chosen = torch.gather(drawn_from, 1, tensors["which"][..., None].expand(-1, -1, hidden.shape[-1]))
        mapped = self._mapped(planes, batch.poses)
        with self.autocast():
            drawn = self.renderer(tensors["candidates"].flatten(0, 1), mapped,
                                  self._condition(chosen.flatten(0, 1), batch.poses))
        truth = tensors["truth"].flatten(0, 1).permute(0, 3, 1, 2).contiguous().float() / 255.0
        valid = tensors["valid"].flatten(0, 1)
        real, done = (_in_windows(batch, tensor) for tensor in (tensors["state"][:, 1:], tensors["done"]))
        error = F.smooth_l1_loss(following / self.core.stride, real / self.core.stride, reduction="none").mean(-1)
        done = F.binary_cross_entropy_with_logits(self.core.done(hidden), done, reduction="none")
        return {
            "pixels": (drawn - truth).abs().mean(),
            "ssim": 1.0 - _ssim(drawn, truth),
            "map": (mapped - truth[:, 3:]).abs().mean() if self.projector.options.layers else torch.zeros(()),
            "state": (error * valid).sum() / valid.sum(),
            "reward": (done * valid).sum() / valid.sum(),
        }

    def _rolled(self, planes: Tensor | None, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """The core through all windows, each from its real start: states (B K, T, 13), memories (B K, T, H)."""
        seen = self._around(planes, batch.state[:, :-1]).unflatten(0, batch.action.shape[:2])  # where it really was
        state, action = (_in_windows(batch, torch.from_numpy(a)) for a in (batch.state[:, :-1], batch.action))
        free = torch.from_numpy(batch.free).flatten(0, 1) if self.paths else None
        return self.core.roll(_in_windows(batch, seen), state[:, 0], action, free)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of `losses`."""
        o = self.options
        weights = {"pixels": 1.0, "ssim": o.ssim_weight, "map": o.map_weight, "state": o.state_weight,
                   "reward": o.reward_weight}
        return sum(weight * losses[name] for name, weight in weights.items())

    def _planes(self, laid: Tensor) -> Tensor | None:
        """The completed map of B starts, None where it is switched off."""
        if not self.projector.options.layers:
            return None
        with self.autocast():
            return self.completion(laid)

    def _mapped(self, planes: Tensor | None, poses: np.ndarray) -> Tensor:
        """The maps of B starts, each seen from its poses (B, M, 13), or one from all: (B M, 3, S, S)."""
        size = self.task.image_size
        if planes is None:
            return torch.zeros(poses.shape[0] * poses.shape[1], 3, size, size)
        return look(planes, self.table.grids(poses.reshape(len(planes), -1, STATE_SIZE)), size)

    def _around(self, planes: Tensor | None, states: np.ndarray) -> Tensor:
        """What the core sees at states (..., 13), the first of whose dimensions is the map's: (N, 64)."""
        if planes is None:
            return torch.zeros(states.size // STATE_SIZE, 64)
        positions = states[..., STATE["position"]].reshape(len(planes), -1, 3)
        squares = cut(planes, self.table.around(positions))
        with self.autocast():
            return self.core.features(squares)

    def _condition(self, hidden: Tensor, poses: np.ndarray) -> Tensor:
        return torch.cat([hidden, self.core.scale(torch.from_numpy(poses.reshape(-1, STATE_SIZE)))], dim=1)

    @torch.no_grad()
    def imagine(self, context: Context, actions: np.ndarray) -> Imagined:
        """See `imagination.Dynamics`. Raises ValueError for actions of another size, too many, or not finite."""
        count, steps, size = actions.shape
        if count != len(context) or size != self.task.action_size or context.age.shape[1] <= steps:
            raise ValueError(f"actions {actions.shape} do not fit {len(context)} starts of {self.task.name}")
        if not (np.isfinite(actions).all() and np.isfinite(context.state).all()):
            raise ValueError("actions or state are not finite")
        sources = self._sources(context)
        planes = self._planes(self._lay_out(context.first if context.shared else context, sources))
        redraws = self._redraws(context)
        free = torch.from_numpy(self.paths.imagined(context, actions)) if self.paths else None
        state, memory, previous = context.state, None, context.state
        parts: list[Imagined] = []
        for begin in range(0, steps, CHUNK):
            end = min(begin + CHUNK, steps)
            states, hiddens, rewards = [], [], []
            for k in range(begin, end):
                state, memory = self._step(planes, state, actions[:, k], memory,
                                           None if free is None else free[:, k : k + 2])
                states.append(state)
                hiddens.append(memory)
                rewards.append(torch.sigmoid(self.core.done(memory)).numpy())
            states = np.stack(states, axis=1)
            frames = self._draw(context, sources, planes, previous, states, torch.stack(hiddens, 1), begin, redraws)
            parts.append(Imagined(frames, states, np.stack(rewards, axis=1)))
            previous = states[:, -1]
        return Imagined(
            {view: np.concatenate([p.frames[view] for p in parts], axis=1) for view in VIEWS},
            np.concatenate([p.state for p in parts], axis=1), np.concatenate([p.reward for p in parts], axis=1))

    def _sources(self, context: Context) -> dict[str, np.ndarray]:
        """View -> (N, 2, 13), where start and memory were taken."""
        return {
            view: np.stack([self.projector.exposed(context.state, None, context.age[:, 0, i]),
                            self.projector.exposed(context.memory_state, None, context.memory_age[:, i])], axis=1)
            for i, view in enumerate(VIEWS)
        }

    def _redraws(self, context: Context) -> list[Redraw | None]:
        if self.scenes is None or not self.projector.options.scene or not context.beginnings:
            return [None] * len(context)
        return [self.scenes.begin(each) for each in context.beginnings]

    def _step(self, planes: Tensor | None, state: np.ndarray, action: np.ndarray, memory: Tensor | None,
              free: Tensor | None):
        features = self._around(planes, state)
        following, memory = self.core(features, torch.from_numpy(state), torch.from_numpy(action), memory, free)
        following[:, STATE["gripper"]].clamp_(0.0, 1.0)
        return following.numpy(), memory

    def _lay_out(self, context: Context, sources: dict) -> Tensor:
        options = self.projector.options
        return torch.from_numpy(np.stack([
            self.table.lay_out({v: context.frames[v][n] for v in VIEWS}, {v: context.memory[v][n] for v in VIEWS},
                               sources["wrist"][n], options.views, options.memory)
            for n in range(len(context))]))

    def _draw(self, context: Context, sources: dict, planes: Tensor | None, previous: np.ndarray, states: np.ndarray,
              hidden: Tensor, begin: int, redraws: list[Redraw | None]) -> dict[str, np.ndarray]:
        count, steps, _ = states.shape
        before = np.concatenate([previous[:, None], states[:, :-1]], axis=1)
        age = context.age[:, begin + 1 : begin + 1 + steps]
        poses = {view: self.projector.exposed(states.reshape(-1, STATE_SIZE), before.reshape(-1, STATE_SIZE),
                                         age[..., i].ravel()).reshape(states.shape) for i, view in enumerate(VIEWS)}
        size, options = self.task.image_size, self.projector.options
        candidates = np.empty((count, steps, size, size, CHANNELS), np.uint8)
        for n in range(count):
            start, memory = ({v: frames[v][n] for v in VIEWS} for frames in (context.frames, context.memory))
            known = {v: self.banks[v].nearest(poses[v][n]) if options.bank else [None] * steps for v in VIEWS}
            candidates[n] = self.projector.candidates(
                start, memory, {v: sources[v][n] for v in VIEWS}, {v: poses[v][n] for v in VIEWS}, known,
                _redrawn(redraws[n], {v: poses[v][n] for v in VIEWS}))
        mapped = self._mapped(planes, poses["wrist"])
        with self.autocast():
            condition = self._condition(hidden.flatten(0, 1), poses["wrist"])
            drawn = self.renderer(torch.from_numpy(candidates).flatten(0, 1), mapped, condition)
        drawn = drawn.mul(255.0).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        drawn = drawn.reshape(count, steps, size, size, 6)
        return {"side": drawn[..., :3], "wrist": drawn[..., 3:]}


def _redrawn(redraw: Redraw | None, poses: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """View -> (T, S, S, 3) at `poses`, view -> (T, 13), of an episode that can be drawn."""
    if redraw is None:
        return None
    rows = [redraw.draw({v: poses[v][k] for v in VIEWS}) for k in range(len(poses[VIEWS[0]]))]
    return {view: np.stack([row[view] for row in rows]) for view in VIEWS}


def _in_windows(batch: ClipBatch, values: Tensor) -> Tensor:
    """What (B, L, ...) holds at the steps of the batch's windows: (B K, T, ...)."""
    return values[torch.arange(len(values))[:, None, None], torch.from_numpy(batch.windows)].flatten(0, 1)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of (B, C, S, S) in 0 .. 1, in 8x8 boxes every 4 px: a loss, not the metric (Wang et al. 2004)."""
    moments = F.avg_pool2d(torch.cat([a, b, a * a, b * b, a * b], dim=1), 8, 4)
    ma, mb, aa, bb, ab = moments.chunk(5, dim=1)
    va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean()
