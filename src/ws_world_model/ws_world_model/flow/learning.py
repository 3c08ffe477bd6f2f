"""Training of the flow world model: first the autoencoders alone, then the predictor on their latents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ws_node.averages import Average
from ws_rollouts.episode import VIEWS
from ws_world_model.flow.batch import ClipBatch, Past, Window, conditions_of, windows
from ws_world_model.flow.flow import draw, flow_loss
from ws_world_model.flow.networks import Autoencoders, Predictor, autocast
from ws_world_model.flow.options import FlowOptions
from ws_world_model.flow.pictures import pictures_of

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW, per parameter


class Learner:
    """One optimiser over all weights. `steps` counts those made.

    Which frames and windows are drawn comes from one generator, noise from another one on the device.
    """

    def __init__(self, autoencoders: Autoencoders, predictor: Predictor, average: Average, options: FlowOptions,
                 device: torch.device, steps: int = 0):
        self.steps = steps
        self._autoencoders, self._predictor, self._average = autoencoders, predictor, average
        self._options, self._device = options, device
        self.parameters = [*autoencoders.parameters(), *predictor.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, options.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        self._choice = torch.Generator().manual_seed(options.seed + steps)
        self._noise = torch.Generator(device).manual_seed(options.seed + steps + 1)

    def step(self, batch: ClipBatch) -> dict[str, float]:
        """One step on a batch; names and values of its losses."""
        begun = self.steps - self._options.autoencoder_steps  # steps of the predictor
        losses = self._autoencoder_losses(batch) if begun < 0 else self._losses(batch, begun)
        total = sum(losses.values())
        if not torch.isfinite(total):
            raise FloatingPointError(f"step {self.steps}: the loss is not finite: " + ", ".join(
                f"{name} = {value.item():.3g}" for name, value in losses.items()))
        self._update(total, self.steps if begun < 0 else begun)
        self.steps += 1
        if begun >= 0:
            self._average.follow(self._predictor, begun)
        return {name: value.item() for name, value in losses.items()}

    def moments(self) -> dict[str, Tensor]:
        """State of the optimiser and of the generators; with it and the weights training goes on exactly."""
        state = self.optimiser.state_dict()["state"]
        tensors = {f"{index}.{name}": entry[name] for index, entry in state.items() for name in MOMENTS}
        return {**tensors, "choice": self._choice.get_state(), "noise": self._noise.get_state()}

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Go on from `moments` that `check_moments` has accepted."""
        state = {
            index: {name: tensors[f"{index}.{name}"].clone() for name in MOMENTS}
            for index in range(len(self.parameters)) if f"{index}.step" in tensors
        }
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self._choice.set_state(tensors["choice"])
        self._noise.set_state(tensors["noise"])

    def _update(self, total: Tensor, begun: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._options.learning_rate * min(1.0, (begun + 1) / max(self._options.warmup, 1))
        self.optimiser.zero_grad(set_to_none=True)  # what has no gradient is left as it is
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self._options.clip_norm)
        self.optimiser.step()

    def _autoencoder_losses(self, batch: ClipBatch) -> dict[str, Tensor]:
        return {f"autoencoder_{view}": self._picture_loss(batch, view, decoder_only=False) for view in VIEWS}

    def _picture_loss(self, batch: ClipBatch, view: str, decoder_only: bool) -> Tensor:
        """Of random frames of the batch."""
        frames, size, options = batch.frames[view], self._options.size(view), self._options
        count = options.autoencoder_frames
        clip = torch.randint(frames.shape[0], (count,), generator=self._choice).numpy()
        step = torch.randint(frames.shape[1], (count,), generator=self._choice).numpy()
        pictures = pictures_of(frames[clip, step], size, self._device)
        reference = pictures_of(frames[clip, 0], size, self._device)
        autoencoder = self._autoencoders[view]
        with autocast(self._device):
            if decoder_only:
                return autoencoder.decoder_loss(pictures, reference)
            shape = (count, options.latent, options.cells(view), options.cells(view))
            noise = torch.randn(shape, generator=self._noise, device=self._device)
            return autoencoder.loss(pictures, reference, noise)

    def _losses(self, batch: ClipBatch, begun: int) -> dict[str, Tensor]:
        options, predictor = self._options, self._predictor.train()
        choice = windows(batch.action.shape[1], options.history - 1)
        window = choice[int(torch.randint(len(choice), (1,), generator=self._choice))]
        with autocast(self._device):
            latents = self._autoencoders.encode(window_frames(batch, window), self._device)
        past, action, state, age = window_tensors(batch, window, latents, self._device)
        start = {view: past.latents[view][:, -1] for view in VIEWS}
        normalised = predictor.state.scale
        led = predictor.state(start, past.state[:, -1], action)
        # the transformer is told the pose that it will be told when imagining, not the true one
        conditions = conditions_of(past, options.history, action, led.detach(), age, normalised)
        draws = draw(latents, len(past), options, self._noise)
        with autocast(self._device):
            flow = flow_loss(predictor.transformer, latents, len(past), conditions, draws)
        seen = torch.cat([past.state[:, 1:], state], dim=1)
        reward = self._reward_loss({v: x[:, 1:] for v, x in latents.items()}, normalised(seen), batch, window)
        losses = {
            "flow": flow,
            "state": options.state_weight * F.mse_loss(led, normalised(state)),
            "reward": options.reward_weight * reward,
        }
        if options.decoder_every and begun % options.decoder_every == 0:
            losses |= {f"decoder_{view}": self._picture_loss(batch, view, decoder_only=True) for view in VIEWS}
        return losses

    def _reward_loss(self, latents: dict[str, Tensor], state: Tensor, batch: ClipBatch, window: Window) -> Tensor:
        """On latents with a little noise, as imagined ones have."""
        true = torch.from_numpy(batch.reward[:, window.first : window.end + 1]).to(self._device)
        level = self._options.history_noise * torch.rand(
            *true.shape, 1, 1, 1, generator=self._noise, device=self._device)
        noisy = {
            view: x + level * (torch.randn(x.shape, generator=self._noise, device=self._device) - x)
            for view, x in latents.items()
        }
        return F.binary_cross_entropy_with_logits(self._predictor.reward(noisy, state), (true > 0).float())


def check_moments(tensors: dict[str, Tensor], parameters: list[Tensor]) -> None:
    """Raises ValueError unless these are `Learner.moments` of an optimiser over such parameters."""
    indices = {name.split(".")[0] for name in tensors} - {"choice", "noise"}
    expected = {f"{index}.{name}" for index in indices for name in MOMENTS} | {"choice", "noise"}
    for name in sorted(tensors.keys() ^ expected):
        raise ValueError(f"moments.{name}: {'missing' if name in expected else 'unknown'}")
    for index in indices:
        if not index.isdecimal() or int(index) >= len(parameters):
            raise ValueError(f"moments.{index}: of no parameter")
        for name in MOMENTS[1:]:
            if tensors[f"{index}.{name}"].shape != parameters[int(index)].shape:
                raise ValueError(f"moments.{index}.{name}: another architecture")


def window_frames(batch: ClipBatch, window: Window) -> dict[str, np.ndarray]:
    """view -> (B, F, S, S, 3) uint8: the memory, the history, the frames to imagine."""
    memory = batch.memory or {view: batch.frames[view][:, 0] for view in VIEWS}
    shown = slice(window.first, window.end + 1)
    return {view: np.concatenate([memory[view][:, None], batch.frames[view][:, shown]], axis=1) for view in VIEWS}


def window_tensors(batch: ClipBatch, window: Window, latents: dict[str, Tensor], device: torch.device
                   ) -> tuple[Past, Tensor, Tensor, Tensor]:
    """The past of a window whose frames have these latents, and action, physical state and age of its future."""
    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    ages = np.zeros((*batch.state.shape[:2], len(VIEWS)), np.float32) if batch.age is None else batch.age
    memory_age = ages[:, 0] if batch.memory_age is None else batch.memory_age
    memory_state = batch.state[:, 0] if batch.memory_state is None else batch.memory_state
    state = np.concatenate([memory_state[:, None], batch.state[:, window.first : window.end + 1]], axis=1)
    age = np.concatenate([memory_age[:, None], ages[:, window.first : window.end + 1]], axis=1)
    clips, _, size = batch.action.shape
    history = 2 + window.start - window.first
    past_action = np.zeros((clips, history, size), np.float32)
    known = np.zeros((clips, history), np.float32)
    if window.known:
        past_action[:, 1:] = batch.action[:, window.first - 1 : window.start]
        known[:, 1:] = 1
    past = Past({view: latents[view][:, :history] for view in VIEWS}, tensor(past_action), tensor(known),
                tensor(state[:, :history]), tensor(age[:, :history]))
    action = tensor(batch.action[:, window.start : window.end])
    return past, action, tensor(state[:, history:]), tensor(age[:, history:])
