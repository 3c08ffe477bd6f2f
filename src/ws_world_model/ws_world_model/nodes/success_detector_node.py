"""Success detector node: watches what the policy sees and calls policy/success, as the operator's button would."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ws_interfaces.msg import Step
from ws_node.cpu import tune_for_torch
from ws_node.options import option
from ws_node.polling import Polled
from ws_node.qos import best_effort
from ws_node.ros import OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_rollouts.schema import STEP
from ws_rollouts.task import load_task
from ws_world_model.detector import Detector, DetectorOptions
from ws_world_model.gate import Gate, GateOptions
from ws_world_model.judges import Judges, load_judge
from ws_world_model.labels import LabelOptions
from ws_world_model.observations import TOPICS

_PERIOD = 0.05  # s between looks at the topics
_UNREAD = 50  # messages of a topic: five seconds, more than reading the first weights takes
_NONE = "no weights that can be used yet; the operator tells success"


@dataclass(frozen=True)
class NodeOptions(DetectorOptions):
    """The detector's options, and where its weights are."""

    task: str = option("pushing", "name of the task")
    run_dir: str = option("", "folder of the run, whose newest usable world-model version is taken")
    weights: str = option("", "world-model file to take instead; empty: the run's")
    reward_auc: float = option(0.95, "least AUC on held-out episodes of a reward model that is believed", low=0.0,
                               high=1.0)


class SuccessDetectorNode(Node):
    """It reads without acknowledging and calls without waiting, so that nobody ever waits for it."""

    def __init__(self) -> None:
        super().__init__("success_detector")
        tune_for_torch()
        options = declare(self, NodeOptions)
        if not (options.run_dir or options.weights):
            raise ValueError("run_dir = '': must name the folder of the run where no weights are given")
        task = load_task(options.task)
        self._detector = Detector(task, options)
        load = partial(load_judge, task=task, gate=Gate(GateOptions(reward_auc=options.reward_auc)),
                       labels=LabelOptions(consecutive=options.consecutive))
        self._judges = Judges(load, Path(options.run_dir) / "world_model",
                              Path(options.weights) if options.weights else None)
        self._warned = ""
        self._inputs = {topic: Polled(self, Step if topic == STEP else Image, topic, best_effort(_UNREAD), raw=True)
                        for topic in TOPICS}
        self._success = self.create_client(Trigger, "policy/success")
        self._call: Future | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._look()
        if self._detector.judge is None:
            self.get_logger().warning(_NONE)
        self.create_timer(_PERIOD, self._poll, clock=steady)
        self.create_timer(1.0, self._look, clock=steady)
        Diagnostics(self, self._report)

    def _look(self) -> None:
        try:
            judge = self._judges.look()
        except (ValueError, OSError) as error:
            self.get_logger().warning(f"weights refused: {error}")
            return
        if judge is not None:
            self._detector.use(judge)
            self.get_logger().info(f"judges by the reward model of version {judge.version}")

    def _poll(self) -> None:
        for topic, messages in self._inputs.items():
            for taken in messages.take():
                self._detector.offer(topic, taken.content)
        if self._detector.due(self.get_clock().now().nanoseconds) and self._success.service_is_ready():
            self._detector.told()
            self._tell()

    def _tell(self) -> None:
        if self._call is not None:
            self._success.remove_pending_request(self._call)  # nobody answered it
        self.get_logger().info(f"success, probability {self._detector.probability:.3f}")
        self._call = self._success.call_async(Trigger.Request())
        self._call.add_done_callback(self._answered)

    def _answered(self, call: Future) -> None:
        if call is self._call:
            self._call = None
        if not call.cancelled() and call.exception() is None and not call.result().success:
            self.get_logger().warning(f"the policy does not take the success: {call.result().message}")

    def _report(self) -> tuple[bytes, str, dict]:
        detector = self._detector
        values = {"weights_version": detector.judge.version if detector.judge else 0,
                  "probability": f"{detector.probability:.3f}", "detections": detector.detections,
                  "messages_dropped": detector.dropped, "observations_lost": detector.lost}
        if detector.trouble and detector.trouble != self._warned:
            self.get_logger().warning(f"dropped: {detector.trouble}")
        self._warned = detector.trouble
        if detector.trouble:
            return WARN, detector.trouble, values
        if detector.judge is None:
            return WARN, _NONE, values
        return OK, "watching", values


def main() -> None:
    """Entry point of `success_detector`."""
    run_node(SuccessDetectorNode)


if __name__ == "__main__":
    main()
