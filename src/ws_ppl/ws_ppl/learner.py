"""The learner: episodes in, gradient steps at a paced ratio, policy weights out. Knows no ROS."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ws_node.options import option
from ws_policy.networks import NetworkOptions
from ws_policy.weights import Packet, arrays, pack
from ws_ppl.replay import Replay
from ws_ppl.sac import Sac, SacOptions
from ws_rollouts.episode import Episode
from ws_rollouts.task import Task


@dataclass(frozen=True)
class LearnerOptions:
    """How much data, how many steps; the defaults are the CPU profile."""

    batch_size: int = option(256, "transitions in a batch, half of them guided", low=4, high=4096)
    capacity: int = option(20_000, "observations that replay keeps", low=500, high=1_000_000)
    demonstrations: int = option(20, "successful demonstrations before learning starts", low=1, high=1000)
    offline_steps: int = option(1000, "updates on the demonstrations before the first weights", low=0, high=1_000_000)
    updates_per_step: float = option(1.5, "most updates per real step after that", low=0.01, high=100.0)
    training_starts: int = option(100, "rollout transitions before they enter the batch", low=1, high=1_000_000)
    publish_every: int = option(50, "updates between two weights", low=1, high=100_000)
    checkpoint_every: int = option(500, "updates between two checkpoints", low=1, high=1_000_000)


class Learner:
    """Waits for demonstrations, learns from them offline, then online from demonstrations and rollouts."""

    def __init__(
        self,
        task: Task,
        options: LearnerOptions | None = None,
        sac: SacOptions | None = None,
        networks: NetworkOptions | None = None,
        seed: int = 0,
    ):
        self.task, self.options = task, options or LearnerOptions()
        self.agent = Sac(task, sac or SacOptions(), networks or NetworkOptions(), seed)
        self.replay = Replay(task, self.options.capacity, seed)
        self.session = uuid.uuid4().hex
        self.learner_step = 0
        self.version = 0
        self.env_steps = 0
        self.demonstrations = 0
        self.episodes: list[str] = []
        self._known: set[str] = set()
        self.metrics: dict[str, float] = {}

    def add(self, episode: Episode) -> bool:
        """Take an episode once; False when it was already there. Raises ValueError when it does not fit."""
        if episode.episode_id in self._known:
            return False
        self.replay.add(episode)
        self._known.add(episode.episode_id)
        self.episodes.append(episode.episode_id)
        if episode.is_demonstration:
            self.demonstrations += episode.success
        else:
            self.env_steps += len(episode)
        return True

    @property
    def waiting_for(self) -> str:
        """What must arrive before the next update; empty when nothing."""
        given, need = self.demonstrations, self.options.demonstrations
        if given < need:
            # from half of the demonstrations on, the offline updates keep step with them: nobody waits at the end
            allowed = self.options.offline_steps * (2 * given / need - 1)
            return f"demonstrations: {given} of {need}" if self.learner_step >= allowed else ""
        if self.learner_step >= self.options.offline_steps + self.env_steps * self.options.updates_per_step:
            return "rollouts"
        return ""

    @property
    def state(self) -> str:
        """waiting, offline or online."""
        enough = self.demonstrations >= self.options.demonstrations
        if enough and self.learner_step >= self.options.offline_steps:
            return "online"
        return "waiting" if self.waiting_for else "offline"

    def step(self) -> dict[str, float]:
        """One update; call only when nothing is waited for. Raises FloatingPointError on a loss that is not finite."""
        half = self.options.batch_size // 2
        online = half if self.replay.size("online") >= self.options.training_starts else 0
        counts = {"demo": self.options.batch_size - online, "online": online}
        sac = self.agent.options
        # critics that have seen demonstrations alone know no bad action: until rollouts come, the actor only imitates
        batch = self.replay.sample(counts, sac.n_step, sac.gamma)
        self.metrics = self.agent.update(batch, improve=online > 0)
        self.learner_step += 1
        return self.metrics

    @property
    def publish_due(self) -> bool:
        past = self.learner_step - self.options.offline_steps
        return self.state == "online" and past % self.options.publish_every == 0

    @property
    def checkpoint_due(self) -> bool:
        return self.learner_step % self.options.checkpoint_every == 0

    def publish(self) -> Packet:
        """The current policy as the next version."""
        self.version += 1
        return self.packet()

    def packet(self) -> Packet:
        """The current policy under the current version."""
        return pack(arrays(self.agent.policy), self.session, self.version, self.learner_step)
