"""The graph, declared once: which processes run, under which names, with which parameters.

The launch files and the runner both start what `make_graph` returns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ws_bringup import parameters
from ws_bringup.environment import share, without_shared_memory
from ws_bringup.settings import Settings
from ws_ppl.modes import MODES

PARTS = ("robot", "learning", "view")
CAMERA_PROFILE = "424x240x15"
# Where the real arm's driver differs from the twin's, which is the default; docs/safety.md has the reasons.
REAL_ARM = {
    "max_lead": 0.015,  # m
    "frozen_frames": 40,  # a live encoder's last digits never stand still for so long
    "camera_mounts": True,  # nobody else tells where the cameras are
}
VENDOR_TOPICS = (
    "hdas/feedback_arm",
    "hdas/feedback_gripper",
    "motion_target/target_joint_state_arm",
    "motion_target/target_position_gripper",
)


@dataclass(frozen=True)
class Process:
    """One process of the graph."""

    name: str
    package: str
    executable: str
    namespace: str = "/"
    part: str = "learning"
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    respawn: bool = True      # start again after any unexpected exit
    required: bool = True     # the whole graph ends when it cannot be kept up
    background: bool = False  # gets only what the others leave of the CPU (SCHED_IDLE)

    @property
    def full_name(self) -> str:
        """Name with namespace, such as /a1x/driver."""
        return f"{self.namespace.rstrip('/')}/{self.name}"


def make_graph(settings: Settings, parts: tuple[str, ...] = PARTS) -> list[Process]:
    """The processes of these parts, in starting order, the user's parameter file already laid over them.

    Raises ValueError for a parameter file that cannot be read or that names a node that is not there.
    """
    processes = [p for p in _robot(settings) + _learning(settings) + _view(settings) if p.part in parts]
    if not settings.params_file:
        return processes
    user = parameters.load_params_file(settings.params_file)
    everything = _robot(settings) + _learning(settings) + _view(settings)
    parameters.refuse_unknown_nodes(user, [p.full_name for p in everything])
    return [_with_parameters(p, parameters.overlay(p.parameters, user, p.full_name)) for p in processes]


def parameter_file(process: Process, settings: Settings) -> Path:
    """Write the process's parameters to run_dir/params/<name>.yaml and return that path."""
    return parameters.write(settings.folder / "params" / f"{process.name}.yaml", process.parameters)


def ros_arguments(process: Process, settings: Settings) -> list[str]:
    """The words after --ros-args that name, place, wire and configure the node."""
    words = ["-r", f"__node:={process.name}", "-r", f"__ns:={process.namespace}"]
    for source, target in process.remappings:
        words += ["-r", f"{source}:={target}"]
    return [*words, "--log-level", settings.log_level, "--params-file", str(parameter_file(process, settings))]


def _root(settings: Settings) -> str:
    return "/" + settings.namespace.strip("/")


def _robot(settings: Settings) -> list[Process]:
    root = _root(settings).rstrip("/")
    namespace = f"{root}/a1x"
    # the vendor's driver knows no a1x namespace, and people look for joint_states beside tf
    vendor = tuple((topic, f"{root}/{topic}") for topic in VENDOR_TOPICS)
    standard = tuple((topic, f"{root}/{topic}") for topic in ("joint_states", "robot_description"))
    values = {"use_sim_time": settings.use_sim_time, "task": settings.task, "seed": settings.seed}
    if settings.robot == "a1x":
        values |= REAL_ARM
    driver = Process("driver", "ws_driver_a1x", "driver", namespace, "robot", values, vendor + standard,
                     environment=without_shared_memory())
    if settings.robot == "twin":
        twin = {"task": settings.task, "seed": settings.seed, "publish_clock": settings.use_sim_time}
        wires = (*vendor, ("clock", "/clock"))
        return [Process("twin", "ws_twin_a1x", "twin", namespace, "robot", twin, wires), driver]
    serials = {"side_camera": settings.side_camera_serial, "wrist_camera": settings.wrist_camera_serial}
    return [*(_realsense(name, namespace, serial) for name, serial in serials.items()), driver]


def _realsense(name: str, namespace: str, serial: str) -> Process:
    values = {
        "camera_name": name,
        "rgb_camera.color_profile": CAMERA_PROFILE,
        "depth_module.depth_profile": CAMERA_PROFILE,
        "enable_color": True,
        "enable_depth": True,
        "align_depth.enable": True,
        "enable_sync": True,  # color and depth of one moment
        "enable_infra1": False,
        "enable_infra2": False,
        "enable_gyro": False,
        "enable_accel": False,
    }
    if serial:
        values["serial_no"] = f"_{serial.lstrip('_')}"  # the underscore keeps ROS from reading it as a number
    return Process(name, "realsense2_camera", "realsense2_camera_node", namespace, "robot", values)


def _learning(settings: Settings) -> list[Process]:
    root = _root(settings)
    clock = {"use_sim_time": settings.use_sim_time}
    common = {**clock, "task": settings.task}
    folder = {"run_dir": str(settings.folder)}
    truth = settings.robot == "twin"
    policy = {
        **common,
        **folder,
        "seed": settings.seed,
        "demonstrations": settings.demonstrations,
        "success_source": settings.told_by,
        "scene_reset": "twin" if truth else "operator",
        "auto_enable": truth,  # a person enables a real arm
        "recorded": settings.record,
    }
    learner = {**common, **folder, "mode": settings.mode, "seed": settings.seed,
               "learner.demonstrations": settings.demonstrations}
    mode = MODES[settings.mode]
    world_model = {**common, **folder, "active": mode.imagines, "seed": settings.seed}
    if mode.imagines:  # else it knows no options of a worker, and would refuse them
        world_model |= {"worker.demonstrations": settings.demonstrations, "worker.paced": mode.paced}
        if not mode.relocates:
            world_model["worker.relocations"] = 0
        world_model |= {f"counterfactuals.{name}": value for name, value in mode.counterfactuals.items()}
        if settings.robot == "a1x":
            world_model["dynamics.lead"] = REAL_ARM["max_lead"]
    monitor = {**folder, "started": time.time()}
    processes = [
        Process("policy", "ws_policy", "policy", root, parameters=policy),
        # a full core of its own, but never before the control loop
        Process("learner", "ws_ppl", "learner", root, parameters=learner, background=True),
        Process("world_model", "ws_world_model", "world_model", root, parameters=world_model, required=False,
                background=True),
        Process("monitor", "ws_bringup", "monitor", root, parameters=monitor, required=False),
    ]
    if settings.told_by == "classifier":
        processes.append(Process("success_detector", "ws_world_model", "success_detector", root,
                                 parameters={**common, **folder}, required=False, background=True))
    if settings.record:
        processes.insert(0, Process("recorder", "ws_rollouts", "recorder", root, parameters={**clock, **folder}))
    if settings.scripted:
        scripted = {**common, "seed": settings.seed}
        processes.insert(1, Process("operator", "ws_policy", "operator", root, parameters=scripted))
    return processes


def _view(settings: Settings) -> list[Process]:
    if not settings.launch_rviz:
        return []
    config = share("rviz", "worldsample.rviz")
    values = {"use_sim_time": settings.use_sim_time}
    return [Process("rviz", "rviz2", "rviz2", _root(settings), "view", values, arguments=("-d", str(config)),
                    respawn=False, required=False)]


def _with_parameters(process: Process, values: dict[str, Any]) -> Process:
    return Process(**{**process.__dict__, "parameters": values})
