"""The worker's numbers, flat, as ws_interfaces/WorldModelStatus names them."""

from __future__ import annotations

import math
from typing import Any

from ws_world_model.worker import Worker


def numbers(worker: Worker) -> dict[str, Any]:
    """Fields of the status message but header, rollouts_seen, cpu_share and rss_mib; 0 for what is not known yet."""
    student, score = worker.student, worker.score
    state, reason = worker.state
    verdict = worker.verdict
    labels = worker.store.counts
    floats = {
        "holdout_psnr": score and score.psnr,
        "holdout_ssim": score and score.ssim,
        "persistence_psnr": score and score.persistence_psnr,
        "persistence_ssim": score and score.persistence_ssim,
        "reward_auc": worker.reward_auc,
        "false_positive_rate": student.false_positive_rate,
        "reward_recall": student.recall,
        "reward_threshold": student.reward_threshold,
        "training_loss": worker.losses.get("total"),
        "classifier_loss": worker.losses.get("classifier"),
        "seconds_per_chunk": student.seconds_per_chunk,
        "frames_per_s": student.frames_per_s,
        "confidence": worker.confidence,
        "synthetic_mib": worker.store.bytes / 2**20,
    }
    return {
        "state": state,
        "reason": reason,
        "version": student.version,
        "steps": student.steps,
        "episodes": worker.intake.episodes,
        "demonstrations": worker.intake.demonstrations,
        "bags_rejected": sum(worker.intake.rejected.values()),
        "rounds_dropped": worker.rounds_dropped,
        "gate": verdict.state,
        "gate_reason": verdict.reason,
        "relocation_gate": worker.relocator.gate[0],
        "relocation_reason": worker.relocator.gate[1],
        "relocated": worker.store.relocated,
        "relocation_dropped": worker.relocator.dropped.total(),
        "relocation_donors": worker.relocator.donors,
        "label_precision": worker.relocator.precision,
        "queue": worker.queue,
        "synthetic": len(worker.store),
        "synthetic_success": labels.get("success", 0),
        "synthetic_failure": labels.get("failure", 0),
        "synthetic_transitions": worker.store.transitions,
        "generated_success": worker.counts["success"],
        "generated_failure": worker.counts["failure"],
        "generated_abstain": worker.counts["abstain"],
        **{name: float(value) if value is not None and math.isfinite(value) else 0.0 for name, value in floats.items()},
    }
