"""summary.json: what a run was, what it cost and what it reached."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from ws_bringup.machine import describe_commit, describe_machine
from ws_bringup.metrics import read_json, read_metrics, write_json
from ws_bringup.settings import Settings

SUMMARY = "summary.json"
EVALUATION = "evaluation.json"
DETERMINISTIC = "evaluation_mean.json"
BASELINE = "evaluation_bc.json"
CHECKPOINT_WEIGHTS = Path("checkpoints", "policy.safetensors")

# name in the summary -> key of the last row of metrics.jsonl that has it; the policy counts over all sessions of a run
_LAST = {
    "env_steps": "policy_env_steps",
    "learner_steps": "learner_learner_step",
    "episodes": "policy_episodes",
    "demos": "policy_demonstrations",
    "training_success_rate": "policy_success_rate",
    "intervention_rate": "policy_intervention_rate",
    "imagined_transitions": "learner_imagined_transitions",
    "imagined_share": "learner_imagined_share",
}
# of the last row in which a world model was at work
_WORLD_MODEL = tuple(f"world_model_{name}" for name in (
    "version", "steps", "holdout_psnr", "holdout_ssim", "persistence_psnr", "persistence_ssim", "reward_auc",
    "false_positive_rate", "gate", "seconds_per_chunk", "frames_per_s", "synthetic", "synthetic_success",
    "synthetic_failure", "generated_success", "generated_failure", "generated_abstain", "bags_rejected",
    "rounds_dropped", "relocation_gate", "relocation_reason", "relocated", "relocation_dropped", "relocation_donors",
    "cpu_share", "rss_mib"))
# name in the summary -> key of which the median over the rows of running policies is taken; the rows hold
# percentiles of the last minute each
_TYPICAL = {
    "control_period_p50_ms": "policy_control_period_p50_ms",
    "control_period_p99_ms": "policy_control_period_p99_ms",
    "image_to_command_p50_ms": "policy_image_to_command_p50_ms",
    "image_to_command_p99_ms": "policy_image_to_command_p99_ms",
    "camera_delivery": "policy_camera_delivery",
}


def write_summary(settings: Settings) -> dict[str, Any]:
    """Gather summary.json from metrics.jsonl and the evaluations, write it and return it.

    Numbers that nobody measured are null.
    """
    folder = settings.folder
    results = (read_json(folder / name) for name in (EVALUATION, DETERMINISTIC, BASELINE))
    summary = summarise(settings, list(read_metrics(folder)), *results)
    write_json(folder / SUMMARY, summary)
    return summary


def summarise(
    settings: Settings, rows: list[dict], evaluation: dict, deterministic: dict, baseline: dict
) -> dict[str, Any]:
    """The summary's content; `rows` are metrics, oldest first, of all sessions of the run."""
    sessions = {row.get("session"): row for row in rows}  # the last row of each
    updates = [r["learner_updates_per_s"] for r in rows if r.get("learner_state") == "online"]
    imagining = [r for r in rows if r.get("world_model_state", "off") != "off"]
    return {
        "task": settings.task,
        "mode": settings.mode,
        "robot": settings.robot,
        "seed": settings.seed,
        "commit": describe_commit(),
        "machine": describe_machine(),
        "profile": "cpu",
        "wall_minutes": _minutes(sessions.values(), "wall_s"),
        "cpu_minutes": _minutes(sessions.values(), "cpu_s"),
        **{name: _last(rows, key) for name, key in _LAST.items()},
        **{name: _median(rows, key) for name, key in _TYPICAL.items()},
        **{name: _last(imagining, name) for name in _WORLD_MODEL},
        "success_rate": evaluation.get("success_rate"),
        "success_ci": evaluation.get("success_ci"),
        "eval_episodes": evaluation.get("episodes"),
        "deterministic_success_rate": deterministic.get("success_rate"),
        "bc_success_rate": baseline.get("success_rate"),
        "bc_success_ci": baseline.get("success_ci"),
        "weight_lag_s": max((r["policy_weight_lag_s"] for r in rows if "policy_weight_lag_s" in r), default=None),
        "updates_per_s": round(sum(updates) / len(updates), 2) if updates else None,
        "peak_rss_mib": max((r["peak_rss_mib"] for r in rows if "peak_rss_mib" in r), default=None),
    }


def _last(rows: list[dict], key: str) -> Any:
    return next((row[key] for row in reversed(rows) if key in row), None)


def _median(rows: list[dict], key: str) -> Any:
    running = [row[key] for row in rows if row.get("policy_env_steps") and row.get(key) is not None]
    return statistics.median(running) if running else None


def _minutes(rows, key: str) -> float:
    return round(sum(row.get(key, 0.0) for row in rows) / 60, 2)
