"""The picture of a run is drawn from what a run folder holds."""


import cv2
import pytest

from ws_bringup.metrics import append_metrics
from ws_rollouts.bag import write_episode
from ws_rollouts.testing import make_episode


@pytest.fixture(scope="module")
def plot_run(load_benchmark):
    return load_benchmark("plot_run")


@pytest.fixture
def run_folder(tmp_path):
    write_episode(tmp_path / "bags", make_episode(episode_id="taught", demonstration=True, seed=0))
    write_episode(tmp_path / "bags", make_episode(episode_id="won", seed=1))
    write_episode(tmp_path / "bags", make_episode(episode_id="helped", human=(3, 4), seed=2))
    write_episode(tmp_path / "bags", make_episode(episode_id="lost", outcome="timeout", seed=3))
    for second in range(5):
        append_metrics(tmp_path, {
            "session": 1.0, "wall_s": float(second), "policy_episodes": second, "policy_env_steps": 40 * second,
            "policy_success_rate": 0.5, "policy_intervention_rate": 0.1, "policy_control_period_p99_ms": 105.0,
        })
    return tmp_path


def test_the_picture_shows_an_episode_that_the_policy_won_alone(plot_run, run_folder, capsys):
    assert plot_run.main([str(run_folder), "--output", str(run_folder / "picture.png")]) == 0
    assert "won" in capsys.readouterr().out
    assert cv2.imread(str(run_folder / "picture.png")).std() > 10


def test_running_time_leaves_pauses_out(plot_run):
    rows = [{"session": s, "wall_s": w} for s, w in ((1.0, 60.0), (1.0, 120.0), (9.0, 60.0))]
    assert plot_run.run_minutes(rows).tolist() == [1.0, 2.0, 3.0]


def test_a_folder_without_episodes_is_refused(plot_run, tmp_path, capsys):
    assert plot_run.main([str(tmp_path)]) == 2
    assert "no episode" in capsys.readouterr().err
