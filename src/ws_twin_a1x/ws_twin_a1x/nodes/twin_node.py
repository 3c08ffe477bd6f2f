"""Node `twin`: the simulated robot behind the vendor's topics and those of two RealSense cameras, in real time."""

from __future__ import annotations

import time

import cv2
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from ws_interfaces.msg import TaskState
from ws_interfaces.srv import ResetWorld
from ws_node.conversions import to_time
from ws_node.qos import best_effort, latched
from ws_node.ros import OK, WARN, Diagnostics, declare
from ws_node.ros import main as run_main
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_twin_a1x.cameras import COLOR_OFFSET
from ws_twin_a1x.nodes.camera_publisher import CameraPublisher, make_publisher
from ws_twin_a1x.options import TwinNodeOptions
from ws_twin_a1x.twin import ARM_JOINTS, TICK, Twin

CONTROL_PERIOD = 0.1  # s, what ~/step_simulation advances
MAX_CATCH_UP = 20  # ticks done at once after a stall; what is beyond is given up, and counted
GRIPPER_TICKS, STATE_TICKS = 4, 4  # 50 Hz
COMMANDS = best_effort(1)  # as the vendor's subscribers


class TwinNode(Node):
    """Paces a `Twin` by the wall clock and puts it on the wire. Topics and units: as the real arm's."""

    def __init__(self):
        super().__init__("twin")
        self.options = declare(self, TwinNodeOptions)
        cv2.setNumThreads(1)
        self.twin = Twin(load_task(self.options.task), self.options.seed, self.options)
        self._task = self.options.task
        self._feedback_ticks = max(1, round(1.0 / (TICK * self.options.feedback_rate)))
        self._frame = -1  # of the cameras
        self._depth_frames = max(1, round(self.options.camera_rate / (self.options.depth_rate or 1.0)))
        self._pending: list[str] = []  # views still to be rendered of this frame, one a tick
        self._paused = False
        self._counts = {"late_ticks": 0, "dropped_commands": 0, "commands": 0}
        self._late_told = 0  # late ticks that diagnostics have told of
        self._make_topics()
        self._publish_camera_frames()
        Diagnostics(self, self._report, self._stamp)
        self._rebase()
        self.get_logger().info(f"twin of task {self._task}, real-time factor {self.options.real_time_factor:g}")

    def _make_topics(self) -> None:
        self._feedback = make_publisher(self, JointState, "hdas/feedback_arm", QoSProfile(depth=1))
        self._gripper = make_publisher(self, JointState, "hdas/feedback_gripper", latched())
        self._state = make_publisher(self, TaskState, "task/state", QoSProfile(depth=1))
        self._tf_static = make_publisher(self, TFMessage, "/tf_static", latched())
        self._clock_out = None
        if self.options.publish_clock:
            self._clock_out = make_publisher(self, ClockMessage, "clock", QoSProfile(depth=10))
        self._cameras = {view: CameraPublisher(self, view, self.options.depth_rate > 0.0) for view in VIEWS}
        self._feedback_message = JointState(name=[*ARM_JOINTS, "gripper_joint"])
        self._gripper_message = JointState(name=["gripper_joint"])
        self.create_subscription(JointState, "motion_target/target_joint_state_arm", self._on_arm, COMMANDS)
        self.create_subscription(JointState, "motion_target/target_position_gripper", self._on_gripper, COMMANDS)
        self.create_service(ResetWorld, "~/reset_world", self._on_reset_world)
        self.create_service(SetBool, "~/set_pause", self._on_set_pause)
        self.create_service(Trigger, "~/step_simulation", self._on_step)

    # --- time ---

    def _rebase(self) -> None:
        """Let simulated time go on from now."""
        self._wall_start, self._done = time.monotonic(), 0

    def work(self) -> bool:
        """Sleep until the next tick is due, then catch up; called between callbacks, one of which runs each time.

        Not a timer: with one the executor builds its wait set two times a tick, which costs more than the physics.
        """
        if self._paused:
            return False
        rate = self.options.real_time_factor / TICK
        now = time.monotonic()
        wait = self._wall_start + (self._done + 1) / rate - now
        if wait > 0.0:
            time.sleep(wait)
            now += wait
        due = int((now - self._wall_start) * rate + 1e-6) - self._done
        for _ in range(min(due, MAX_CATCH_UP)):
            self._tick()
        self._done += due
        self._counts["late_ticks"] += max(0, due - MAX_CATCH_UP)
        return True

    def _tick(self) -> None:
        self.twin.step(TICK)
        ticks = round(self.twin.time / TICK)
        stamp = self._stamp()
        if self._clock_out is not None:
            self._clock_out.publish(ClockMessage(clock=stamp))
        if ticks % self._feedback_ticks == 0:
            self._publish_feedback(stamp)
        if ticks % GRIPPER_TICKS == 1:
            self._publish_gripper(stamp)
        if ticks % STATE_TICKS == 2:
            self._publish_state(stamp)
        frame = int(self.twin.time * self.options.camera_rate + 1e-6)
        if frame != self._frame:
            self._frame, self._pending = frame, list(VIEWS)
        elif self._pending:  # one render a tick, so that no feedback waits for two
            view = self._pending.pop(0)
            self._publish_view(view, stamp)

    def _stamp(self) -> Time:
        if self._clock_out is None:
            return self.get_clock().now().to_msg()
        return to_time(round(self.twin.time * 1e9))

    # --- out ---

    def _publish_feedback(self, stamp: Time) -> None:
        position, velocity, effort = self.twin.arm_feedback()
        message = self._feedback_message
        message.header.stamp = stamp
        message.position, message.velocity, message.effort = position.tolist(), velocity.tolist(), effort.tolist()
        self._feedback.publish(message)

    def _publish_gripper(self, stamp: Time) -> None:
        self._gripper_message.header.stamp = stamp
        self._gripper_message.position = [self.twin.gripper_feedback()]
        self._gripper.publish(self._gripper_message)

    def _publish_state(self, stamp: Time) -> None:
        poses = self.twin.object_poses()
        message = TaskState(task=self._task, world=self.twin.worlds, success=self.twin.success())
        message.header.stamp, message.header.frame_id = stamp, "base_link"
        message.progress = self.twin.progress()
        message.names = list(poses)
        message.poses = [_pose(position, quat) for position, quat in poses.values()]
        self._state.publish(message)

    def _publish_view(self, view: str, stamp: Time) -> None:
        camera = self._cameras[view]
        if self._frame % self._depth_frames == 0 and camera.wants_depth:
            picture, depth = self.twin.render_rgbd(view)
            camera.publish(picture, stamp, depth)
        else:
            camera.publish(self.twin.render(view), stamp)

    def _publish_camera_frames(self) -> None:
        """<view>_camera_link from the nominal mount; the lens and its optical frame as realsense2_camera has them."""
        stamp, transforms = self._stamp(), []
        for view in VIEWS:
            name = f"{view}_camera"
            parent, position, quat = self.twin.mounts[view]
            chain = [(parent, f"{name}_link", position, quat),
                     (f"{name}_link", f"{name}_color_frame", (0.0, COLOR_OFFSET, 0.0), (1.0, 0.0, 0.0, 0.0)),
                     (f"{name}_color_frame", f"{name}_color_optical_frame", (0.0, 0.0, 0.0), (0.5, -0.5, 0.5, -0.5))]
            transforms += [_transform(stamp, *link) for link in chain]
        self._tf_static.publish(TFMessage(transforms=transforms))

    def _report(self) -> tuple[bytes, str, dict]:
        frames = {f"{view}_frames": camera.frames for view, camera in self._cameras.items()}
        frames |= {f"{view}_depth_frames": camera.depth_frames for view, camera in self._cameras.items()}
        late, self._late_told = self._counts["late_ticks"] - self._late_told, self._counts["late_ticks"]
        level, text = (WARN, "slower than real time") if late else (OK, "paused" if self._paused else "running")
        return level, text, {**self._counts, **frames, "time": round(self.twin.time, 3), "worlds": self.twin.worlds}

    # --- in ---

    def _on_arm(self, message: JointState) -> None:
        self._command(lambda: self.twin.command_arm(message.position, message.velocity))

    def _on_gripper(self, message: JointState) -> None:
        self._command(lambda: self.twin.command_gripper(*message.position))

    def _command(self, apply) -> None:
        try:
            apply()
            self._counts["commands"] += 1
        except (ValueError, TypeError) as error:
            self._counts["dropped_commands"] += 1
            self.get_logger().warning(f"command dropped: {error}", throttle_duration_sec=5.0)

    def _on_reset_world(self, request: ResetWorld.Request, response: ResetWorld.Response) -> ResetWorld.Response:
        if request.seed < -1:
            response.success, response.message = False, f"seed = {request.seed}: must be -1 or more"
            return response
        self.twin.reset_world(None if request.seed == -1 else request.seed)
        response.success, response.message = True, f"world {self.twin.worlds}"
        return response

    def _on_set_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        self._rebase()
        response.success, response.message = True, "paused" if self._paused else "running"
        return response

    def _on_step(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._paused
        response.message = f"time {self.twin.time:.3f} s" if self._paused else "not paused: call set_pause first"
        if self._paused:
            for _ in range(round(CONTROL_PERIOD / TICK)):
                self._tick()
            response.message = f"time {self.twin.time:.3f} s"
        return response

    def close(self) -> None:
        """Free the renderer."""
        self.twin.close()


def _pose(position, quat) -> Pose:
    x, y, z = map(float, position)
    return Pose(position=Point(x=x, y=y, z=z), orientation=_quaternion(quat))


def _quaternion(quat) -> Quaternion:
    w, x, y, z = map(float, quat)
    return Quaternion(x=x, y=y, z=z, w=w)


def _transform(stamp: Time, parent: str, child: str, position, quat) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, parent
    x, y, z = map(float, position)
    message.transform.translation = Vector3(x=x, y=y, z=z)
    message.transform.rotation = _quaternion(quat)
    return message


def main() -> None:
    """Entry point."""
    run_main(TwinNode)
