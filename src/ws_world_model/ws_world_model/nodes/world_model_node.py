"""World model node: follows rollouts/recorded, learns what actions lead to, and publishes imagined rollouts."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from rclpy.node import Node
from sensor_msgs.msg import Image

from ws_interfaces.msg import LearnerStatus, Rollout, WorldModelStatus
from ws_node.conversions import byte_field
from ws_node.memory import rss_mib
from ws_node.options import option
from ws_node.qos import alive, best_effort, latched
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_rollouts.episode import VIEWS
from ws_rollouts.summary import Summary
from ws_rollouts.task import load_task
from ws_world_model.gate import Gate, GateOptions
from ws_world_model.intake import Intake, trained_of
from ws_world_model.report import numbers
from ws_world_model.store import Store, StoreOptions
from ws_world_model.worker import Worker, WorkerOptions

OFF = "generation is off: this mode uses real data only"
FILM_PERIOD = 0.1  # s between imagined frames: as fast as the steps that they stand for


@dataclass(frozen=True)
class NodeOptions:
    """What the world model node itself needs to know."""

    active: bool = option(False, "learn and generate; false in modes that use real data only")
    run_dir: str = option("", "folder of the run: bags/, world_model/, synthetic/; needed when active")
    task: str = option("pushing", "name of the task")
    seed: int = option(0, "of networks, sampling and perturbations", low=0, high=2**31 - 1)
    resume: bool = option(True, "go on from the newest version")


class WorldModelNode(Node):
    """One callback or one unit of work at a time, in one thread: nothing to lock."""

    def __init__(self):
        super().__init__("world_model")
        self._options = declare(self, NodeOptions)
        self._seen: set[str] = set()
        self._busy = (time.monotonic(), time.process_time(), 0.0)
        self._film = _Film()
        self._learner_heard = False
        self._worker = self._make_worker() if self._options.active else None
        self.create_subscription(Rollout, "rollouts/recorded", self._on_rollout, latched(1000))
        self._status = self.create_publisher(WorldModelStatus, "world_model/status", alive())
        self.create_timer(1.0, self._report)
        self._diagnostics = Diagnostics(self, self._health)
        if self._worker is None:
            self.get_logger().info(OFF)

    def work(self) -> bool:
        """One unit: read a bag, take a training step, generate a segment; False when there is nothing to do."""
        return self._worker is not None and self._worker.work()

    def _make_worker(self) -> Worker:
        # imported here, as a run in the other mode needs neither torch nor its memory
        from ws_node.cpu import tune_for_torch

        tune_for_torch()
        from ws_driver_a1x.options import RelayOptions
        from ws_world_model.apprentice import Apprentice
        from ws_world_model.calibration import CalibrationOptions
        from ws_world_model.counterfactuals import CounterfactualOptions
        from ws_world_model.dynamics import DynamicsOptions
        from ws_world_model.geometry import GeometryOptions
        from ws_world_model.labels import LabelOptions
        from ws_world_model.proposals.relocate import RelocateOptions
        from ws_world_model.proposals.relocator import Relocator
        from ws_world_model.rewards import RewardModel, RewardOptions
        from ws_world_model.training import Trainer, TrainerOptions
        from ws_world_model.versions import Versions

        if not self._options.run_dir:
            raise ValueError("run_dir = '': must name the folder of the run")
        folder, task, seed = Path(self._options.run_dir), load_task(self._options.task), self._options.seed
        options = declare(self, WorkerOptions, "worker.")
        gate = Gate(declare(self, GateOptions, "gate."))
        store = declare(self, StoreOptions, "store.")
        dynamics = declare(self, DynamicsOptions, "dynamics.")
        relay = replace(RelayOptions(), max_lead=dynamics.lead)
        relocator = Relocator(task, options.relocations, options.demonstrations,
                              declare(self, RelocateOptions, "relocate."), relay, seed, uuid.uuid4().hex[:8])
        trainer = Trainer(task, declare(self, TrainerOptions, "trainer."), dynamics,
                          declare(self, CalibrationOptions, "calibration."),
                          declare(self, GeometryOptions, "geometry."), seed)
        if relocator.memory is not None:
            trainer.look(relocator.memory)
        rewards = RewardModel(task, declare(self, RewardOptions, "rewards."), seed,
                              declare(self, LabelOptions, "labels."))
        student = Apprentice(trainer, rewards, Versions(folder / "world_model"),
                             declare(self, CounterfactualOptions, "counterfactuals."), seed)
        self._synthetic = self.create_publisher(Rollout, "rollouts/synthetic", latched(1000))
        self.create_subscription(LearnerStatus, "learner/status", self._on_learner, best_effort(1))
        self._imagined = {
            view: self.create_publisher(Image, f"world_model/imagined/{view}/image_raw", 5) for view in VIEWS}
        self.create_timer(FILM_PERIOD, self._show)
        notes = student.resume() if self._options.resume else None
        intake = Intake(task, options.held_out, trained=trained_of(notes), depth=options.relocations > 0)
        worker = Worker(student, intake, Store(folder / "synthetic", store), options, gate, relocator, self._announce,
                        self.get_logger().info)
        if notes is not None:
            worker.resumed(notes)
            self.get_logger().info(f"resumed at version {student.version}, step {student.steps}")
        for entry in worker.store.entries:
            self._announce(entry.summary)
        intake.offer_all(folder / "bags")
        return worker

    def _on_rollout(self, message: Rollout) -> None:
        self._seen.add(message.episode_id)
        if self._worker is not None:
            self._worker.intake.offer(message.uri)

    def _on_learner(self, message: LearnerStatus) -> None:
        self._learner_heard = True
        self._worker.unread = message.synthetic_pending

    def _announce(self, summary: Summary) -> None:
        message = Rollout(episode_id=summary.episode_id, task=summary.task, uri=summary.uri, outcome=summary.outcome,
                          source=summary.source, steps=summary.steps, interventions=0, bytes=summary.bytes)
        message.header.stamp = self.get_clock().now().to_msg()
        self._synthetic.publish(message)

    def _show(self) -> None:
        """The next frames of the newest imagined rollout, for whoever looks."""
        watched = [view for view in VIEWS if self._imagined[view].get_subscription_count()]
        if not watched:
            return
        pictures = self._film.next(self._worker.film)
        for view in watched if pictures else ():
            pixels = pictures[view]
            message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
            message.header.stamp = self.get_clock().now().to_msg()
            message.header.frame_id = f"{view}_camera_color_optical_frame"
            message.data = byte_field(pixels)
            self._imagined[view].publish(message)

    def _report(self) -> None:
        status = WorldModelStatus(state="off", reason=OFF, gate="closed")
        if self._worker is not None:
            if not self._learner_heard:
                self._worker.unread = 0  # there is none that could lag: the store alone bounds what there is
            status = WorldModelStatus(**numbers(self._worker))
        status.header.stamp = self.get_clock().now().to_msg()
        status.rollouts_seen = len(self._seen)
        status.rss_mib = rss_mib()
        status.cpu_share = self._share()
        self._status.publish(status)

    def _share(self) -> float:
        """Of one core, since the last time."""
        then, before, _ = self._busy
        now, spent = time.monotonic(), time.process_time()
        self._busy = (now, spent, (spent - before) / max(now - then, 1e-6))
        return self._busy[2]

    def _health(self) -> tuple[bytes, str, dict]:
        worker = self._worker
        if worker is None:
            return OK, OFF, {"rollouts seen": len(self._seen)}
        state, reason = worker.state
        values = {"version": worker.student.version, "gate": worker.verdict.reason, "queue": worker.queue,
                  "dropped": worker.rounds_dropped, "relocations": " ".join(worker.relocator.gate),
                  **{f"relocation dropped: {reason}": n for reason, n in worker.relocator.dropped.items()},
                  **worker.relocator.problems, **dict(worker.intake.rejected)}
        if worker.error:
            return ERROR, worker.error, values
        if worker.student.rewards_stopped or worker.intake.rejected:
            rejected = sum(worker.intake.rejected.values())
            stopped = worker.student.rewards_stopped
            return WARN, worker.verdict.reason if stopped else f"{rejected} rollouts were left out", values
        return OK, f"{state}: {reason}", values


class _Film:
    """Plays imagined rollouts frame by frame; goes on to the newest at the end of each."""

    def __init__(self):
        self._episode, self._index = None, 0

    def next(self, newest):
        """View -> (S, S, 3) uint8; None when there is no rollout yet."""
        self._index += 1
        if self._episode is None or self._index > len(self._episode):
            self._episode, self._index = newest, 0
        if self._episode is None:
            return None
        return {view: self._episode.frames[view][self._index] for view in VIEWS}


def main() -> None:
    """Entry point of `world_model`."""
    run_node(WorldModelNode)
