"""A stand-in installation: tiny executables under the names of the real packages, so that no robot is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ws_node.testing import free_domain

EXECUTABLES = {
    "ws_twin_a1x": "twin",
    "ws_driver_a1x": "driver",
    "ws_policy": "policy",
    "ws_rollouts": "recorder",
    "ws_ppl": "learner",
    "ws_world_model": "world_model",
}
STAND_IN = """#!{python} -S
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print("here", os.getpid(), flush=True)
while True:
    time.sleep(0.1)
"""


def write_executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{python}", sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """Folder of stand-ins that shadow the real nodes for this test and its child processes."""
    prefix = tmp_path / "prefix"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package, executable in EXECUTABLES.items():
        (index / package).touch()
        write_executable(prefix / "lib" / package / executable, STAND_IN)
    write_executable(prefix / "lib" / "ws_policy" / "operator", STAND_IN)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return prefix
