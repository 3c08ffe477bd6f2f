"""Learner node: follows rollouts/recorded, trains between callbacks, publishes policy/weights and learner/status."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node

from ws_interfaces.msg import LearnerStatus, PolicyWeights, Rollout, WorldModelStatus
from ws_node.cpu import tune_for_torch
from ws_node.memory import rss_mib
from ws_node.options import option
from ws_node.qos import alive, latched
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_policy.networks import NetworkOptions
from ws_ppl import checkpoint
from ws_ppl.imitation import Patience
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.modes import MODES, Mode
from ws_ppl.replay import IMAGINED
from ws_ppl.sac import SacOptions
from ws_ppl.schedule import ScheduleOptions
from ws_ppl.selection import SelectionOptions
from ws_ppl.synthetic import VERSIONS, check_synthetic, is_relocated
from ws_rollouts.bag import BagError, read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import Episode
from ws_rollouts.task import load_task


@dataclass(frozen=True)
class NodeOptions:
    """What the learner node itself needs to know."""

    run_dir: str = option("", "folder of the run: bags/, checkpoints/")
    task: str = option("pushing", "name of the task")
    seed: int = option(0, "of networks, sampling and augmentation", low=0, high=2**31 - 1)
    resume: bool = option(True, "go on from the newest checkpoint")
    mode: str = option("hil_serl", "which synthetic data is used and how much", choices=tuple(MODES))


class LearnerNode(Node):
    """One callback or one update at a time, in one thread: nothing to lock."""

    def __init__(self):
        super().__init__("learner")
        self._options = declare(self, NodeOptions)
        if not self._options.run_dir:
            raise ValueError("run_dir = '': must name the folder of the run")
        self._run_dir = Path(self._options.run_dir)
        mode = MODES[self._options.mode]
        schedule, selection = mode.apply(declare(self, ScheduleOptions, "schedule."),
                                         declare(self, SelectionOptions, "selection."))
        self._learner = Learner(
            load_task(self._options.task),
            declare(self, LearnerOptions, "learner."),
            declare(self, SacOptions, "sac."),
            declare(self, NetworkOptions, "network."),
            self._options.seed,
            schedule,
            selection,
        )
        self._replays = {"replay": self._learner.replay}
        if mode.imagines:
            self._replays["synthetic replay"] = self._learner.synthetic
        if mode.relocates:
            self._replays["replay of relocated demonstrations"] = self._learner.imagined
        for name, replay in self._replays.items():
            self.get_logger().info(f"{name}: {replay.capacity} observations, {replay.mib_when_full:.0f} MiB when full")
        self._pending: deque[str] = deque()
        self._rejected: set[str] = set()
        self._rollbacks = 0
        self._rolled_back = float("-inf")
        self._rate = (time.monotonic(), self._learner.learner_step, 0.0)
        self._past = self._resume()
        self._weights = self.create_publisher(PolicyWeights, "policy/weights", latched())
        self._status = self.create_publisher(LearnerStatus, "learner/status", 10)
        self.create_subscription(Rollout, "rollouts/recorded", lambda m: self._pending.append(m.uri), latched(1000))
        self._source = _Source(self, self._learner, mode, self._report) if mode.imagines else None
        self.create_timer(1.0, self._report)
        self._diagnostics = Diagnostics(self, self._health)
        if self._learner.version:
            self._publish()

    def work(self) -> bool:
        """Ingest one rollout, or do one update; False when there is nothing to do."""
        if self._past:  # one by one: with hundreds of them the node is heard, and can be ended, meanwhile
            self._ingest(self._past.popleft(), new=False)
            return True
        if self._pending:
            self._ingest(self._pending.popleft(), new=True)
            return True
        if self._source and self._source.ingest():
            return True
        if self._waiting_for():
            return False
        try:
            self._learner.step()
            if self._learner.checkpoint_due:
                self._save()
        except FloatingPointError as error:
            self._roll_back(error)
            return False
        if self._learner.publish_due:
            self._publish()
        return True

    def close(self) -> None:
        """Keep what was learned."""
        if not self._learner.learner_step or self._past:
            return
        try:
            self._save()
        except FloatingPointError as error:
            self.get_logger().error(f"{error}: the last checkpoint stays")

    def _resume(self) -> deque[str]:
        """Go on from the checkpoint, if any; returns the bags to read: first those that it knows, in its order."""
        kept = checkpoint.read(self._run_dir / "checkpoints") if self._options.resume else None
        bags = {s.episode_id: s.uri for s in finished(self._run_dir / "bags")[0] if s.steps}
        known = [name for name in kept[1]["episodes"] if name in bags] if kept else []
        if kept:
            checkpoint.restore(self._learner, *kept)
            self.get_logger().info(f"resumed at learner step {self._learner.learner_step} with {len(known)} episodes")
        return deque(bags[name] for name in dict.fromkeys([*known, *bags]))

    def _ingest(self, uri: str, new: bool) -> None:
        if uri in self._rejected:
            return
        try:
            episode = read_episode(Path(uri), self._learner.task)
            if new:
                self._learner.judge(episode)
            self._learner.add(episode)
        except (BagError, ValueError) as error:
            self._rejected.add(uri)
            self.get_logger().warning(f"rollout left out: {error}")
            return
        if self._source and episode.is_demonstration and episode.success:
            self._source.patience.demonstrated(time.monotonic())

    def _waiting_for(self) -> str:
        if self._source:
            self._learner.awaited = self._source.patience.awaited(time.monotonic())
        return self._learner.waiting_for

    def _publish(self) -> None:
        packet = self._learner.publish()
        message = PolicyWeights(**{**packet.__dict__, "data": b""})
        message.data.frombytes(packet.data)
        message.header.stamp = self.get_clock().now().to_msg()
        self._weights.publish(message)

    def _save(self) -> None:
        try:
            checkpoint.save(self._learner, self._run_dir / "checkpoints")
        except OSError as error:
            self.get_logger().error(f"checkpoint not written, the last one stays: {error}", throttle_duration_sec=30.0)

    def _roll_back(self, error: FloatingPointError) -> None:
        self._rollbacks += 1
        self._rolled_back = time.monotonic()
        kept = checkpoint.read(self._run_dir / "checkpoints")
        if kept is None:
            raise RuntimeError(f"{error}, and there is no checkpoint to go back to") from error
        checkpoint.restore(self._learner, *kept)
        self.get_logger().error(f"{error}: went back to learner step {self._learner.learner_step}")

    def _report(self) -> None:
        if self._past:  # its numbers are not yet those of the run
            return
        learner, (then, steps, _) = self._learner, self._rate
        now = time.monotonic()
        rate = (learner.learner_step - steps) / max(now - then, 1e-6)
        self._rate = (now, learner.learner_step, rate)
        waiting_for = self._waiting_for()
        message = LearnerStatus(
            state=learner.state,
            waiting_for=waiting_for,
            learner_step=learner.learner_step,
            weights_version=learner.version,
            episodes=len(learner.episodes),
            demonstrations=learner.demonstrations,
            demo_transitions=learner.replay.size("demo"),
            online_transitions=learner.replay.size("online"),
            bags_rejected=len(self._rejected),
            updates_per_s=rate,
            **self._pacing(),
            q_bias=learner.bias or 0.0,
            replay_mib=sum(replay.mib_when_full for replay in self._replays.values()),
            rss_mib=rss_mib(),
            **learner.metrics,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _pacing(self) -> dict:
        """What of the synthetic data is used, as flat numbers."""
        learner, source = self._learner, self._source
        if source is None:
            return {}
        positive, negative = (learner.synthetic.size(pool) for pool in learner.synthetic.pools)
        mix, values = learner.selection.mix(positive, negative), learner.selection.values
        return {
            "synthetic_transitions": positive + negative,
            "synthetic_positive": positive,
            "synthetic_negative": negative,
            "synthetic_pending": len(source.pending),
            "synthetic_rejected": source.rejected + learner.refused,
            "synthetic_trusted": learner.trusted,
            "rho": learner.rho,
            "rho_max": learner.schedule.rho_max,
            "entropy_mean": learner.schedule.entropy or 0.0,
            "positive_share": mix.positive,
            "selection_weight": mix.weight,
            "imagined_transitions": learner.imagined.size(IMAGINED),
            "imagined_episodes": learner.imagined.episodes,
            "imagined_share": learner.imagined_share,
            **{f"q_{name}": value for name, value in values.items()},
        }

    def _health(self) -> tuple[bytes, str, dict]:
        if self._past:
            return OK, f"reads {len(self._past)} episodes of before", {}
        values = {"learner_step": self._learner.learner_step, "rejected": len(self._rejected),
                  "rollbacks": self._rollbacks}
        if time.monotonic() - self._rolled_back < 60.0:
            return ERROR, "a loss was not finite", values
        if self._rejected:
            return WARN, f"{len(self._rejected)} rollouts were left out", values
        return OK, self._waiting_for() or self._learner.state, values


class _Source:
    """The world model as the learner sees it: its rollouts, its version, and whether it may be trusted now."""

    def __init__(self, node: Node, learner: Learner, mode: Mode, on_change: Callable[[], None]):
        self.pending: deque[str] = deque()
        self.rejected = 0
        self.patience = Patience(learner.options.imagined_least, learner.options.imagined_wait)
        self._relocates = mode.relocates and learner.options.imagined_share > 0.0
        self.patience.hopeless = not self._relocates
        self._learner, self._on_change, self._log = learner, on_change, node.get_logger()
        self._version: int | None = None  # not heard yet
        self._announced: set[str] = set()
        node.create_subscription(Rollout, "rollouts/synthetic", self._on_rollout, latched(1000))
        told = SubscriptionEventCallbacks(liveliness=self._on_liveliness)
        node.create_subscription(WorldModelStatus, "world_model/status", self._on_status, alive(), event_callbacks=told)

    def ingest(self) -> bool:
        """Read one announced rollout; False when there is none, or the world model's version is not known yet."""
        if not self.pending or self._version is None:
            return False
        uri = self.pending.popleft()
        if not Path(uri).is_dir():  # its maker evicts as it likes
            return True
        try:
            episode = read_episode(Path(uri), self._learner.task)
            check_synthetic(episode, self._version)
            self._add(episode)
        except (BagError, ValueError) as error:
            self.rejected += 1
            self._log.warning(f"synthetic rollout left out: {error}", throttle_duration_sec=5.0)
        return True

    def _add(self, episode: Episode) -> None:
        if not is_relocated(episode):
            self._learner.add_synthetic(episode)
        elif self._relocates:
            self._learner.add_imagined(episode)
        else:
            raise ValueError(f"{episode.episode_id}: a relocated demonstration, and none are imitated here")

    def _on_rollout(self, message: Rollout) -> None:
        if message.uri not in self._announced:  # a world model that starts again announces all that is on the disk
            self._announced.add(message.uri)
            self.pending.append(message.uri)

    def _on_status(self, message: WorldModelStatus) -> None:
        self._trust(message.gate == "open")
        self._version, self._learner.schedule.confidence = message.version, message.confidence
        self._learner.synthetic.drop_versions(self._version - VERSIONS + 1)
        imitation = self._learner.imitation
        imitation.told(message.relocation_gate, message.relocation_reason, message.label_precision)
        self.patience.hopeless = not self._relocates or not message.relocation_gate or not imitation.share(0)

    def _on_liveliness(self, event) -> None:
        if event.alive_count > 0:
            return
        self._trust(False)
        if self._learner.imagined.episodes:  # geometry labelled them: they stay as good as they are
            self._log.warning("the world model is gone; the relocated demonstrations that it left are still imitated")

    def _trust(self, now: bool) -> None:
        changed, self._learner.trusted = now != self._learner.trusted, now
        if changed:
            self._log.info("imagined rollouts are used" if now else "imagined rollouts are not used now")
            self._on_change()


def main() -> None:
    """Entry point."""
    tune_for_torch()
    run_node(LearnerNode)
