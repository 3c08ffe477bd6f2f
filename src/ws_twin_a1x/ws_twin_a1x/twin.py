"""The simulated robot: physics, vendor-like tracking, cameras and the task's scene, in lockstep. Knows no ROS."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import mujoco
import numpy as np

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import Task
from ws_twin_a1x.cameras import HEIGHT, WIDTH, Cameras, add_camera, camera_link
from ws_twin_a1x.depth import measure
from ws_twin_a1x.options import TwinOptions
from ws_twin_a1x.randomiser import DRAWN, Randomiser
from ws_twin_a1x.scenes import Pose, Scene, make_scene
from ws_twin_a1x.scenes.stage import build_stage
from ws_twin_a1x.tracker import RATED_SPEED, Tracker, TrackerState

ARM_JOINTS = tuple(f"arm_joint{i}" for i in range(1, 7))
TICK = 0.005  # s, period of the tracker and of the feedback (200 Hz on the real arm)
SUBSTEPS = 2  # physics steps in a tick
GRIPPER_OPEN = -2.83  # rad, raw motor angle at a stroke of 100 mm; 0 is closed
FINGER_TRAVEL = 0.05  # m, of each finger
_MODEL_UNITS = np.array([1.0] * 6 + [FINGER_TRAVEL / GRIPPER_OPEN])  # arm's rad -> model's rad, m of a finger
_SLEEP = int(mujoco.mjtEnableBit.mjENBL_SLEEP)
_AWAKE = -1 - mujoco.mjMINAWAKE  # of MjData.tree_asleep, when a thing has just been moved
LIMIT_MARGIN = np.radians(2.0)  # the firmware keeps this distance to each joint limit
# xyz, rpy of the wrist camera in gripper_link, as in the URDF: looks along the tool, tilted to the fingertips
WRIST_CAMERA = ((-0.085, -0.015, 0.064), (0.0, 0.157, 0.0))


@dataclass(frozen=True)
class TwinState:
    """For `Twin.restore`; never changed, so that it can be restored any number of times."""

    data: mujoco.MjData
    drawn: dict[str, np.ndarray]
    scene: Scene
    tracker: TrackerState
    target: np.ndarray
    speed: np.ndarray
    random: dict
    seed: int
    ticks: int
    worlds: int
    done_ticks: int


def build_model(task: Task, shadows: bool = False) -> tuple[Scene, mujoco.MjModel]:
    """Compile arm, stage and the task's scene. Raises ValueError for an unknown scene."""
    scene = make_scene(task)
    spec = mujoco.MjSpec.from_file(str(resources.files("ws_twin_a1x") / "models" / "a1x.xml"))
    spec.option.timestep = TICK / SUBSTEPS
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5.0
    quality = spec.visual.quality
    quality.offsamples, quality.shadowsize = 4 if shadows else 0, 2048
    quality.numslices, quality.numstacks, quality.numquads = 14, 8, 1  # round enough, twice as fast as the default
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 20.0
    spec.stat.extent, spec.stat.center = 1.0, [0.3, 0, 0.1]
    build_stage(spec, task.table)
    add_camera(spec.body("gripper_link"), "wrist", *WRIST_CAMERA)
    scene.build(spec)
    return scene, spec.compile()


class Twin:
    """One A1X with gripper, two cameras and a task's scene.

    Frame base_link, SI units, radians. The same seed and commands give the same states and pixels, bit for bit.
    Raises ValueError for a task that does not fit its scene or the cameras, and for commands of a wrong shape or not
    finite.
    """

    def __init__(self, task: Task, seed: int = 0, options: TwinOptions | None = None):
        self.options = options or TwinOptions()
        self._scene, self.model = build_model(task, self.options.shadows)
        self.data = mujoco.MjData(self.model)
        self.mounts = {view: camera_link(self.model, view) for view in VIEWS}  # nominal, whatever is drawn later
        self._crops = {view: task.crop(view) for view in VIEWS}
        self._cameras: dict[bool, Cameras] = {}
        joints = [self.model.joint(name) for name in (*ARM_JOINTS, "gripper_finger_joint1")]
        self._joints = np.array([joint.id for joint in joints])  # one coordinate each: index qpos and qvel too
        self._finger2 = self.model.joint("gripper_finger_joint2").id
        free = {int(i) for i, kind in zip(self.model.jnt_bodyid, self.model.jnt_type, strict=True)
                if kind == mujoco.mjtJoint.mjJNT_FREE}
        self._placeable = [self.model.body(i).name for i in range(self.model.nbody)
                           if i in free or self.model.body_mocapid[i] >= 0]
        self._offset = np.array([0, 0, self.options.joint3_offset, 0, 0, 0])
        limits = np.array([joint.range for joint in joints[:6]])
        self._low, self._high = limits[:, 0] + LIMIT_MARGIN, limits[:, 1] - LIMIT_MARGIN
        # feed-forward of speed, so that the arm does not trail its tracker by the servo's damping
        damping = np.array([joint.damping[0] for joint in joints])
        kp, kv = self.model.actuator_gainprm[:, 0], -self.model.actuator_biasprm[:, 2]
        self._lead = (kv + damping) / kp
        self._randomiser = Randomiser(self.model, self.options.domain_randomisation)
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._ticks = self._done_ticks = 0  # those for which the task has been done without a break
        self._hold = round(task.success_hold / TICK)
        self._target = np.append(task.reset_joints, GRIPPER_OPEN * task.gripper_opening)
        self._speed = RATED_SPEED.copy()
        self._tracker = Tracker(self._target, TICK, self.options.acceleration_ratio, self.options.jerk_ratio)
        self.worlds = 0
        self.place_arm(np.array(task.reset_joints))
        self.reset_world()
        _check_fit(task, self.object_poses())

    @property
    def time(self) -> float:
        """Simulated time since the start; s."""
        return self._ticks * TICK

    def restart(self, seed: int) -> None:
        """Let the twin's own stream, its time and its worlds begin anew; the next reset is as after any `restart`."""
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._ticks = self.worlds = 0

    def reset_world(self, seed: int | None = None) -> None:
        """Place the scene's objects anew, from `seed` or from the twin's own stream; the arm stays as it is."""
        rng = self._rng if seed is None else np.random.default_rng(seed)
        self._scene.reset(self.model, self.data, rng)
        self._randomiser.apply(self.model, rng)
        self.worlds, self._done_ticks = self.worlds + 1, 0
        self._settle()

    def place_arm(self, joints: np.ndarray) -> None:
        """Put the arm at `joints` (6,) rad at once, at rest. For lockstep only."""
        joints = _checked(joints, 6, "joints")
        self._target[:6] = joints - self._offset
        self._tracker.reset(self._target)
        self.data.qpos[self._joints] = self._target * _MODEL_UNITS
        self.data.qpos[self._finger2] = -self.data.qpos[self._joints[6]]
        self.data.qvel[self._joints] = self.data.qvel[self._finger2] = 0.0
        self._settle()

    def command_arm(self, position: np.ndarray, speed: np.ndarray) -> None:
        """Target (6,) rad with speed caps (6,) rad/s, held until the next; a cap of zero stalls its joint."""
        position, speed = _checked(position, 6, "position"), _checked(speed, 6, "speed")
        self._target[:6] = np.clip(position - self._offset, self._low, self._high)
        self._speed[:6] = speed
        self._tracker.command(self._target, self._speed)

    def command_gripper(self, stroke: float) -> None:
        """Opening 0 closed .. 100 open, mm; held until the next."""
        stroke = float(_checked([stroke], 1, "stroke")[0])
        wanted = GRIPPER_OPEN * min(max(stroke, 0.0), 100.0) / 100.0
        if wanted != self._target[6]:
            self._target[6] = wanted
            self._tracker.command(self._target, self._speed)

    def step(self, duration: float) -> None:
        """Advance by `duration` s, a multiple of `TICK`."""
        for _ in range(round(duration / TICK)):
            self._tracker.step()
            self.data.ctrl[:7] = (self._tracker.position + self._lead * self._tracker.velocity) * _MODEL_UNITS
            mujoco.mj_step(self.model, self.data, SUBSTEPS)
            self._scene.update(self.model, self.data)
            self._ticks += 1
            if self._hold:
                self._done_ticks = self._done_ticks + 1 if self._scene.success(self.model, self.data) else 0

    def snapshot(self) -> TwinState:
        """Everything that decides what follows: states, and pixels too."""
        return TwinState(
            data=copy.copy(self.data),  # with what is derived: feedback and pictures are of the last physics step
            drawn={name: getattr(self.model, name).copy() for name in DRAWN},
            scene=copy.deepcopy(self._scene),
            tracker=self._tracker.snapshot(),
            target=self._target.copy(), speed=self._speed.copy(),
            random=copy.deepcopy(self._rng.bit_generator.state), seed=self._seed,
            ticks=self._ticks, worlds=self.worlds, done_ticks=self._done_ticks,
        )

    def restore(self, state: TwinState) -> None:
        """Go on from a snapshot of this twin, bit for bit; `time` goes back too."""
        mujoco.mj_copyData(self.data, self.model, state.data)
        for name, values in state.drawn.items():
            getattr(self.model, name)[:] = values
        self._scene = copy.deepcopy(state.scene)
        self._tracker.restore(state.tracker)
        self._target, self._speed = state.target.copy(), state.speed.copy()
        self._rng.bit_generator.state, self._seed = state.random, state.seed
        self._ticks, self.worlds, self._done_ticks = state.ticks, state.worlds, state.done_ticks

    def arm_feedback(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, velocity, effort, (7,) each: six joints in rad, rad/s, Nm, then the gripper's motor in raw rad."""
        position = self.data.qpos[self._joints] / _MODEL_UNITS
        position[:6] += self._offset
        velocity = self.data.qvel[self._joints] / _MODEL_UNITS
        effort = (self.data.actuator_force[:7] + self.data.qfrc_gravcomp[self._joints]) * _MODEL_UNITS
        return position, velocity, effort

    def gripper_feedback(self) -> float:
        """Opening 0 closed .. 100 open, mm."""
        return float(np.clip(100.0 * self.data.qpos[self._joints[6]] / FINGER_TRAVEL, 0.0, 100.0))

    def render(self, view: str, cropped: bool = False) -> np.ndarray:
        """Picture of "side" or "wrist" now: (240, 424, 3) uint8 RGB, or the task's crop of it, which is quicker."""
        return self._renderer(cropped).render(self.data, view)

    def render_rgbd(self, view: str) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture and its aligned depth: (240, 424, 3) uint8 RGB and (240, 424) uint16 mm, 0 not measured.

        Noise depends on seed, world and time alone, so that who looks changes nothing for others.
        """
        picture, depth = self._renderer(False).render_rgbd(self.data, view)
        noise, moment = self.options.depth_noise, (self._seed, self.worlds, self._ticks, VIEWS.index(view))
        return picture, measure(depth, noise, self.options.depth_holes, moment)

    def _renderer(self, cropped: bool) -> Cameras:
        if cropped not in self._cameras:
            self._cameras[cropped] = Cameras(self.model, self.options.shadows, self._crops if cropped else None)
        return self._cameras[cropped]

    def success(self) -> bool:
        """Whether the task is done, and has been for as long as it must."""
        return self._done_ticks >= self._hold and self._scene.success(self.model, self.data)

    def progress(self) -> float:
        """0 at the start .. 1 done."""
        return self._scene.progress(self.model, self.data)

    def object_poses(self) -> dict[str, Pose]:
        """Name -> (position (3,) m, quaternion wxyz (4,)) in base_link."""
        return self._scene.poses(self.model, self.data)

    def arrangement(self) -> dict[str, Pose]:
        """Where everything is that can be placed: body -> position (3,) m, quaternion wxyz (4,)."""
        return {name: (self.data.body(name).xpos.copy(), self.data.body(name).xquat.copy()) for name in self._placeable}

    def arrange(self, poses: Mapping[str, Pose]) -> None:
        """Put bodies of `arrangement` elsewhere, at rest. Raises ValueError for another body."""
        for name, (position, quat) in poses.items():
            if name not in self._placeable:
                raise ValueError(f"body {name!r}: must be one of {', '.join(self._placeable)}")
            mocap = self.model.body(name).mocapid[0]
            if mocap >= 0:
                self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, quat
            else:
                joint = self.data.joint(int(self.model.body(name).jntadr[0]))
                joint.qpos[:3], joint.qpos[3:], joint.qvel[:] = position, quat, 0.0
        self._settle()

    def close(self) -> None:
        """Free the renderer."""
        while self._cameras:
            self._cameras.popitem()[1].close()

    def _settle(self) -> None:
        """Forget the solver's warm start and who sleeps, so that what follows depends on the state alone."""
        self.data.qacc_warmstart[:] = 0.0
        self.data.tree_asleep[:] = _AWAKE
        flags = self.model.opt.enableflags
        self.model.opt.enableflags &= ~_SLEEP  # else MuJoCo goes on with its list of who was awake before
        mujoco.mj_forward(self.model, self.data)
        self.model.opt.enableflags = flags


def _check_fit(task: Task, poses: Mapping[str, Pose]) -> None:
    for view in VIEWS:
        x, y, width, height = task.crop(view)
        if x + width > WIDTH or y + height > HEIGHT:
            raise ValueError(f"crop_{view} = {[x, y, width, height]}: leaves the frame of {WIDTH}x{HEIGHT} px")
    for name in ("thing", "goal"):
        value = getattr(task.handling, name)
        if value and value not in poses:
            raise ValueError(f"handling: {name} = {value!r}: must be one of {', '.join(poses)}")


def _checked(values, size: int, name: str) -> np.ndarray:
    array = np.asarray(values, float)
    if array.shape != (size,) or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} = {values!r}: must be {size} finite numbers")
    return array
