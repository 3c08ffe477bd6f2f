"""The node in a process of its own: it says once that it generates nothing, and ends when asked."""

import os
import signal
import subprocess
import sys


def test_it_says_that_generation_is_off_and_ends_cleanly():
    command = [sys.executable, "-c", "from ws_world_model.nodes.world_model_node import main; main()"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(1 + os.getpid() % 100), "RCUTILS_LOGGING_USE_STDOUT": "1"}
    node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert "generation is off: this mode uses real data only" in node.stdout.readline()
    node.send_signal(signal.SIGINT)
    rest, _ = node.communicate(timeout=20)
    assert node.returncode == 0
    assert "generation is off" not in rest
