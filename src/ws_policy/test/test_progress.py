import pytest

from ws_policy.progress import Finished, Progress
from ws_rollouts.episode import DEMONSTRATION, POLICY, SYNTHETIC


def episode(number, outcome="success", source=POLICY, steps=10, interventions=0):
    return Finished(f"pushing-{number}", outcome, source, steps, interventions)


def test_each_episode_counts_once_whoever_tells():
    progress = Progress()
    for recorded in (False, True, True):
        progress.add(episode(1), recorded)
    assert (progress.episodes, progress.env_steps, progress.success_rate) == (1, 10, 1.0)


def test_demonstrations_count_when_recorded_and_successful():
    progress = Progress()
    progress.add(episode(1, source=DEMONSTRATION), recorded=False)
    progress.add(episode(2, "timeout", DEMONSTRATION), recorded=True)
    assert progress.demonstrations == 0
    progress.add(episode(1, source=DEMONSTRATION), recorded=True)
    progress.add(episode(1, source=DEMONSTRATION), recorded=True)
    assert progress.demonstrations == 1 and progress.episodes == 0


def test_rates_are_of_the_last_twenty():
    progress = Progress()
    for i in range(10):
        progress.add(episode(i, "failure", interventions=5), recorded=False)
    for i in range(10, 30):
        progress.add(episode(i, "success" if i % 2 else "timeout", interventions=1), recorded=False)
    assert progress.success_rate == pytest.approx(0.5) and progress.intervention_rate == pytest.approx(0.1)
    for i in range(30, 40):
        progress.add(episode(i, "aborted"), recorded=False)
    assert progress.success_rate == pytest.approx(0.5)  # of the ten that are left to judge


def test_synthetic_rollouts_are_not_counted():
    progress = Progress()
    progress.add(episode(1, source=SYNTHETIC), recorded=True)
    assert progress.episodes == progress.env_steps == 0


def test_a_missing_folder_is_a_fresh_run(tmp_path):
    progress = Progress()
    assert progress.restore(tmp_path / "bags") == [] and progress.episodes == 0


def test_what_is_no_bag_is_told_and_not_counted(tmp_path):
    (tmp_path / "pushing-1").mkdir()
    progress = Progress()
    assert "pushing-1" in progress.restore(tmp_path)[0] and progress.episodes == 0
