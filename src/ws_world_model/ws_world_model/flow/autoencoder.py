"""Pictures to latents and back: one small convolutional variational autoencoder per view, eight pixels a cell."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_world_model.flow.options import FlowOptions

_MULTIPLES = (1, 2, 4, 4)  # of the channels at 1, 1/2, 1/4 and 1/8 of the resolution
_MOMENTUM = 0.05  # of the latents' mean and deviation, per training step
_MOVED = 2 * 8 / 255  # on [-1, 1]: eight grey levels


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1),
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


def _encoder(widths: list[int], latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, 1, 1)]
    for inner, outer in zip(widths, widths[1:], strict=False):
        layers += [_Residual(inner), nn.Conv2d(inner, outer, 3, 2, 1)]
    return nn.Sequential(*layers, _Residual(widths[-1]), _norm(widths[-1]), nn.SiLU(),
                         nn.Conv2d(widths[-1], 2 * latent, 3, 1, 1))


def _decoder(widths: list[int], latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(latent, widths[-1], 3, 1, 1), _Residual(widths[-1])]
    for inner, outer in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(inner, outer, 3, 1, 1), _Residual(outer)]
    return nn.Sequential(*layers, _norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 3, 3, 1, 1))


class Autoencoder(nn.Module):
    """Pictures (N, 3, S, S) on [-1, 1] to latents (N, C, S/8, S/8) of about zero mean and unit variance, and back.

    Kullback-Leibler light, as latent diffusion's (Rombach et al. 2022), but without its adversarial and perceptual
    losses: nothing has to be downloaded. The encoder's raw latents are standardised by running statistics.
    """

    def __init__(self, options: FlowOptions):
        super().__init__()
        widths = [options.channels * m for m in _MULTIPLES]
        self.kl, self.moving = options.kl, options.moving
        self.encoder, self.decoder = _encoder(widths, options.latent), _decoder(widths, options.latent)
        self.register_buffer("mean", torch.zeros(options.latent))
        self.register_buffer("deviation", torch.ones(options.latent))

    def encode(self, pictures: Tensor) -> Tensor:
        """The most likely latents."""
        return self._standardised(self.encoder(pictures).float().chunk(2, dim=1)[0])

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents; may leave [-1, 1] a little."""
        return self.decoder(latents * self.deviation[:, None, None] + self.mean[:, None, None]).float()

    def loss(self, pictures: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
        """Trains both halves: absolute error of the picture plus `kl` times the divergence from a normal.

        `reference` is each picture's clip's first one: what differs from it counts `moving` times more.
        `noise` (N, C, S/8, S/8) is normal.
        """
        mean, log_variance = self.encoder(pictures).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 10)
        self._follow(mean.detach())
        decoded = self.decoder(mean + noise * (0.5 * log_variance).exp()).float()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return self._error(decoded, pictures, reference) + self.kl * divergence

    def decoder_loss(self, pictures: Tensor, reference: Tensor) -> Tensor:
        """Trains the decoder alone, so that the latents stay what they mean to the transformer."""
        with torch.no_grad():
            latents = self.encode(pictures)
        return self._error(self.decode(latents), pictures, reference)

    def _error(self, decoded: Tensor, pictures: Tensor, reference: Tensor) -> Tensor:
        weight = 1 + self.moving * ((pictures - reference).abs().amax(1, keepdim=True) > _MOVED)
        return (weight * F.l1_loss(decoded, pictures, reduction="none")).sum() / (3 * weight.sum())

    def _standardised(self, raw: Tensor) -> Tensor:
        return (raw - self.mean[:, None, None]) / self.deviation[:, None, None]

    @torch.no_grad()
    def _follow(self, raw: Tensor) -> None:
        deviation, mean = torch.std_mean(raw, dim=(0, 2, 3))
        self.mean.lerp_(mean, _MOMENTUM)
        self.deviation.lerp_(deviation.clamp_min(1e-3), _MOMENTUM)
