"""The learner: episodes in, gradient steps at a paced ratio, policy weights out. Knows no ROS."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass

from ws_node.options import option
from ws_policy.backbone import look
from ws_policy.networks import NetworkOptions
from ws_policy.weights import Packet, arrays, pack
from ws_ppl.bias import value_bias
from ws_ppl.imitation import ImitationPacing
from ws_ppl.replay import IMAGINED, Batch, ImitationReplay, Replay, SyntheticReplay
from ws_ppl.sac import Sac, SacOptions
from ws_ppl.schedule import Schedule, ScheduleOptions
from ws_ppl.selection import Selection, SelectionOptions
from ws_rollouts.episode import Episode
from ws_rollouts.task import Task


@dataclass(frozen=True)
class LearnerOptions:
    """How much data, how many steps; the defaults are the CPU profile."""

    batch_size: int = option(256, "transitions in a batch, half of them guided", low=4, high=4096)
    capacity: int = option(20_000, "observations that replay keeps", low=500, high=1_000_000)
    demonstrations: int = option(5, "successful demonstrations before learning starts", low=1, high=1000)
    offline_steps: int = option(1000, "updates on the demonstrations before the first weights", low=0, high=1_000_000)
    updates_per_step: float = option(1.5, "most updates per real step after that", low=0.01, high=100.0)
    training_starts: int = option(100, "rollout transitions before they enter the batch", low=1, high=1_000_000)
    improvement_starts: int = option(250, "real steps before the actor follows the critics, and as many updates as "
                                     "these allow; until then it imitates", low=0, high=1_000_000)
    synthetic_capacity: int = option(8000, "imagined observations that are kept", low=500, high=1_000_000)
    synthetic_least: int = option(200, "imagined transitions before they enter the batch", low=1, high=1_000_000)
    synthetic_age: int = option(10_000, "updates after which an imagined rollout is forgotten", low=1, high=10_000_000)
    imagined_capacity: int = option(8000, "observations that are kept of imagined successes that are imitated", low=500,
                                    high=1_000_000)
    imagined_share: float = option(0.5, "largest share of imagined successes in what is imitated", low=0.0, high=0.9)
    imagined_least: int = option(80, "imagined successes that the first update waits for, in modes that imitate them",
                                 low=0, high=10_000)
    imagined_wait: float = option(60.0, "longest wait for these after the last demonstration", unit="s", low=0.0,
                                  high=86_400.0)
    imagined_rollouts: int = option(100, "rollouts won without help that halve this share", low=1, high=1_000_000)
    select_every: int = option(200, "updates between two looks at the values for selection", low=1, high=100_000)
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
        schedule: ScheduleOptions | None = None,
        selection: SelectionOptions | None = None,
    ):
        self.task, self.options = task, options or LearnerOptions()
        self.agent = Sac(task, sac or SacOptions(), networks or NetworkOptions(), seed)
        self.replay = Replay(task, self.options.capacity, seed)
        self.schedule = Schedule(len(task.action_scale), schedule)
        self.selection = Selection(selection)
        capacity = self.options.synthetic_capacity if self.schedule.options.kind != "off" else 1
        self.synthetic = SyntheticReplay(task, capacity, seed)
        self.imagined = ImitationReplay(task, self.options.imagined_capacity, seed)
        self.imitation = ImitationPacing(self.options.imagined_share, self.options.imagined_rollouts)
        self.awaited = 0  # imagined successes to be imitated before the first update; the caller sets it
        self._trusted = False
        self.rho = 0.0  # of the last batch
        self.session = uuid.uuid4().hex
        self.learner_step = 0
        self.version = 0
        self.env_steps = 0
        self.rollouts = 0
        self.won = 0  # of them without help
        self.demonstrations = 0
        self.episodes: list[str] = []
        self._known: set[str] = set()
        self.refused = 0  # imagined episodes that selection did not admit
        self.bias: float | None = None  # running mean of what `judge` found
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
            self.rollouts += 1
            self.won += episode.success and not episode.interventions
        return True

    def judge(self, episode: Episode) -> None:
        """Before a new rollout is learned from: by how much the critics over-estimate what it earned.

        Not where a person helped, as the policy alone would have earned something else.
        """
        known = episode.episode_id in self._known
        if known or self.state != "online" or episode.is_demonstration or episode.interventions:
            return
        bias = value_bias(self.agent, [episode], seed=self.learner_step).get("q_bias", math.nan)
        if math.isfinite(bias):
            self.bias = bias if self.bias is None else 0.9 * self.bias + 0.1 * bias

    def add_synthetic(self, episode: Episode) -> bool:
        """Take an imagined episode once; False when it was there already, or selection does not admit it.

        Raises ValueError when it does not fit.
        """
        if episode.episode_id in self._known:
            return False
        admitted = self._admits(episode)
        if admitted:
            self.synthetic.add(episode, self.learner_step)
        self.refused += not admitted
        self._known.add(episode.episode_id)
        return admitted

    def add_imagined(self, episode: Episode) -> bool:
        """Take an imagined success once, to imitate it; False when it was there already.

        Raises ValueError when it is no success, or does not fit.
        """
        if episode.episode_id in self._known:
            return False
        self.imagined.add(episode)
        self._known.add(episode.episode_id)
        return True

    def _admits(self, episode: Episode) -> bool:
        if self.selection.options.kind != "paper_literal":
            return True
        maps = look({view: frames[:-1] for view, frames in episode.frames.items()})
        value = self.agent.values(maps, episode.state[:-1], episode.action[:-1]).mean()
        return self.selection.admits(float(value), episode.success)

    @property
    def trusted(self) -> bool:
        """Whether the source of synthetic episodes may be trusted now; the caller sets it."""
        return self._trusted

    @trusted.setter
    def trusted(self, now: bool) -> None:
        self._trusted = now
        if not now:  # at once, whether or not there is anything to update with
            self.schedule.gate(False)
            self.rho = 0.0

    @property
    def waiting_for(self) -> str:
        """What must arrive before the next update; empty when nothing."""
        given, need, offline = self.demonstrations, self.options.demonstrations, self.options.offline_steps
        if given < need:
            # from half of the demonstrations on, the offline updates keep step with them: nobody waits at the end
            if self.learner_step >= offline * (2 * given / need - 1):
                return f"demonstrations: {given} of {need}"
        elif self.learner_step >= offline + self.env_steps * self.options.updates_per_step:
            return "rollouts"
        if self.learner_step < offline and self.imagined.taken < self.awaited:
            return f"relocated demonstrations: {self.imagined.taken} of {self.awaited}"
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
        self.schedule.gate(self.trusted)
        self.synthetic.drop_older(self.learner_step - self.options.synthetic_age)
        if self.learner_step % self.options.select_every == 0:
            self._look_at_values()
        online = self.replay.size("online") >= self.options.training_starts
        self.metrics = self.agent.update(self._batch(online), online and self._critics_know_more)
        if online:
            self.schedule.observe(self.metrics["entropy"])
        self.learner_step += 1
        return self.metrics

    @property
    def _critics_know_more(self) -> bool:
        """Critics that learned from demonstrations alone know no bad action; the actor must not follow them yet.

        Counted in updates too: a machine that is too slow for all that are allowed has the steps long before it has
        learned from them.
        """
        learned = (self.learner_step - self.options.offline_steps) / self.options.updates_per_step
        return min(self.env_steps, learned) >= self.options.improvement_starts

    @property
    def imagined_share(self) -> float:
        """Share of what is imitated that is imagined, now."""
        return self.imitation.share(self.won) if self.imagined.episodes else 0.0

    def _batch(self, online: bool) -> Batch:
        """Half of the real part from each pool, and as much imagined as schedule and selection allow.

        Of the demonstrations' half, which is imitated, `imagined_share` is imagined.
        """
        size, sac = self.options.batch_size, self.agent.options
        self.rho = self._rho() if online else 0.0
        imagined = int(self.rho * size)
        beside = self.schedule.options.use == "loss_weight"  # then the real part keeps its size
        real = size if beside else size - imagined
        batch = self._imitated_and_online(real, real // 2 if online else 0)
        if not imagined:
            return batch
        mix = self.selection.mix(self.synthetic.size("positive"), self.synthetic.size("negative"))
        positives = round(mix.positive * imagined)
        more = self.synthetic.sample({"positive": positives, "negative": imagined - positives}, sac.n_step, sac.gamma)
        more.weight[:] = mix.weight
        if beside:  # mean over real + rho times mean over imagined (WorldSample, eq. 4), as one mean
            batch.weight *= (real + imagined) / real
            more.weight *= self.rho * (real + imagined) / imagined
        return Batch.join([batch, more])

    def _imitated_and_online(self, size: int, online: int) -> Batch:
        """`size` transitions, `online` of them from rollouts, the others to be imitated.

        The critics' loss of real transitions keeps its scale however many are imagined.
        """
        sac = self.agent.options
        imagined = int(self.imagined_share * (size - online))
        batch = self.replay.sample({"demo": size - online - imagined, "online": online}, sac.n_step, sac.gamma)
        if not imagined:
            return batch
        more = self.imagined.sample({IMAGINED: imagined}, sac.n_step, sac.gamma)
        more.weight[:] = sac.imagined_critic_weight
        batch = Batch.join([batch, more])
        batch.weight *= size / batch.weight.sum()
        return batch

    def _rho(self) -> float:
        if sum(map(self.synthetic.size, self.synthetic.pools)) < self.options.synthetic_least:
            return 0.0
        return self.schedule.rho(self.learner_step, self.rollouts)

    def _look_at_values(self) -> None:
        """Mean values of real, positive and negative transitions, for the selection."""
        if any(map(self.synthetic.size, self.synthetic.pools)):
            self.selection.observe(self._mean_value(self.replay, self.replay.pools),
                                   self._mean_value(self.synthetic, ("positive",)),
                                   self._mean_value(self.synthetic, ("negative",)))

    def _mean_value(self, replay: Replay, pools: tuple[str, ...]) -> float | None:
        counts = {pool: min(256, self.options.batch_size) // len(pools) for pool in pools if replay.size(pool)}
        if not counts:
            return None
        batch = replay.sample(counts, self.agent.options.n_step, self.agent.options.gamma)
        return float(self.agent.values(batch.maps, batch.state, batch.action).mean())

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
        return pack(arrays(self.agent.acting), self.session, self.version, self.learner_step)
