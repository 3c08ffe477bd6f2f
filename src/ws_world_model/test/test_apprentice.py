"""The real dynamics and reward model behind the worker: one file for each version, and a restart that goes on."""

import json

import numpy as np
import pytest
import torch

from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import STATE
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.apprentice import Apprentice
from ws_world_model.counterfactuals import CounterfactualOptions
from ws_world_model.dynamics import DynamicsOptions
from ws_world_model.files import load_world_model
from ws_world_model.rewards import RewardModel, RewardOptions
from ws_world_model.training import Trainer, TrainerOptions
from ws_world_model.versions import Versions, VersionsError

TASK = load_task("pushing")
REWARDS = RewardOptions(channels=4, features=8, batch=8, capacity=100, imagined_capacity=100, min_updates=1,
                        min_successes=1)


def episode(number=0, **values):
    made = make_episode(4, episode_id=f"pushing_{number:04d}", seed=number, **values)
    made.state[:] = 0.0
    made.state[:, STATE["position"]] = np.linspace((0.22, -0.03, 0.2), (0.25, 0.0, 0.18), 5)
    made.action[:-1, :3] = 0.1
    return made


def apprentice(folder, hidden=8):
    torch.set_num_threads(1)
    trainer = Trainer(TASK, TrainerOptions(clips=1, drawn=1), DynamicsOptions(hidden=hidden, width=8), seed=1)
    return Apprentice(trainer, RewardModel(TASK, REWARDS, seed=1), Versions(folder),
                      CounterfactualOptions(variants=2, min_length=3))


@pytest.fixture
def trained(tmp_path):
    made = apprentice(tmp_path)
    made.add(episode(0))
    assert np.isfinite(made.step()["total"])
    return made


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_version_holds_all_that_is_needed_to_go_on(trained, tmp_path):
    trained.step_rewards()
    trained.save(1, {"steps": "1", "trained": json.dumps(["pushing_0000"])})
    again = apprentice(tmp_path)
    assert json.loads(again.resume()["trained"]) == ["pushing_0000"]
    assert (again.version, again.steps) == (1, 1)
    assert same(again.trainer.live, trained.trainer.live) and same(again.trainer.model, trained.trainer.model)
    moments = trained.trainer.optimiser.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(again.trainer.optimiser.state_dict()["state"][0]["exp_avg"], moments)
    again.add(episode(0))
    assert np.isfinite(again.step()["total"])
    made, counts = again.generate([episode(0)], [])
    assert counts["frames"] > 0 and again.frames_per_s > 0
    assert load_world_model(tmp_path / "v000001.safetensors", TASK).version == 1, "and it is a world model to others"


def test_a_snapshot_takes_the_dynamics_back(trained):
    before, model = trained.snapshot(), {n: t.clone() for n, t in trained.trainer.model.state_dict().items()}
    trained.step()
    trained.restore(before)
    assert trained.steps == 1
    assert all(torch.equal(t, model[n]) for n, t in trained.trainer.model.state_dict().items())
    trained.step()
    trained.restore(before)
    assert all(torch.equal(t, model[n]) for n, t in trained.trainer.model.state_dict().items()), "as often as needed"


def test_half_a_file_of_a_killed_process_is_cleared_and_a_damaged_one_passed_over(trained, tmp_path):
    for version in (1, 2):
        trained.save(version, {"steps": "1", "trained": "[]"})
    newest = tmp_path / "v000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    (tmp_path / ".v000003.safetensors.77").write_bytes(b"half")
    again = apprentice(tmp_path)
    assert again.resume() is not None and again.version == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v000001.safetensors", "v000002.safetensors"]


def test_another_architecture_is_refused_by_name_and_changes_nothing(trained, tmp_path):
    trained.save(1, {"steps": "1", "trained": "[]"})
    other = apprentice(tmp_path, hidden=12)
    weights = {n: t.clone() for n, t in other.trainer.live.state_dict().items()}
    with pytest.raises(VersionsError, match="v000001.safetensors: another architecture"):
        other.resume()
    assert other.version == 0
    assert all(torch.equal(t, weights[n]) for n, t in other.trainer.live.state_dict().items())


def test_the_newest_three_versions_stay_and_a_full_disk_keeps_the_number(trained, tmp_path, monkeypatch):
    assert apprentice(tmp_path).resume() is None
    for version in range(1, 6):
        trained.save(version, {"steps": "1", "trained": "[]"})
    assert trained.versions.numbers == [3, 4, 5]

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        trained.save(6, {"steps": "1", "trained": "[]"})
    assert trained.version == 5 and not list(tmp_path.glob(".*"))


def test_what_is_generated_makes_a_bag_like_any_other(trained, tmp_path):
    trained.save(1, {"steps": "1", "trained": "[]"})
    trained.rewards.labeller.threshold = 0.0  # so that everything is a success
    made, _ = trained.generate([episode(0)], [])
    assert made
    again = read_episode(write_episode(tmp_path / "bags", made[0]), TASK)
    assert (again.source == 3).all() and again.notes["parent"] == "pushing_0000"
    assert again.notes["world_model_version"] == "1" and again.notes["label"] == "success"
