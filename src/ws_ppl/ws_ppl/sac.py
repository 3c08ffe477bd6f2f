"""SAC in the RLPD style of HIL-SERL, with a behaviour-cloning term: one update from one batch."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ws_node.averages import Average
from ws_node.cpu import bf16_pays
from ws_node.options import option
from ws_policy.networks import Critic, NetworkOptions, Policy
from ws_ppl.replay import Batch
from ws_rollouts.task import Task

_SOFTNESS = 0.1  # of the soft maximum over values, a tenth of the largest value
_BEYOND, _FAR = 0.97, 2.1  # |action| and |mean before tanh| that count as the bound itself: tanh(2.1) = 0.97


@dataclass(frozen=True)
class SacOptions:
    """Defaults: HIL-SERL's, except where the two-core measurements asked for others (marked *)."""

    learning_rate: float = option(3e-4, "Adam, all networks", low=1e-6, high=1e-1)
    gamma: float = option(0.97, "discount per step", low=0.5, high=0.9999)
    tau: float = option(0.02, "* step of the target critics", low=1e-4, high=1.0)
    n_step: int = option(3, "* rewards summed before bootstrapping", low=1, high=20)
    temperature: float = option(0.01, "first entropy temperature", low=1e-6, high=10.0)
    bc_weight: float = option(10.0, "* weight of imitating the guided half of the batch", low=0.0, high=1000.0)
    deviation_weight: float = option(0.01, "* weight within imitation of fitting the actor's deviation, so that it "
                                     "explores about as far as its teacher's hand wavers", low=0.0, high=10.0)
    imagined_bc_weight: float = option(1.0, "weight of an imagined transition within imitation, beside a real one's 1",
                                       low=0.0, high=100.0)
    imagined_critic_weight: float = option(0.0, "weight of an imitated imagined transition in the critics' losses, "
                                           "beside a real one's 1", low=0.0, high=1.0)
    conservative_weight: float = option(0.2, "* weight of holding the values of actions that nobody took below those "
                                        "of the ones that were taken", low=0.0, high=100.0)
    earned_bound: bool = option(True, "* a step's target is at least what the rest of its episode earned")
    gripper_penalty: float = option(0.02, "cost of closing an open gripper or opening a closed one", low=0.0, high=1.0)
    policy_average: float = option(0.99, "* decay, in each update, of the running average of the policy's weights, "
                                   "which acts; 0: the newest weights act", low=0.0, high=0.9999)
    bf16: str = option("auto", "encoder in bfloat16", choices=("auto", "on", "off"))


class Sac:
    """Policy, critics, temperature and their optimiser.

    Reward 1 ends an episode, so a return lies in [0, 1], and targets are clipped to that: without it, values run
    away when the critics are few.
    """

    def __init__(self, task: Task, options: SacOptions, networks: NetworkOptions, seed: int = 0):
        torch.manual_seed(seed)
        self.options = options
        self.policy = Policy(task, networks)
        self._average = Average(self.policy, options.policy_average)
        n = self.policy.translations
        self.critic = Critic(self.policy.encoder.size, n, networks)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self.gripper_target = copy.deepcopy(self.policy.gripper)
        self.log_temperature = nn.Parameter(torch.tensor(float(np.log(options.temperature))))
        self._target_entropy = -n / 2  # HIL-SERL: minus half the active dimensions
        # the actor's gradient never reaches the encoder (DrQ), the critic's and the imitation's do
        self._trained = [*self.policy.parameters(), *self.critic.parameters(), self.log_temperature]
        self.optimiser = torch.optim.Adam(self._trained, options.learning_rate)
        self._bf16 = bf16_pays() if options.bf16 == "auto" else options.bf16 == "on"

    @property
    def acting(self) -> Policy:
        """The running average of the policy, which is published.

        Single updates move success by tenths to and fro; the average does not (Polyak and Juditsky 1992).
        """
        return self._average.module

    @property
    def _updates(self) -> int:
        """Made so far, as the optimiser and so a checkpoint knows."""
        return int(self.optimiser.state[self._trained[0]]["step"])

    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name, for checkpoints."""
        modules = {"policy": self.policy, "acting": self.acting, "critic": self.critic,
                   "critic_target": self.critic_target}
        if self.gripper_target is not None:
            modules["gripper_target"] = self.gripper_target
        return modules

    def update(self, batch: Batch, improve: bool = True) -> dict[str, float]:
        """One gradient step on all networks; the actor follows the critics only to `improve`, else it just imitates.

        Raises FloatingPointError when a loss is not finite.
        """
        encoded, encoded_next = self._encode(batch)
        data = _tensors(batch)
        critic_loss, q = self._critic_loss(encoded, encoded_next, data)
        bc_loss = self._bc_loss(encoded, data)
        gripper_loss = self._gripper_loss(encoded, encoded_next, data)
        actor_loss, log_prob = self._actor_loss(encoded.detach()[data["real"]])
        temperature_loss = -self.log_temperature.exp() * (log_prob.detach().mean() + self._target_entropy)
        loss = critic_loss + self.options.bc_weight * bc_loss + gripper_loss
        if improve:
            loss = loss + actor_loss + temperature_loss
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is not finite: critic {critic_loss:.3g}, actor {actor_loss:.3g}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self._follow()
        self._average.follow(self.policy, self._updates - 1)
        return {
            "critic_loss": critic_loss.item(),
            "actor_loss": actor_loss.item(),
            "bc_loss": bc_loss.item(),
            "q_mean": q.mean().item(),
            "entropy": -log_prob.mean().item(),
            "temperature": self.log_temperature.exp().item(),
        }

    @torch.no_grad()
    def values(self, maps: np.ndarray, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The target critics' least value, (B,), of maps (B, S/8, S/8, 80), state (B, 13), action (B, A)."""
        with self._autocast():
            encoded = self.policy.encoder(torch.from_numpy(maps), torch.from_numpy(state))
        return self.critic_target(encoded, torch.from_numpy(action)[:, :-1]).amin(0).numpy()

    def slopes(self, maps: np.ndarray, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Gradient of the critics' mean value by the translations (B, n): where it draws the actor."""
        with torch.no_grad(), self._autocast():
            encoded = self.policy.encoder(torch.from_numpy(maps), torch.from_numpy(state))
        moves = torch.from_numpy(action).requires_grad_()
        slope, = torch.autograd.grad(self.critic(encoded, moves).mean(0).sum(), moves)
        return slope.numpy()

    def imitate(self, batch: Batch) -> float:
        """One gradient step of behaviour cloning alone: the BC-only baseline. Returns the loss."""
        with self._autocast():
            encoded = self.policy.encoder(torch.from_numpy(batch.maps), torch.from_numpy(batch.state))
        loss = self._bc_loss(encoded, _tensors(batch))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self._average.follow(self.policy, self._updates - 1)
        return loss.item()

    def _autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self._autocast():
            encoded = self.policy.encoder(torch.from_numpy(batch.maps), torch.from_numpy(batch.state))
            with torch.no_grad():
                following = self.policy.encoder(torch.from_numpy(batch.next_maps), torch.from_numpy(batch.next_state))
        return encoded, following

    def _critic_loss(self, encoded: Tensor, following: Tensor, data: dict) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            action, _ = self.policy.actor.sample(following)
            bootstrap = self.critic_target(following, action).amin(0)  # no entropy backup
            target = (data["returns"] + data["discount"] * bootstrap).clamp(0.0, 1.0)
            if self.options.earned_bound:
                target = torch.maximum(target, data["earned"])
        q = self.critic(encoded, data["action"][:, :-1])
        loss = (data["weight"] * (q - target) ** 2).mean()
        if self.options.conservative_weight:
            loss = loss + self.options.conservative_weight * self._conservative_loss(encoded, data)
        return loss, q.detach()

    def _conservative_loss(self, encoded: Tensor, data: dict) -> Tensor:
        """CQL(H) (Kumar et al. 2020, eq. 4): soft maximum over own and uniform actions, minus the recorded's value.

        It shapes the critics alone: the encoder, which the imitating actor shares, is none of its business. Of real
        transitions only, as it favours the recorded action, and an imagined one is a perturbed one.
        """
        encoded, taken = encoded.detach()[data["real"]], data["action"][data["real"], :-1]
        with torch.no_grad():
            own = [self.policy.actor.sample(encoded)[0] for _ in range(2)]
            others = torch.cat([*own, *(2 * torch.rand_like(own[0]) - 1 for _ in range(2))])
        values = self.critic(encoded.repeat(4, 1), others).unflatten(1, (4, -1))
        soft = _SOFTNESS * (torch.logsumexp(values / _SOFTNESS, 1) - math.log(4))
        return (soft - self.critic(encoded, taken)).mean()

    def _actor_loss(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        action, log_prob = self.policy.actor.sample(encoded)
        self.critic.requires_grad_(False)
        q = self.critic(encoded, action).mean(0)
        self.critic.requires_grad_(True)
        return (self.log_temperature.exp().detach() * log_prob - q).mean(), log_prob

    def _bc_loss(self, encoded: Tensor, data: dict) -> Tensor:
        """Mean over what is to be imitated, an imagined transition by its weight."""
        parts = [(data["demo"] & data["real"], 1.0), (data["demo"] & ~data["real"], self.options.imagined_bc_weight)]
        parts = [(rows, weight * int(rows.sum())) for rows, weight in parts if weight and rows.any()]
        loss, total = encoded.new_zeros(()), sum(weight for _, weight in parts)
        for rows, weight in parts:
            loss = loss + weight / total * self._imitation(encoded[rows], data["action"][rows])
        return loss

    def _imitation(self, guided: Tensor, action: Tensor) -> Tensor:
        mean, std = self.policy.actor(guided)
        loss = F.mse_loss(torch.tanh(mean), action[:, :-1])
        if self.options.deviation_weight:
            loss = loss + self.options.deviation_weight * _misfit(mean.detach(), std, action)
        if self.policy.gripper is not None:
            loss = loss + 0.1 * F.cross_entropy(self.policy.gripper(guided), _gripper_class(action))
        return loss

    def _gripper_loss(self, encoded: Tensor, following: Tensor, data: dict) -> Tensor:
        """Double DQN over close, stay, open (HIL-SERL's grasp critic)."""
        if self.policy.gripper is None:
            return encoded.new_zeros(())
        chosen = _gripper_class(data["action"])
        low = -self.options.gripper_penalty
        with torch.no_grad():
            best = self.policy.gripper(following).argmax(-1, keepdim=True)
            bootstrap = self.gripper_target(following).gather(1, best).squeeze(1)
            cost = self.options.gripper_penalty * data["switches"]
            target = (data["returns"] - cost + data["discount"] * bootstrap).clamp(low, 1.0)
            if self.options.earned_bound:
                costs = self.options.gripper_penalty * data["switches_left"]
                target = torch.maximum(target, data["earned"] - costs)
        q = self.policy.gripper(encoded).gather(1, chosen[:, None]).squeeze(1)
        return (data["weight"] * (q - target) ** 2).mean()

    @torch.no_grad()
    def _follow(self) -> None:
        pairs = [(self.critic, self.critic_target)]
        if self.gripper_target is not None:
            pairs.append((self.policy.gripper, self.gripper_target))
        for online, target in pairs:
            torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), self.options.tau)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """What the losses look at beside the encoded observations."""
    names = ("action", "returns", "discount", "demo", "switches", "weight", "earned", "switches_left", "real")
    return {name: torch.from_numpy(getattr(batch, name)) for name in names}


def _misfit(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """Negative log-likelihood of actions (B, n + 1) before tanh, of which only the deviation is to learn."""
    raw = torch.atanh(action[:, :-1].clamp(-_BEYOND, _BEYOND))
    return (0.5 * ((raw - mean.clamp(-_FAR, _FAR)) / std) ** 2 + std.log()).mean()


def _gripper_class(action: Tensor) -> Tensor:
    return (action[:, -1].round().clamp(-1, 1) + 1).long()
