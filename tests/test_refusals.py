"""Runs that must not start: wrong parameters of real nodes, unfit folders. Quickly, clearly, the arm untouched."""

import os
import subprocess
import sys

import pytest
from graph import Graph, free_domain, wait_for

pytestmark = pytest.mark.timeout(90)
MOVING = ("twin", "driver", "policy")  # without one of them nothing can move

PARAMETERS = {
    "unknown": ("policy", {"colour": "red"}, "policy: unknown parameter 'colour'"),
    "type": ("policy", {"rate": "fast"}, "rate = 'fast': must be float"),
    "range": ("driver", {"tick_rate": 10_000.0}, "tick_rate = 10000.0: must be in 25 .. 200"),
    "a limit of the driver": ("driver", {"max_linear_speed": 3.0}, "max_linear_speed = 3.0: must be in 0.01 .. 0.25"),
    "choice": ("policy", {"success_source": "hope"},
               "success_source = 'hope': must be one of twin, operator, classifier"),
    "twin": ("twin", {"camera_rate": 1000.0}, "camera_rate = 1000.0: must be in"),
    "learner": ("learner", {"learner.batch_size": 2}, "learner.batch_size = 2: must be in"),
    "recorder": ("recorder", {"min_free_mib": -1}, "min_free_mib = -1: must be in"),
}


@pytest.mark.parametrize(("node", "values", "message"), PARAMETERS.values(), ids=PARAMETERS.keys())
def test_a_wrong_parameter_ends_the_run_with_its_name(tmp_path, node, values, message):
    graph = Graph(tmp_path / "run", free_domain(), values={node: values}).start()
    try:
        wait_for(lambda: graph.runner.poll() is not None, 40.0, "the run's end", graph.describe)
        output = graph.output.read_text()
        assert graph.runner.returncode == 2, output
        assert f"{node} refused to start: error: {message}" in output
        assert "Traceback" not in output
        assert graph.leftovers() == []
        if node in MOVING:
            assert "resetting" not in graph.log("driver")
    finally:
        graph.close()


def refused(*arguments, cwd):
    words = [sys.executable, "-m", "ws_bringup", "run", "--headless", *arguments]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(free_domain())}
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, cwd=cwd, env=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "juggling"], "task = 'juggling': must be one of assembly, insertion"),
        (["--mode", "telepathy"], "mode = 'telepathy': must be one of hil_serl"),
        (["--minutes", "-1"], "minutes = -1"),
        (["use_sim_time:=perhaps"], "use_sim_time = 'perhaps': must be bool"),
        (["colour:=red"], "unknown option 'colour'"),
    ],
)
def test_a_wrong_request_starts_nothing(tmp_path, arguments, message):
    assert message in refused(*arguments, cwd=tmp_path)
    assert not list(tmp_path.iterdir()), "not even a folder"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    folder = "/proc/worldsample"  # read-only for root, too
    assert folder in refused(f"run_dir:={folder}", cwd=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o555)
    assert str(folder) in refused(f"run_dir:={folder}", cwd=tmp_path)


def test_a_folder_with_bags_is_not_begun_anew(tmp_path):
    (tmp_path / "run" / "bags" / "something").mkdir(parents=True)
    assert "resume" in refused(f"run_dir:={tmp_path / 'run'}", "resume:=false", cwd=tmp_path)
