"""`worldsample fidelity`: bad bags are counted, bad files refused, and the numbers come with where they are from."""

import json

import numpy as np
import pytest

from ws_bringup import fidelity
from ws_bringup.cli import main
from ws_bringup.fidelity import read_bags
from ws_rollouts.bag import write_episode
from ws_rollouts.episode import SYNTHETIC, VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.imagination import Imagined


class Persistence:
    task, version, profile = load_task("pushing"), 3, "test"

    def imagine(self, context, actions):
        n, length, _ = actions.shape
        frames = {view: np.repeat(context.frames[view][:, None], length, axis=1) for view in VIEWS}
        return Imagined(frames, np.repeat(context.state[:, None], length, axis=1), np.zeros((n, length), np.float32))


@pytest.fixture
def bags(tmp_path):
    folder = tmp_path / "bags"
    for number in range(3):
        write_episode(folder, make_episode(13, seed=number, episode_id=f"good_{number}"))
    other = make_episode(5, seed=7, episode_id="other_size", size=32)
    write_episode(folder, other)
    imagined = make_episode(5, seed=8, episode_id="imagined")
    imagined.source[:] = SYNTHETIC
    write_episode(folder, imagined)
    cut = next((write_episode(folder, make_episode(5, seed=9, episode_id="cut"))).glob("*.mcap"))
    cut.write_bytes(cut.read_bytes()[:3000])
    (folder / "foreign").mkdir()
    return folder


@pytest.fixture
def model(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    monkeypatch.setattr(fidelity, "load", lambda path, task: (Persistence(), None))
    return str(file)


def test_bad_bags_are_left_out_with_a_reason(bags):
    episodes, reasons = read_bags(bags, load_task("pushing"))
    assert [e.episode_id for e in episodes] == ["good_0", "good_1", "good_2"]
    assert reasons.total() == 4
    assert any("synthetic" in reason for reason in reasons) and any("32x32" in reason for reason in reasons)
    assert [e.episode_id for e in read_bags(bags, load_task("pushing"), newest=2)[0]] == ["good_1", "good_2"]


def test_numbers_pictures_and_where_they_are_from(bags, model, tmp_path, capsys):
    out, pictures = tmp_path / "out.json", tmp_path / "pictures"
    assert main(["fidelity", "--world-model", model, "--bags", str(bags), "--json", str(out), "--seed", "5",
                 "--pictures", str(pictures)]) == 0
    shown = capsys.readouterr()
    assert "pooled" in shown.out and "replayed: 6 cases" in shown.out and "left out 1: synthetic" in shown.err
    result = json.loads(out.read_text())
    assert result["bags"]["used"] == 3 and sum(result["bags"]["left_out"].values()) == 4
    assert result["seed"] == 5 and result["commit"] and result["machine"] and result["world_model"]["version"] == 3
    report = result["reports"]["replayed"]
    assert len(report["rows"]) == 12 and len(report["cases"]) == 6
    for row in report["rows"]:
        assert row["model"] == row["persistence"]
    assert report["rows"][-4]["model"]["psnr"] is None  # no case has 48 steps
    assert len(list(pictures.glob("*.png"))) == len(report["pictures"]) / 2 >= 1


@pytest.mark.parametrize("words, error", [
    (["--bags", "nowhere"], "nowhere: no such folder"),
    ([], "--bags DIR, --off-expert N"),
    (["--bags", ".", "--every", "0"], "every = 0"),
    (["--bags", ".", "--task", "juggling"], "juggling"),
    (["--bags", "."], "no usable rollout"),
])
def test_wrong_words_are_refused(words, error, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fidelity", "--world-model", model, *words]) == 2
    assert error in capsys.readouterr().err


def test_missing_and_foreign_world_models_are_refused(bags, tmp_path, capsys):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"no weights at all")
    for file in (tmp_path / "missing", foreign):
        assert main(["fidelity", "--world-model", str(file), "--bags", str(bags)]) == 2
        assert str(file) in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["fidelity", "--bags", str(bags)])
    assert stopped.value.code == 2
