"""The policy node: at control rate it sees, acts, records and ends episodes; weights change between two steps."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image, Joy
from std_srvs.srv import Trigger

from ws_interfaces.msg import PolicyStatus, PolicyWeights, Rollout, ServoState, TaskState, WeightsReport
from ws_interfaces.srv import ResetWorld
from ws_node.conversions import from_time
from ws_node.memory import rss_mib
from ws_node.options import option
from ws_node.polling import Polled
from ws_node.qos import best_effort, latched
from ws_node.ros import ERROR, OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_node
from ws_policy.cameras import CameraOptions, Cameras
from ws_policy.episodes import EpisodeMachine, EpisodeOptions, Kind, Verdict
from ws_policy.exploration import EXPLORATION
from ws_policy.intake import WeightsIntake
from ws_policy.interventions import FAILURE, SUCCESS, Joystick, decide
from ws_policy.networks import NetworkOptions
from ws_policy.nodes import messages
from ws_policy.nodes.calls import Calls
from ws_policy.nodes.outputs import StepOutput
from ws_policy.observation import Observation, ObservationError, make_state
from ws_policy.progress import Finished, Progress
from ws_policy.resets import Inputs, Servo
from ws_policy.runtime import PolicyRuntime
from ws_rollouts.episode import DEMONSTRATION, HUMAN, POLICY, STATE_SIZE, VIEWS
from ws_rollouts.task import load_task

_OLD_WEIGHTS = (20.0, 60.0)  # s without new weights: warning, error


@dataclass(frozen=True)
class NodeOptions:
    """The node's own options; the episode's stand beside them, the cameras' under `camera.`, the nets' `network.`."""

    task: str = option("pushing", "name of the task")
    seed: int = option(0, "seed of exploration and of the scenes", low=0, high=2**31 - 1)
    rate: float = option(10.0, "control rate", unit="Hz", low=1.0, high=50.0)
    command_period: float = option(0.1, "time that one twist stands for, as the driver's", unit="s", low=0.01, high=1.0)
    think_time: float = option(0.012, "from a tick to its command, when seeing and acting took less: commands are then "
                               "evenly spaced however busy the machine is", unit="s", low=0.0, high=0.5)
    exploration: float = option(EXPLORATION, "share of the actor's deviation that is drawn from; 0: its mean", low=0.0,
                                high=1.0)
    run_dir: str = option("", "folder of the run, whose finished bags are counted at the start; empty: none")
    joy_timeout: float = option(0.3, "age at which joy counts as hands off", unit="s", low=0.05, high=5.0)
    recorded: bool = option(False, "start no episode before the recorder listens")
    max_weights_mib: int = option(64, "largest weights that are looked at", unit="MiB", low=1, high=4096)


class PolicyNode(Node):
    """See the module. All waits are the episode machine's; this shell moves messages."""

    def __init__(self) -> None:
        super().__init__("policy")
        cv2.setNumThreads(0)
        self._options = declare(self, NodeOptions)
        self._task = load_task(self._options.task)
        self._cameras = Cameras(self._task, declare(self, CameraOptions, "camera."))
        self._runtime = PolicyRuntime(self._task, self._options.seed, declare(self, NetworkOptions, "network."))
        self._intake = WeightsIntake(self._runtime, self._options.max_weights_mib << 20)
        episode = declare(self, EpisodeOptions)
        self._demonstrations = episode.demonstrations
        self._machine = EpisodeMachine(episode, self._task.name, self._task.episode_steps)
        self._joystick = Joystick(self._task, self._options.joy_timeout)
        self._progress = Progress()
        if self._options.run_dir:
            for problem in self._progress.restore(Path(self._options.run_dir) / "bags", self._task.name):
                self.get_logger().warning(f"not counted: {problem}")
        self._warm_up()
        self._init_state()
        self._connect(episode)
        gc.collect()
        gc.freeze()  # torch's many objects live as long as the node: a collection that visits them delays a step

    def _warm_up(self) -> None:
        size = self._task.image_size
        blank = {view: np.zeros((size, size, 3), np.uint8) for view in VIEWS}
        state = np.zeros(STATE_SIZE, np.float32)
        for _ in range(3):  # the first calls of a network take many times as long as all later ones
            self._runtime.act(Observation(blank, state, dict.fromkeys(VIEWS, 0)), self._options.exploration)

    def _init_state(self) -> None:
        self._servo: ServoState | None = None
        self._servo_received = self._servo_active = -np.inf
        self._incoming: PolicyWeights | None = None
        self._weights_received = -np.inf
        self._ticked = 0.0
        self._sim_time = self.get_parameter("use_sim_time").value
        self._weight_lag = 0.0
        self._last: Observation | None = None
        self._source, self._interventions = POLICY, 0
        self._refused = 0
        self._shown = ("", "")

    def _connect(self, episode: EpisodeOptions) -> None:
        self._images = {v: Polled(self, Image, f"a1x/{v}_camera/color/image_raw", best_effort(5)) for v in VIEWS}
        self._servo_states = Polled(self, ServoState, "a1x/servo/state", best_effort(20))
        truth = episode.success_source == "twin"
        self._task_states = Polled(self, TaskState, "a1x/task/state", best_effort(20)) if truth else None
        self.create_subscription(Joy, "joy", self._on_joy, best_effort(10))
        self.create_subscription(PolicyWeights, "policy/weights", self._on_weights, latched())
        self.create_subscription(Rollout, "rollouts/recorded", self._on_rollout, latched(1000))
        self._output = StepOutput(self, self._task, self._options.command_period)
        self._statuses = self.create_publisher(PolicyStatus, "policy/status", 5)
        self._reports = self.create_publisher(WeightsReport, "policy/weights_report", 5)
        self._calls = Calls(self, self._machine.answer)
        self._calls.add("enable", Trigger, "a1x/driver/enable")
        self._calls.add("reset", Trigger, "a1x/driver/reset")
        self._calls.add("scene", ResetWorld, "a1x/twin/reset_world")
        for name, how in (("success", "success"), ("failure", "failure"), ("abort", "aborted")):
            self.create_service(Trigger, f"~/{name}", partial(self._on_end, how))
        self.create_service(Trigger, "~/ready", self._on_ready)
        self.create_timer(1.0 / self._options.rate, self._tick)
        self.create_timer(1.0, self._publish_status, clock=Clock(clock_type=ClockType.STEADY_TIME))
        Diagnostics(self, self._report)

    # What comes in

    def _on_joy(self, message: Joy) -> None:
        pressed = self._joystick.offer(message.axes, message.buttons, time.monotonic())
        if SUCCESS in pressed:
            self._machine.end("success", "button")
            self._machine.person_ready()
        if FAILURE in pressed:
            self._machine.end("failure", "button")

    def _on_weights(self, message: PolicyWeights) -> None:
        self._incoming = message  # a running episode takes them right after its next step, where there is most time
        if self._machine.state != "running":
            self._swap_weights()

    def _on_rollout(self, message: Rollout) -> None:
        if message.task == self._task.name:
            self._progress.add(Finished(message.episode_id, message.outcome, message.source, message.steps,
                                        message.interventions), recorded=True)

    def _on_end(self, how: str, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._machine.end(how, "service")
        response.message = "" if response.success else f"no episode runs: {self._machine.state}"
        return response

    def _on_ready(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._machine.person_ready()
        response.success = True
        return response

    def _poll(self, now: float) -> None:
        for taken in self._servo_states.take():
            self._servo, self._servo_received = taken.content, now
            if self._servo.mode == ServoState.MODE_ACTIVE:
                self._servo_active = now
        for taken in self._task_states.take() if self._task_states else ():
            self._machine.report_success(taken.content.success)
        position = None if self._servo is None else np.asarray(self._servo.position)
        for view, images in self._images.items():
            for taken in images.take():
                stamp, fields = from_time(taken.content.header.stamp), messages.image_fields(taken.content)
                self._cameras.feeds[view].offer(now, stamp, fields, position, taken.sequence)

    # One tick

    def _tick(self) -> None:
        now, clock = time.monotonic(), self.get_clock().now().nanoseconds
        self._ticked = now
        self._poll(now)
        stamps, state, trouble = self._look(now, clock)
        human = self._joystick.action(now)
        running = self._machine.state == "running"
        verdict = self._machine.tick(Inputs(
            now, clock, self._servo_inputs(), min(stamps.values()) if stamps else None, trouble,
            human is not None, self._runtime.ready, self._progress.demonstrations < self._demonstrations,
            running or not self._options.recorded or self._output.recorder_listens()))
        self._refused += bool(trouble) and running
        self._send_request()
        if verdict.kind is not Kind.IDLE and not trouble:
            self._last = Observation(self._cameras.frames(), state, stamps)
        if verdict.kind is Kind.STEP:
            self._step(verdict, human)
        elif verdict.kind is Kind.END:
            self._end(verdict)
        if verdict.kind is not Kind.IDLE or self._machine.state != "running":
            self._swap_weights()
        if (self._machine.state, self._machine.waiting_for) != self._shown:
            self._publish_status()

    def _look(self, now: float, clock: int) -> tuple[dict[str, int] | None, np.ndarray | None, str]:
        """Stamps of the frames and the state to observe, or why there is nothing to observe."""
        stamps = None
        try:
            stamps = self._cameras.stamps(now, clock)
            if self._servo is None:
                raise ObservationError("no servo/state yet")
            s = self._servo
            return stamps, make_state(s.position, s.rotation, s.gripper, s.velocity, s.target), ""
        except ObservationError as error:
            return stamps, None, str(error)

    def _servo_inputs(self) -> Servo | None:
        if self._servo is None:
            return None
        speed = float(np.linalg.norm(self._servo.velocity))
        return Servo(self._servo.mode, self._servo.reason, speed, self._servo_received, self._servo_active)

    def _send_request(self) -> None:
        request = self._machine.take_request()
        if request is None:
            self._calls.tick()
            return
        message = Trigger.Request()
        if request.name == "scene":
            # scenes of a run differ from episode to episode, and are the same for the same seed
            words = [self._options.seed, self._progress.episodes, self._progress.demonstrations, request.token]
            message = ResetWorld.Request(seed=int(np.random.SeedSequence(words).generate_state(1)[0]))
        self._calls.send(request.token, request.name, message)

    def _step(self, verdict: Verdict, human: np.ndarray | None) -> None:
        if verdict.index == 0:
            self._interventions = 0
            self._output.begin()
        act = partial(self._runtime.act, self._last, self._options.exploration)
        action, self._source = decide(human, act, self._machine.demonstrating)
        if not np.isfinite(action).all():
            action = np.zeros(self._task.action_size, np.float32)
            self._machine.end("aborted", "the policy's action is not finite")
        action = np.clip(action, -1.0, 1.0)
        self._interventions += self._source == HUMAN
        self._wait_for_command()
        self._record(verdict, action, self._output.command(action, self._last))

    def _wait_for_command(self) -> None:
        left = self._ticked + self._options.think_time - time.monotonic()
        if left > 0 and not self._sim_time:
            time.sleep(left)

    def _record(self, verdict: Verdict, action: np.ndarray, stamp: int = 0) -> None:
        self._output.record(
            self._last, action, np.array(self._servo.target), stamp, episode_id=self._machine.episode_id,
            index=verdict.index, source=self._source, reward=verdict.reward, terminated=verdict.terminated,
            truncated=verdict.truncated, weights_version=self._runtime.version)

    def _end(self, verdict: Verdict) -> None:
        machine = self._machine
        self.get_logger().info(f"{machine.episode_id}: {machine.state} ({machine.reason}), {verdict.index} steps")
        if verdict.index == 0:  # nothing was done, nothing is recorded
            return
        self._record(verdict, np.zeros(self._task.action_size, np.float32))
        source = DEMONSTRATION if machine.demonstrating else POLICY
        self._progress.add(Finished(machine.episode_id, machine.state, source, verdict.index, self._interventions),
                           recorded=False)

    def _swap_weights(self) -> None:
        message, self._incoming = self._incoming, None
        if message is None:
            return
        reason = self._intake.take(messages.packet(message))
        now = self.get_clock().now()
        lag = (now.nanoseconds - from_time(message.header.stamp)) * 1e-9
        if reason:
            self.get_logger().warning(f"weights {message.version} refused: {reason}")
        else:
            self._weight_lag, self._weights_received = lag, time.monotonic()
        report = WeightsReport(session=message.session, version=message.version, accepted=not reason, reason=reason,
                               lag_s=lag)
        report.header.stamp = now.to_msg()
        self._reports.publish(report)

    # What is told

    def _publish_status(self) -> None:
        machine, progress, cameras = self._machine, self._progress, self._cameras
        self._shown = (machine.state, machine.waiting_for)
        running = machine.index if machine.state == "running" and not machine.demonstrating else 0
        status = PolicyStatus(
            state=machine.state, waiting_for=machine.waiting_for, episodes=progress.episodes,
            demonstrations=progress.demonstrations, env_steps=progress.env_steps + running,
            success_rate=progress.success_rate, intervention_rate=progress.intervention_rate,
            weights_version=self._runtime.version, weight_lag_s=self._weight_lag, frames_dropped=cameras.dropped,
            observations_rejected=cameras.rejected + self._refused, weights_rejected=self._intake.rejected,
            camera_delivery=cameras.delivery, rss_mib=rss_mib())
        status.control_period_p50_ms, status.control_period_p99_ms = self._output.period.percentiles(50, 99)
        status.image_to_command_p50_ms, status.image_to_command_p99_ms = self._output.latency.percentiles(50, 99)
        status.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(status)

    def _report(self) -> tuple[bytes, str, dict]:
        machine = self._machine
        age = time.monotonic() - self._weights_received
        values = {"state": machine.state, "waiting_for": machine.waiting_for, "last_end": machine.reason,
                  "weights_age_s": f"{age:.1f}", "joy_rejected": self._joystick.rejected}
        values |= {f"{v}_camera": feed.why or "good" for v, feed in self._cameras.feeds.items()}
        if self._runtime.ready and age > _OLD_WEIGHTS[0]:
            return ERROR if age > _OLD_WEIGHTS[1] else WARN, f"no new weights for {age:.0f} s", values
        if machine.overdue:
            return WARN, f"waits for {machine.waiting_for}", values
        return OK, machine.state, values


def main() -> None:
    """Entry point of `policy`."""
    run_node(PolicyNode)


if __name__ == "__main__":
    main()
