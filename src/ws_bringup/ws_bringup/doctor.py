"""`worldsample doctor`: looks whether this machine can run it, one small check after the other."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ws_bringup.environment import process_environment

GOOD, POOR, BAD = "ok", "warning", "error"
Finding = tuple[str, str]

_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='.1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 24, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0
"""


def check_python() -> Finding:
    """3.10 to 3.12: below, the code does not run; above, there are no ROS wheels."""
    found = f"Python {sys.version.split()[0]}"
    return (GOOD if (3, 10) <= sys.version_info[:2] <= (3, 12) else BAD), found


def check_ros() -> Finding:
    """rclpy with a DDS layer, and our messages."""
    for module, cure in (("rclpy", "make setup"), ("ws_interfaces.msg", "make build, then source install/setup.bash")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return BAD, f"{module} is missing ({error}): {cure}"
    return GOOD, f"rclpy and ws_interfaces ({os.environ.get('ROS_DISTRO', 'wheels')})"


def check_launch() -> Finding:
    """launch_ros is optional: without it the graph is run by our own runner."""
    there = importlib.util.find_spec("launch_ros") is not None
    return GOOD, "launch_ros is there" if there else "no launch_ros: `worldsample run` starts the graph"


def check_rendering() -> Finding:
    """MuJoCo draws a picture without a screen, in a process of its own."""
    command = [sys.executable, "-c", _RENDER]
    done = subprocess.run(command, env=process_environment(), capture_output=True, text=True, timeout=60)
    if done.returncode:
        return BAD, f"EGL does not render: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return GOOD, "EGL renders"


def check_torch() -> Finding:
    """PyTorch for the learner."""
    try:
        import torch
    except ImportError as error:
        return BAD, f"torch is missing ({error}): make setup"
    return GOOD, f"torch {torch.__version__}"


def check_shared_memory(folder: Path = Path("/dev/shm"), least: int = 512 << 20) -> Finding:
    """Each process keeps a 32 MiB segment there."""
    if not folder.is_dir():
        return BAD, f"{folder} is missing: images cannot cross processes"
    free = shutil.disk_usage(folder).free
    cure = "" if free >= least else f"; {least >> 20} MiB are needed (docker: --shm-size=1g)"
    return (GOOD if free >= least else BAD), f"{folder}: {free >> 20} MiB free{cure}"


def check_disk(folder: Path = Path("."), least: int = 5 << 30) -> Finding:
    """An hour of bags takes a few GiB."""
    free = shutil.disk_usage(folder).free
    return (GOOD if free >= least else POOR), f"disk: {free / 2**30:.0f} GiB free here"


def check_cores(least: int = 2) -> Finding:
    """One core learns, one does everything else."""
    cores = len(os.sched_getaffinity(0))
    return (GOOD if cores >= least else POOR), f"{cores} cores" + ("" if cores >= least else ": too few for real time")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python, check_ros, check_launch, check_rendering, check_torch, check_shared_memory, check_disk, check_cores,
)


def main() -> int:
    """Run every check and print what it found; 1 when one failed."""
    worst = 0
    for check in CHECKS:
        try:
            level, text = check()
        except Exception as error:
            level, text = BAD, f"{check.__name__}: {error}"
        worst |= level == BAD
        print(f"{level:8}{text}")
    return int(worst)
