"""What bringup reads and writes: settings, parameter files, metrics, summary, locks, shared memory."""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from ws_bringup import parameters, progress, shared_memory
from ws_bringup.graph import make_graph, ros_arguments
from ws_bringup.locks import AlreadyRunning, run_locks
from ws_bringup.metrics import append_metrics, read_metrics, write_progress
from ws_bringup.session import EVALUATION_SHARE, prepare_folder, time_for_graph
from ws_bringup.settings import from_texts, make_settings
from ws_bringup.summary import EVALUATION, write_summary
from ws_driver_a1x.options import RelayOptions
from ws_world_model.dynamics import DynamicsOptions


@pytest.fixture
def settings(tmp_path):
    return make_settings({"run_dir": str(tmp_path / "run"), "minutes": 20.0, "seed": 3})


def by_name(settings):
    return {p.name: p for p in make_graph(settings)}


def test_the_twin_graph_has_every_part_once(settings):
    names = [p.name for p in make_graph(settings)]
    assert len(names) == len(set(names))
    assert not {"max_lead", "frozen_frames", "camera_mounts"} & set(by_name(settings)["driver"].parameters)
    assert set(names) == {"twin", "driver", "recorder", "operator", "policy", "learner", "world_model", "monitor"}


def test_everyone_waits_for_the_same_number_of_demonstrations(tmp_path):
    graph = by_name(from_texts({"demonstrations": "5", "run_dir": str(tmp_path)}))
    told = [graph[node].parameters[name] for node, name in (
        ("policy", "demonstrations"), ("learner", "learner.demonstrations"), ("world_model", "worker.demonstrations"))]
    assert told == [5, 5, 5]


def test_the_real_arm_has_cameras_and_a_person_instead_of_twin_and_script(tmp_path):
    graph = by_name(from_texts({"robot": "a1x", "run_dir": str(tmp_path), "side_camera_serial": "0123"}))
    assert not {"twin", "operator"} & set(graph)
    assert graph["side_camera"].package == "realsense2_camera"
    assert graph["side_camera"].full_name == "/a1x/side_camera"
    assert graph["side_camera"].parameters["serial_no"] == "_0123"
    depth = {"enable_depth": True, "align_depth.enable": True, "enable_sync": True,
             "depth_module.depth_profile": graph["side_camera"].parameters["rgb_camera.color_profile"]}
    assert depth.items() <= graph["wrist_camera"].parameters.items()
    real = {"max_lead": 0.015, "frozen_frames": 40, "camera_mounts": True}
    assert real.items() <= graph["driver"].parameters.items()
    assert graph["policy"].parameters["auto_enable"] is False
    assert graph["policy"].parameters["success_source"] == "operator"
    assert "success_detector" not in graph


def test_a_classifier_that_tells_success_is_a_process_that_nothing_waits_for(tmp_path):
    given = {"robot": "a1x", "success_source": "classifier", "run_dir": str(tmp_path), "namespace": "left"}
    graph = by_name(from_texts(given))
    detector = graph["success_detector"]
    assert graph["policy"].parameters["success_source"] == "classifier"
    assert detector.full_name == "/left/success_detector" and detector.background and not detector.required
    assert detector.parameters == {"use_sim_time": False, "task": "pushing", "run_dir": str(tmp_path)}


@pytest.mark.parametrize(("given", "message"), [
    ({"success_source": "hope"}, "success_source = 'hope': must be one of auto, twin, operator, classifier"),
    ({"success_source": "twin", "robot": "a1x"}, "success_source = 'twin': needs robot = 'twin'"),
    ({"success_source": "operator"}, "success_source = 'operator': needs operator = 'joystick'"),
])
def test_nobody_who_cannot_is_asked_for_success(given, message):
    with pytest.raises(ValueError, match=message):
        make_settings(given)


@pytest.mark.parametrize(("given", "teller"), [
    ({}, "twin"),
    ({"robot": "a1x"}, "operator"),
    ({"success_source": "operator", "operator": "joystick"}, "operator"),
    ({"success_source": "classifier"}, "classifier"),
])
def test_who_tells_success(given, teller):
    assert by_name(make_settings(given))["policy"].parameters["success_source"] == teller


def test_the_world_model_knows_how_far_the_driver_lets_the_target_lead(tmp_path):
    given = {"robot": "a1x", "mode": "worldsample", "run_dir": str(tmp_path), "side_camera_serial": "0123"}
    graph = by_name(from_texts(given))
    assert graph["world_model"].parameters["dynamics.lead"] == graph["driver"].parameters["max_lead"]
    assert DynamicsOptions().lead == RelayOptions().max_lead, "the twin's driver has its defaults"


def test_a_namespace_moves_everything_but_tf(tmp_path):
    graph = by_name(from_texts({"namespace": "left", "run_dir": str(tmp_path)}))
    assert graph["policy"].namespace == "/left"
    assert graph["driver"].full_name == "/left/a1x/driver"
    remappings = dict(graph["driver"].remappings)
    assert remappings["hdas/feedback_arm"] == "/left/hdas/feedback_arm"
    assert remappings["joint_states"] == "/left/joint_states"
    assert "/tf" not in remappings


def test_ros_arguments_name_a_file_with_the_parameters(settings):
    learner = by_name(settings)["learner"]
    words = ros_arguments(learner, settings)
    assert "__node:=learner" in words
    content = parameters.load_params_file(words[words.index("--params-file") + 1])
    assert content["/**"]["seed"] == 3


@pytest.mark.parametrize(
    ("pattern", "node", "meant"),
    [
        ("/**", "/a1x/driver", True),
        ("driver", "/a1x/driver", True),
        ("/a1x/driver", "/a1x/driver", True),
        ("/**/driver", "/left/a1x/driver", True),
        ("/left/a1x/driver", "/a1x/driver", False),
        ("drive", "/a1x/driver", False),
    ],
)
def test_node_patterns_of_parameter_files(pattern, node, meant):
    assert parameters.matches(pattern, node) is meant


@pytest.mark.parametrize("text", ["policy: 3", "[1, 2]", "policy: {ros__parameters: 3}", "a: [", "\x00"])
def test_a_damaged_parameter_file_is_named(tmp_path, text):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="params_file .*p.yaml"):
        parameters.load_params_file(str(file))


def test_the_exact_name_wins_over_a_wildcard():
    user = {"policy": {"rate": 5.0}, "/**": {"rate": 7.0, "seed": 1}}
    assert parameters.overlay({"rate": 10.0}, user, "/policy") == {"rate": 5.0, "seed": 1}


def test_metrics_survive_a_torn_last_row(tmp_path):
    append_metrics(tmp_path, {"a": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"a": ')
    assert list(read_metrics(tmp_path)) == [{"a": 1}]


def test_the_summary_adds_sessions_and_takes_the_evaluation(settings):
    folder = settings.folder
    folder.mkdir()
    rows = [
        {"session": 1.0, "wall_s": 60.0, "cpu_s": 30.0, "peak_rss_mib": 900.0, "policy_weight_lag_s": 0.2},
        {"session": 1.0, "wall_s": 120.0, "cpu_s": 90.0, "peak_rss_mib": 950.0, "policy_weight_lag_s": 0.5},
        {"session": 2.0, "wall_s": 60.0, "cpu_s": 60.0, "peak_rss_mib": 940.0, "policy_weight_lag_s": 0.1,
         "learner_state": "online", "learner_updates_per_s": 8.0, "learner_learner_step": 1234},
        *({"session": 2.0, "wall_s": 60.0, "cpu_s": 60.0, "policy_env_steps": 9, "policy_control_period_p99_ms": p99}
          for p99 in (103.0, 150.0, 104.0)),
    ]
    for row in rows:
        append_metrics(folder, row)
    (folder / EVALUATION).write_text(json.dumps({"success_rate": 0.9, "success_ci": [0.8, 0.95], "episodes": 50}))
    write_summary(settings)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["wall_minutes"] == 3.0
    assert summary["cpu_minutes"] == 2.5
    assert summary["peak_rss_mib"] == 950.0
    assert summary["weight_lag_s"] == 0.5
    assert summary["updates_per_s"] == 8.0
    assert summary["learner_steps"] == 1234
    assert summary["control_period_p99_ms"] == 104.0
    assert (summary["success_rate"], summary["eval_episodes"]) == (0.9, 50)
    assert summary["bc_success_rate"] is None
    assert summary["world_model_holdout_psnr"] is None


def test_the_summary_says_what_the_world_model_reached(settings):
    settings.folder.mkdir()
    for psnr in (25.0, 28.5):
        append_metrics(settings.folder, {"world_model_state": "generating", "world_model_holdout_psnr": psnr})
    append_metrics(settings.folder, {"world_model_state": "off", "world_model_holdout_psnr": 0.0})
    assert write_summary(settings)["world_model_holdout_psnr"] == 28.5


def test_the_mode_reaches_learner_and_world_model(tmp_path):
    idle = by_name(make_settings({"mode": "hil_serl"}))["world_model"].parameters
    assert not idle["active"]
    assert not [name for name in idle if "." in name], "off, it knows no options of its parts, and refuses them"
    given = make_settings({"mode": "fidelity_paced", "run_dir": str(tmp_path), "seed": 4})
    wanted = {"active": True, "worker.paced": True, "run_dir": str(tmp_path), "seed": 4, "task": "pushing"}
    assert wanted.items() <= by_name(given)["world_model"].parameters.items()
    assert by_name(given)["learner"].parameters["mode"] == "fidelity_paced"


def test_time_for_the_graph_leaves_the_evaluation_its_share(settings):
    assert time_for_graph(settings) == 60 * 15
    short = make_settings({"minutes": 4.0})
    assert time_for_graph(short) == 60 * 4.0 * (1 - EVALUATION_SHARE)
    assert time_for_graph(make_settings({"minutes": 4.0, "evaluation_episodes": 0})) == 240
    assert time_for_graph(make_settings({})) == 0


def test_without_resume_a_used_folder_is_refused(tmp_path):
    (tmp_path / "bags" / "one").mkdir(parents=True)
    with pytest.raises(ValueError, match="resume = False"):
        prepare_folder(make_settings({"run_dir": str(tmp_path), "resume": False}))


def test_locks_hold_against_another_and_end_with_their_context(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings.folder.mkdir()
    with run_locks(settings), pytest.raises(AlreadyRunning, match="pushing"), run_locks(settings):
        pass
    with run_locks(settings):
        pass


def test_only_abandoned_transport_files_are_removed(tmp_path):
    for name in ("fastrtps_1", "fastrtps_1_el", "fastrtps_2", "fastrtps_2_el", "fastrtps_3", "other"):
        (tmp_path / name).write_text("x" * 4096)
    holder = subprocess.Popen(
        [sys.executable, "-SE", "-c", f"f = open({str(tmp_path / 'fastrtps_3')!r}); print(1, flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    with (tmp_path / "fastrtps_2_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert shared_memory.clean(tmp_path) == 2
        assert sorted(os.listdir(tmp_path)) == ["fastrtps_2", "fastrtps_2_el", "fastrtps_3", "other"]
    holder.communicate(b"\n", timeout=10)
    assert shared_memory.clean(tmp_path) == 3
    assert os.listdir(tmp_path) == ["other"]


def test_plain_progress_shows_every_number(tmp_path, capsys):
    row = {"policy_episodes": 12, "policy_success_rate": 0.55, "learner_learner_step": 345, "rss_mib": 1500.0}
    write_progress(tmp_path, row)
    with progress.View("pushing", 10.0, headless=True) as view:
        view.show(row)
        view.show(row)  # within the period: nothing
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "episodes 12" in lines[0]
    assert "55%" in lines[0]
    assert "updates/s -" in lines[0]


def test_the_world_model_is_shown_once_it_has_a_version():
    assert "PSNR" not in dict(progress.cells({"world_model_version": 0, "world_model_holdout_psnr": 0.0}))
    shown = dict(progress.cells({"world_model_version": 3, "world_model_holdout_psnr": 29.94}))
    assert (shown["world model"], shown["PSNR"], shown["imagined"]) == ("v3", "29.9 dB", "-")


def test_the_relocated_are_shown_where_a_world_model_says_of_them():
    assert "relocated" not in dict(progress.cells({}))
    row = {"world_model_relocation_gate": "closed", "world_model_relocated": 0.0, "learner_imagined_share": 0.25}
    shown = dict(progress.cells(row))
    assert (shown["relocated"], shown["imitated from them"]) == ("0", "25%")


@pytest.mark.parametrize(("row", "words"), [
    ({}, ""),
    ({"world_model_state": "off", "world_model_gate": "closed", "world_model_gate_reason": "off"}, ""),
    ({"world_model_state": "waiting", "world_model_relocation_gate": "closed", "world_model_relocation_reason": "",
      "world_model_gate": "closed", "world_model_gate_reason": "there is no version yet"},
     "relocation: closed, perturbed rollouts: closed (there is no version yet)"),
    ({"world_model_state": "waiting", "world_model_relocation_gate": "closed",
      "world_model_relocation_reason": "no demonstration can be moved: no depth"},
     "relocation: closed (no demonstration can be moved: no depth)"),
    ({"world_model_state": "training", "world_model_relocation_gate": "open", "world_model_relocation_reason": "",
      "world_model_gate": "open", "world_model_gate_reason": "PSNR 31 dB"},
     "relocation: open, perturbed rollouts: open"),
])
def test_what_the_world_model_may_do_is_said_in_words(row, words):
    assert progress.gates_line(row) == words


def test_the_plain_line_ends_with_the_gates(capsys):
    with progress.View("pushing", 10.0, headless=True) as view:
        view.show({"world_model_state": "waiting", "world_model_relocation_gate": "open"})
    assert capsys.readouterr().out.rstrip().endswith("relocation: open")


def test_a_silent_node_is_said_to_be_silent():
    line = progress.state_line({"policy_state": "running", "policy_age_s": 9.0, "learner_state": "waiting",
                                "learner_waiting_for": "demonstrations: 3 of 20", "learner_age_s": 0.1})
    assert "policy: running (silent 9 s)" in line
    assert "learner: waiting for demonstrations: 3 of 20" in line
    assert "world_model: starting" in line

