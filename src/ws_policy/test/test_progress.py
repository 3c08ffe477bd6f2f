import pytest

from ws_policy.progress import Finished, Progress
from ws_rollouts.bag import write_episode
from ws_rollouts.episode import DEMONSTRATION, POLICY, SYNTHETIC
from ws_rollouts.summary import read_summary
from ws_rollouts.testing import make_episode


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
    assert progress.success_rate == pytest.approx(0.25)  # aborted ones are no successes


def test_synthetic_rollouts_are_not_counted():
    progress = Progress()
    progress.add(episode(1, source=SYNTHETIC), recorded=True)
    assert progress.episodes == progress.env_steps == 0


def test_a_restart_changes_no_rate(tmp_path):
    ran = Progress()
    for seed, outcome in enumerate(("success", "timeout", "aborted", "failure", "success")):
        made = make_episode(6, episode_id=f"e{seed}", seed=seed, human=(1,),
                            outcome="timeout" if outcome == "aborted" else outcome)  # as the policy records an abort
        summary = read_summary(write_episode(tmp_path, made))
        ran.add(Finished(summary.episode_id, outcome, POLICY, 6, 1), recorded=False)
    write_episode(tmp_path, make_episode(6, episode_id="foreign", task="other"))
    again = Progress()
    assert again.restore(tmp_path, "pushing") == []
    assert (again.success_rate, again.intervention_rate) == (ran.success_rate, ran.intervention_rate) == (0.4, 1 / 6)
    assert (again.episodes, again.env_steps) == (ran.episodes, ran.env_steps) == (5, 30)


def test_a_missing_folder_is_a_fresh_run(tmp_path):
    progress = Progress()
    assert progress.restore(tmp_path / "bags", "pushing") == [] and progress.episodes == 0


def test_what_is_no_bag_is_told_and_not_counted(tmp_path):
    (tmp_path / "pushing-1").mkdir()
    progress = Progress()
    assert "pushing-1" in progress.restore(tmp_path, "pushing")[0] and progress.episodes == 0
