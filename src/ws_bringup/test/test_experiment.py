"""Experiments: what is asked for wrongly is named, what is done is not done again, and the same seed gives the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ws_bringup import cli, trial
from ws_bringup.curves import COSTS, middle, points
from ws_bringup.experiment import cell_values, read_spec, steps_to, table, write_results
from ws_bringup.guidance import guidance
from ws_bringup.learned import Learned
from ws_bringup.lockstep import Env, ask, play
from ws_bringup.oracle import Oracle
from ws_bringup.trial import make_cell
from ws_policy.operator import ScriptedOperator
from ws_rollouts.episode import SYNTHETIC, VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.counterfactuals import CounterfactualOptions
from ws_world_model.testing import FakeStudent
from ws_world_model.worker import WorkerOptions

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SPEC = """
seeds: [0, 1]
target: 0.9
common: {real_steps: 100, schedule: {rho_max: 0.2}}
cells:
  real: {mode: hil_serl}
  wide: {mode: no_schedule, generator: oracle, schedule: {ramp_steps: 5}, overrides: {scatter: [0.01, 0.01, 0.1]}}
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "pushing.yaml"
    path.write_text(SPEC)
    return path


def row(cell, seed, steps, success, **values):
    return {"cell": cell, "seed": seed, "real_steps": steps, "learner_steps": 2 * steps, "success_rate": success,
            "cpu_minutes": 1.0, "commit": "c", "machine": "m", **values}


def test_a_cell_has_the_common_values_and_its_own(spec):
    values = cell_values(read_spec(spec), "wide")
    cell = make_cell("wide", 1, values)
    assert cell.options.real_steps == 100 and cell.options.generator == "oracle"
    assert (cell.schedule.kind, cell.schedule.rho_max, cell.schedule.ramp_steps) == ("constant", 0.2, 5)
    assert cell.load_task().scatter == (0.01, 0.01, 0.1)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_are_valid(path):
    spec = read_spec(path)
    assert all(make_cell(name, 0, cell_values(spec, name)) for name in spec["cells"])


@pytest.mark.parametrize(("old", "new", "message"), [
    ("mode: hil_serl", "mode: dream", "mode = 'dream': must be one of hil_serl, worldsample"),
    ("mode: hil_serl", "speed: 3", "speed"),
    ("generator: oracle", "generator: none", "generator = 'none': does not go with mode = 'no_schedule'"),
    ("rho_max: 0.2", "rho_max: 2", "schedule.rho_max = 2"),
    ("rho_max: 0.2", "sigma: 2", "sigma"),
    ("0.1]}", "4]}", "scatter = [0.01, 0.01, 4.0]: must be in 0 .. 3.2"),
    ("target:", "goal:", "unknown entry 'goal'"),
    ("seeds: [0, 1]", "", "needs seeds and cells"),
    ("cells:", "cells: [", "cannot be read"),
])
def test_what_is_asked_for_wrongly_is_named(spec, capsys, old, new, message):
    spec.write_text(SPEC.replace(old, new))
    assert cli.main(["experiment", str(spec), "--output", str(spec.parent / "out")]) == 2
    assert message in capsys.readouterr().err


def test_cells_that_are_done_are_not_done_again(spec, tmp_path, capsys):
    for cell in ("real", "wide"):
        for seed in (0, 1):
            rows = [row(cell, seed, 0, 0.5), row(cell, seed, 100, 0.95)]
            (tmp_path / f"{cell}-{seed}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert cli.main(["experiment", str(spec), "--output", str(tmp_path)]) == 0
    assert "wide" in capsys.readouterr().out
    assert "| wide | 2 | 0.95 0.95 |" in (tmp_path / "table.md").read_text()
    for cost in COSTS:
        assert (tmp_path / f"curves_{cost}.png").stat().st_size > 10_000


def test_a_curve_leaves_out_what_was_not_measured_and_the_mean_ends_with_the_shortest_run():
    runs = [[{"real_steps": 100 * k, "rho": None if k == 0 else 0.1 * k + seed} for k in range(4 - seed)]
            for seed in (0, 1)]
    lines = [points(run, "real_steps", "rho") for run in runs]
    assert [len(line) for line in lines] == [3, 2]
    np.testing.assert_allclose(middle(lines), [[100.0, 0.6], [200.0, 0.7]])
    assert points(runs[0], "real_steps", "q_real").shape == (0, 2), "a mode without imagination has no such value"


def test_steps_to_the_target_and_their_median():
    rows = [row("a", s, k, v) for s, reached in enumerate((200, 300, None)) for k in (100, 200, 300)
            for v in [0.9 if reached and k >= reached else 0.4]]
    assert steps_to(rows[:3], 0.9) == 200 and steps_to(rows[6:], 0.9) is None
    line, = table(rows, 0.9)
    assert line["steps_to_0.9"] == "200 300 never" and line["median_steps"] == "300"
    assert table(rows[3:], 0.9)[0]["median_steps"] == "never", "half of them never did"


def test_nothing_done_makes_no_table(tmp_path):
    assert write_results(tmp_path, 0.9) == [] and not list(tmp_path.iterdir())


def test_the_oracle_tells_what_the_twin_does():
    task = load_task("pushing", {"episode_steps": 16})
    env, states = Env(task, 2), []
    try:
        operator = ScriptedOperator(task, seed=2)
        operator.begin(demonstration=True)

        def act(seen):
            states.append(env.snapshot())
            return ask(operator, env, seen)

        episode = play(env, act, "rollout-00000")
        still = CounterfactualOptions(scale=0.0, noise=0.0, variants=1, identity_every=1000)
        oracle = Oracle(env, still, seed=1)
        again, = oracle.follow(episode, states)
        start = int(again.notes["start"])
        assert np.array_equal(again.state, episode.state[start:])
        assert all(np.array_equal(again.frames[view], episode.frames[view][start:]) for view in VIEWS)
        assert (again.source == SYNTHETIC).all() and +oracle.numbers == {"failure": 1} and again.truncated
        moved = Oracle(env, CounterfactualOptions(variants=2), segments=1, seed=1).follow(episode, states)
        assert len({each.state.tobytes() for each in moved}) == len(moved) > 0
    finally:
        env.close()


def test_guidance_tells_critics_that_point_to_the_teacher_from_those_that_point_away():
    task = load_task("pushing", {"episode_steps": 5})
    still = np.zeros(task.action_size, np.float32)

    class Agent:
        def __init__(self, slope):
            self.acting, self._slope = self, np.float32(slope)

        def act(self, images, state, exploration):
            return torch.zeros(len(images), task.action_size)

        def slopes(self, images, state, action):
            return np.tile(self._slope, (len(state), 1))

    class Knowing(Agent):
        def slopes(self, images, state, action):
            return self._slope - action

    found = [guidance(Agent(slope), lambda seen: still, task, 3, 1) for slope in np.eye(3)]
    cosines = np.array([each["guidance_cosine"] for each in found])
    assert np.linalg.norm(cosines) == pytest.approx(1.0, abs=0.05)  # at rest there is one way to go
    away = guidance(Agent(-cosines), lambda seen: still, task, 3, 1)
    assert away["guidance_cosine"] == pytest.approx(-1.0, abs=0.05) and away["guidance_off"] > 0.3
    assert abs(away["guidance_anywhere"]) < 0.99
    there = guidance(Knowing(away["guidance_off"] * cosines), lambda seen: still, task, 3, 1)
    assert there["guidance_cosine"] == pytest.approx(1.0, abs=0.05) == there["guidance_anywhere"]


def test_the_same_seed_gives_the_same_rows(tmp_path):
    values = {
        "overrides": {"episode_steps": 30},
        "mode": "no_ppl", "generator": "oracle", "real_steps": 1, "evaluate_every": 1, "evaluate_episodes": 1,
        "learner": {"demonstrations": 1, "offline_steps": 2, "batch_size": 8, "training_starts": 5, "capacity": 500,
                    "updates_per_step": 0.1, "synthetic_least": 5, "select_every": 2},
        "network": {"channels": 8, "features": 16, "hidden": 32},
        "operator": {"slowest": 1.0, "fastest": 1.0, "noise": 0.0},
        "schedule": {"warm_up_steps": 0, "warm_up_episodes": 1, "ramp_steps": 1},
        "counterfactuals": {"variants": 2, "max_length": 10},
    }

    def rows():
        found = []
        trial.Trial(make_cell("a", 3, values), tmp_path).run(found.append)
        return [{k: v for k, v in each.items() if k != "cpu_minutes"} for each in found]

    first = rows()
    assert first == rows()
    assert [each["real_steps"] > 0 for each in first] == [False, True]
    assert first[-1]["rho"] == pytest.approx(0.3) and first[-1]["positive"] + first[-1]["negative"] > 5


@pytest.mark.parametrize("relocate", ["drawn", "oracle"])
def test_a_cell_that_relocates_imitates_what_it_made(tmp_path, relocate):
    values = {
        "mode": "hil_serl", "relocate": relocate, "relocations": 2, "real_steps": 0, "evaluate_episodes": 1,
        "overrides": {"episode_steps": 60},
        "learner": {"demonstrations": 1, "offline_steps": 2, "batch_size": 8, "training_starts": 5, "capacity": 500},
        "network": {"channels": 8, "features": 16, "hidden": 32},
    }

    def rows():
        found = []
        made = trial.Trial(make_cell("a", 3, values), tmp_path)
        made.run(found.append)
        assert made._learner.imagined.episodes == 2
        return [{k: v for k, v in each.items() if k not in ("cpu_minutes", "relocate_cpu_s")} for each in found]

    first = rows()
    assert first[-1]["relocated_made"] == 2 and first[-1]["relocated_steps"] > 20
    assert first == rows()


def test_a_learned_world_model_trains_then_imagines_and_spends_no_more_steps_than_it_may(tmp_path):
    options = WorkerOptions(demonstrations=2, adapt_steps=6, round_steps=4, every_episodes=2, unread=4, held_out=1)
    student = FakeStudent()
    learned = Learned(load_task("pushing"), tmp_path, student, options, steps_per_step=0.1)
    made, spent = [], []
    for number in range(9):
        episode = make_episode(12, episode_id=f"pushing_{number:04d}", demonstration=number < 2, seed=number)
        made.append(learned.follow(episode, []))
        spent.append(student.steps)
    assert all(steps <= 6 + 0.1 * 12 * (number + 1) for number, steps in enumerate(spent)) and spent[-1] > 12
    assert learned.trusted and learned.version > 1 and learned.numbers["world_model_gate"] == "open"
    assert {len(each) for each in made} == {0, 4}, "nothing while a round waits for further steps"
    names = [each.episode_id for each in sum(made, [])]
    assert len(names) == len(set(names)) and {each.success for each in sum(made, [])} == {True, False}
