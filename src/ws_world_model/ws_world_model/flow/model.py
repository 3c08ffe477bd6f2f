"""The latent flow world model: imagines both views, proprioception and reward, and learns from recorded clips."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ws_node.averages import Average
from ws_rollouts.episode import STATE_SIZE, VIEWS
from ws_rollouts.task import Task
from ws_world_model.flow.batch import ClipBatch, Past, clips_of, conditions_of
from ws_world_model.flow.flow import sample
from ws_world_model.flow.learning import Learner, check_moments
from ws_world_model.flow.networks import Autoencoders, Predictor, autocast
from ws_world_model.flow.options import GPU, PRESETS, TEST, FlowOptions, check
from ws_world_model.imagination import CHUNK, Context, Imagined

__all__ = ["GPU", "PRESETS", "TEST", "ClipBatch", "FlowOptions", "FlowWorldModel", "clips_of"]


class FlowWorldModel:
    """Dynamics (see ws_world_model.imagination) of the profiles `gpu` and `test`.

    Imagining is a function of the weights, the seed and its inputs: each start draws its noise from its own
    proprioception, so variants of one start differ by their actions alone, and rows do not depend on each other.
    Raises ValueError when the sizes do not fit together or CUDA is asked for and missing.
    """

    def __init__(self, task: Task, options: FlowOptions = GPU, version: int = 0):
        self.task, self.options, self.profile, self.version = task, options, options.profile, version
        self.device = check(options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self._autoencoders = Autoencoders(options).to(self.device)
            self._predictor = Predictor(task, options).to(self.device)
        self._average = Average(self._predictor, options.ema)
        self._steps = 0
        self._learner: Learner | None = None

    @property
    def steps(self) -> int:
        """Training steps made."""
        return self._learner.steps if self._learner else self._steps

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of each part."""
        parts = {f"autoencoder_{view}": self._autoencoders[view] for view in VIEWS} | {
            name: getattr(self._predictor, name) for name in ("transformer", "state", "reward")}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}

    def train_step(self, batch: ClipBatch) -> dict[str, float]:
        """One optimiser step; its losses by name. Raises FloatingPointError when they are not finite.

        The first `autoencoder_steps` train the autoencoders ("autoencoder_side", ...), the later ones the predictor
        ("flow", "state", "reward"), now and then with the decoders ("decoder_side", ...).
        """
        return self._trained().step(batch)

    @torch.no_grad()
    def imagine(self, context: Context, actions: np.ndarray) -> Imagined:
        """What `actions` (N, T, A) float32 lead to from N starts, in the size of the context's frames.

        Twelve actions at a time; each chunk looks back on the episode's first frame and on up to three frames
        before it. No observation depends on a later action. Raises ValueError on shapes that do not
        fit and on numbers that are not finite.
        """
        self._check(context, actions)
        past, told = self._past(context), self._tensor(actions)
        ages, states, rewards = self._tensor(context.age[:, 1:]), [], []
        sizes = {view: context.frames[view].shape[1] for view in VIEWS}
        frames: dict[str, list[np.ndarray]] = {view: [] for view in VIEWS}
        for chunk, begin in enumerate(range(0, actions.shape[1], CHUNK)):
            span = slice(begin, min(begin + CHUNK, actions.shape[1]))
            latents, state, reward = self._chunk(past, told[:, span], ages[:, span], self._noise(context, chunk))
            with autocast(self.device):
                decoded = self._autoencoders.decode(latents, sizes)
            for view in VIEWS:
                frames[view].append(decoded[view])
            past = past.followed_by(latents, told[:, span], state, ages[:, span], self.options.history)
            states.append(state)
            rewards.append(reward)
        return Imagined(
            frames={view: np.concatenate(frames[view], axis=1) for view in VIEWS},
            state=torch.cat(states, dim=1).cpu().numpy(),
            reward=torch.cat(rewards, dim=1).cpu().numpy(),
        )

    def tensors(self, training: bool = False) -> dict[str, np.ndarray]:
        """Weights by name, for a safetensors file: the averaged ones that imagine.

        With `training` also what makes later steps the same as without the break: the weights that are trained,
        the optimiser's moments and the state of the random numbers; four times the size.
        """
        tensors = _named("autoencoder", self._autoencoders.state_dict())
        tensors |= _named("predictor", self._average.module.state_dict())
        tensors["steps"] = torch.tensor(self.steps, dtype=torch.int64)
        if training:
            tensors |= _named("trained", self._predictor.state_dict())
            tensors |= _named("moments", self._trained().moments())
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}

    def load_tensors(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Go on from `tensors`, with or without what training needs. Raises ValueError and changes nothing if unfit."""
        parts = _parts(tensors)
        _fit(parts["autoencoder"], self._autoencoders.state_dict(), "autoencoder")
        _fit(parts["predictor"], self._predictor.state_dict(), "predictor")
        trained = parts["trained"] or parts["predictor"]
        _fit(trained, self._predictor.state_dict(), "trained")
        if "steps" not in tensors:
            raise ValueError("steps: missing")
        if parts["moments"]:
            check_moments(parts["moments"], [*self._autoencoders.parameters(), *self._predictor.parameters()])
        self._autoencoders.load_state_dict(parts["autoencoder"])
        self._average.module.load_state_dict(parts["predictor"])
        self._predictor.load_state_dict(trained)
        self._steps, self._learner = int(tensors["steps"]), None
        if parts["moments"]:
            self._trained().load_moments(parts["moments"])

    def _trained(self) -> Learner:
        """The learner, made when it is first needed: who only imagines has no optimiser in memory."""
        if self._learner is None:
            self._learner = Learner(self._autoencoders, self._predictor, self._average, self.options, self.device,
                                    self._steps)
        return self._learner

    def _chunk(self, past: Past, actions: Tensor, age: Tensor, noise: dict[str, Tensor]
               ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Latents (N, F, C, G, G), physical states (N, F, 13) and reward probabilities (N, F) of one chunk."""
        net = self._average.module
        start = {view: past.latents[view][:, -1] for view in VIEWS}
        led = net.state(start, past.state[:, -1], actions)
        conditions = conditions_of(past, self.options.history, actions, led, age, net.state.scale)
        noise = {view: x[:, : actions.shape[1]] for view, x in noise.items()}
        with autocast(self.device):
            latents = sample(net.transformer, past.latents, noise, conditions, self.options.sampler_steps)
        return latents, net.state.scale.physical(led), net.reward(latents, led).sigmoid()

    def _past(self, context: Context) -> Past:
        frames = {v: np.stack([context.memory[v], context.frames[v]], axis=1) for v in VIEWS}
        with autocast(self.device):
            latents = self._autoencoders.encode(frames, self.device)
        count = len(context)
        return Past(
            latents,
            action=torch.zeros(count, 2, self.task.action_size, device=self.device),
            known=torch.zeros(count, 2, device=self.device),
            state=self._tensor(np.stack([context.memory_state, context.state], axis=1)),
            age=self._tensor(np.stack([context.memory_age, context.age[:, 0]], axis=1)),
        )

    def _noise(self, context: Context, chunk: int) -> dict[str, Tensor]:
        """Normal (N, 12, C, G, G) of one chunk, by what the start's proprioception is."""
        rows = [zlib.crc32(np.ascontiguousarray(s, np.float32).tobytes()) for s in context.state]
        randoms = [torch.Generator().manual_seed((row << 31) + self.options.seed + 7919 * chunk) for row in rows]
        shapes = {v: (CHUNK, self.options.latent, self.options.cells(v), self.options.cells(v)) for v in VIEWS}
        return {v: torch.stack([torch.randn(shapes[v], generator=r) for r in randoms]).to(self.device) for v in VIEWS}

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self.device)

    def _check(self, context: Context, actions: np.ndarray) -> None:
        rows, steps, size = actions.shape
        if rows != len(context) or size != self.task.action_size:
            raise ValueError(f"actions {actions.shape}: must be ({len(context)}, T, {self.task.action_size})")
        if not 1 <= steps <= context.age.shape[1] - 1:
            raise ValueError(f"{steps} actions: the context has ages for 1 .. {context.age.shape[1] - 1}")
        if context.state.shape != (rows, STATE_SIZE):
            raise ValueError(f"state {context.state.shape}: must be ({rows}, {STATE_SIZE})")
        if not (np.isfinite(actions).all() and np.isfinite(context.state).all()):
            raise ValueError("actions or state are not finite")


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _parts(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"autoencoder": {}, "predictor": {}, "trained": {}, "moments": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if name == "steps":
            continue
        if part not in parts:
            raise ValueError(f"{name}: unknown")
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name}: not finite")
        parts[part][rest] = torch.from_numpy(np.array(tensor))
    return parts


def _fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], part: str) -> None:
    """Raises ValueError that names the first tensor that is missing, unknown or of another shape."""
    for name in sorted(tensors.keys() ^ expected.keys()):
        raise ValueError(f"{part}.{name}: {'missing' if name in expected else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise ValueError(f"{part}.{name}: {tuple(tensor.shape)} {tensor.dtype}, must be "
                             f"{tuple(expected[name].shape)} {expected[name].dtype}: another architecture")
