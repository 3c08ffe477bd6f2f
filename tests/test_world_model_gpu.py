"""The benchmark of the gpu profile, as far as a machine without CUDA can try it: with the test profile."""

import json

import pytest
import torch

from ws_rollouts.bag import write_episode
from ws_rollouts.testing import make_episode


@pytest.fixture(scope="module")
def benchmark(load_benchmark):
    module = load_benchmark("world_model_gpu")
    torch.set_num_threads(1)
    return module


@pytest.fixture
def bags(tmp_path):
    for seed in range(2):
        write_episode(tmp_path / "bags", make_episode(14, episode_id=f"made-up-{seed}", seed=seed))
    return tmp_path / "bags"


def test_it_trains_scores_times_and_goes_on(benchmark, bags, tmp_path, capsys):
    words = [str(bags), "--profile", "test", "--device", "cpu", "--batch", "1", "--length", "13", "--held-out", "1",
             "--option", "autoencoder_steps=1", "--output", str(tmp_path / "out.json"),
             "--weights", str(tmp_path / "model.safetensors")]
    assert benchmark.main([*words, "--steps", "2"]) == 0
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["fidelity"][-1]["step"] == 2
    assert {row["view"] for row in results["fidelity"][-1]["rows"]} == {"side", "wrist", "pooled"}
    assert {"flow", "state", "reward", "autoencoder_side"} <= results["training"][-1].keys()
    assert results["clip"]["frames"] == 48 and results["clip"]["seconds"] > 0
    assert "PSNR" in capsys.readouterr().out
    assert benchmark.main([*words, "--steps", "3"]) == 0
    assert [entry["step"] for entry in json.loads((tmp_path / "out.json").read_text())["training"]] == [3]


@pytest.mark.parametrize("words, message", [
    (["--profile", "test", "--held-out", "2"], "2 episodes of pushing; needs 2 to hold out"),
    (["--option", "width=7"], "width = 7: must be in 8 .. 2048"),
    (["--option", "width"], "must be NAME=VALUE"),
    pytest.param([], "finds no CUDA device",
                 marks=pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")),
])
def test_what_is_wrong_is_said(benchmark, bags, capsys, words, message):
    assert benchmark.main([str(bags), "--length", "13", *words]) == 2
    assert message in capsys.readouterr().err


def test_its_command_line_explains_itself(benchmark, capsys):
    with pytest.raises(SystemExit, match="0"):
        benchmark.parse(["--help"])
    assert "safetensors file to go on from" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        benchmark.parse(["bags", "--steps", "0"])
    assert benchmark.parse(["bags"]).profile == "gpu"
