"""What every process of the graph finds in its environment: DDS transport, rendering, threads; and our own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import get_package_share_directory


def share(*parts: str) -> Path:
    """Path of a file that this package installs, such as share("config", "fastdds_shm.xml")."""
    return Path(get_package_share_directory("ws_bringup"), *parts)


PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2, Jazzy; 3, Kilted and later
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"


def defaults() -> dict[str, str]:
    """Variables that every process gets unless the user has set them."""
    return {
        # 32 MiB of shared memory: with the default 512 KiB best-effort images are lost
        **dict.fromkeys(PROFILES, str(share("config", "fastdds_shm.xml"))),
        RANGE: "LOCALHOST",
        "MUJOCO_GL": "egl",      # renders without a screen
        "LP_NUM_THREADS": "0",   # Mesa draws in the caller's thread: its pool costs more than it gives
        "OMP_NUM_THREADS": "1",  # one core for the learner, one for everything else
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def without_shared_memory() -> dict[str, str]:
    """For a process that must never wait for others; empty where the user chose another transport or range.

    When a process is killed, Fast DDS may hold up everybody who writes to its shared memory for the 1 s of a health
    check, sometimes twice: measured in 3 of 40 kills. UDP waits for nobody.
    """
    ours = defaults()
    chosen = ((os.environ.get(name, ours[name]), ours[name]) for name in (*PROFILES, RANGE))
    if any(os.path.realpath(value) != os.path.realpath(default) for value, default in chosen):
        return {}
    # LOCALHOST would add shared memory of its own; the file keeps to this machine by itself
    return {**dict.fromkeys(PROFILES, str(share("config", "fastdds_udp.xml"))), RANGE: "SYSTEM_DEFAULT"}


def process_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process of the graph: defaults, then what is set already, then `extra`."""
    return {**defaults(), **os.environ, **(extra or {})}


def ros_domain() -> int:
    """The DDS domain the graph runs in. Raises ValueError when ROS_DOMAIN_ID is no number from 0 to 101."""
    text = os.environ.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > 101:
        raise ValueError(f"ROS_DOMAIN_ID = {text!r}: must be a number from 0 to 101")
    return int(text)
