"""Sizes and schedules of the latent flow world model, with the presets `gpu` and `test`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ws_node.options import option

REDUCTION = 8  # px of a view per cell of its latents
HISTORY_LIMIT = 4  # frames a chunk can look back on (WMPO: 4 history latents)


@dataclass(frozen=True)
class FlowOptions:
    """The defaults are the `gpu` profile.

    Its transformer has 60 M parameters; with width 384 and 6 heads 35 M, with width 768 and 12 heads 128 M.
    """

    profile: str = option("gpu", "name of the preset", choices=("gpu", "test"))
    device: str = option("cuda", "where the networks run", choices=("cpu", "cuda"))
    seed: int = option(0, "of the first weights, the training draws and the imagined noise", low=0, high=2**31 - 1)

    side_size: int = option(256, "side of the side view inside the model", unit="px", low=16, high=512)
    wrist_size: int = option(128, "side of the wrist view inside the model", unit="px", low=16, high=512)

    channels: int = option(64, "channels of the autoencoders at full resolution", low=2, high=256)
    latent: int = option(8, "channels of the latents", low=2, high=32)
    kl: float = option(1e-6, "weight of the latents' divergence from a normal", low=0.0, high=1.0)
    moving: float = option(4.0, "extra weight of pixels that differ from the clip's first frame", low=0.0, high=100.0)
    autoencoder_steps: int = option(5000, "first steps, that train only the autoencoders", low=0, high=10**7)
    autoencoder_frames: int = option(64, "frames of each view in such a step", low=1, high=4096)
    decoder_every: int = option(4, "later steps between two that also train the decoders; 0 never", low=0, high=10**6)

    patch: int = option(2, "side of a token", unit="latent cells", low=1, high=8)
    width: int = option(512, "numbers in a token", low=8, high=2048)
    depth: int = option(12, "blocks, each of spatial attention, temporal attention and MLP", low=1, high=48)
    heads: int = option(8, "attention heads", low=1, high=32)
    rank: int = option(128, "inner width of the blocks' modulation (AdaLN-LoRA)", low=1, high=1024)
    hidden: int = option(256, "width of the state and reward heads", low=4, high=2048)
    history: int = option(4, "frames looked back on, the episode's first one among them", low=2, high=HISTORY_LIMIT)
    sampler_steps: int = option(8, "Euler steps from noise to frames", low=1, high=100)

    history_noise: float = option(0.2, "highest share of noise in a history frame when training", low=0.0, high=0.9)
    action_dropout: float = option(0.08, "share of clips trained without their actions", low=0.0, high=0.5)
    ema: float = option(0.999, "decay of the averaged weights that imagine", low=0.0, high=0.99999)
    learning_rate: float = option(1e-4, "of AdamW", low=1e-7, high=1e-1)
    warmup: int = option(500, "steps until the full learning rate", low=0, high=10**6)
    clip_norm: float = option(1.0, "largest norm of a gradient", low=1e-3, high=1e3)
    state_weight: float = option(1.0, "of the squared error of the normalised state", low=0.0, high=100.0)
    reward_weight: float = option(0.2, "of the reward's cross-entropy", low=0.0, high=100.0)
    recompute: bool = option(True, "compute the blocks again in the backward pass: less memory, a third more time")

    def size(self, view: str) -> int:
        """Side of `view` inside the model, px."""
        return {"side": self.side_size, "wrist": self.wrist_size}[view]

    def cells(self, view: str) -> int:
        """Side of the view's latents."""
        return self.size(view) // REDUCTION


GPU = FlowOptions()
TEST = FlowOptions(
    profile="test", device="cpu", side_size=64, wrist_size=32, channels=4, latent=4, autoencoder_steps=20,
    autoencoder_frames=8, patch=2, width=16, depth=1, heads=2, rank=4, hidden=8, sampler_steps=2, ema=0.9,
    learning_rate=5e-3, warmup=5, recompute=False,
)
PRESETS = {options.profile: options for options in (GPU, TEST)}


def check(options: FlowOptions) -> torch.device:
    """The device to run on. Raises ValueError when the sizes do not fit together or the device is missing."""
    unit = REDUCTION * options.patch
    for name in ("side_size", "wrist_size"):
        if getattr(options, name) % unit:
            raise ValueError(f"{name} = {getattr(options, name)}: must be a multiple of {unit} "
                             f"({REDUCTION} px per latent cell, patch = {options.patch})")
    if options.width % options.heads:
        raise ValueError(f"width = {options.width}: must be a multiple of heads = {options.heads}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device = 'cuda': PyTorch {torch.__version__} finds no CUDA device; the {options.profile} profile of the "
            "world model needs an NVIDIA GPU and a CUDA build of PyTorch, or choose the profile cpu")
    return torch.device(options.device)
