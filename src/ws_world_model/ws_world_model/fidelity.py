"""How true a world model is: imagined against real frames at several horizons, always beside persistence."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ws_rollouts.episode import STATE, VIEWS
from ws_world_model.cases import Case, imagine_all, replay_case, replay_cases
from ws_world_model.imagination import Dynamics, Imagined
from ws_world_model.metrics import find_lpips, moving, psnr, squared_error, ssim
from ws_world_model.reward_network import WINDOW

__all__ = ["HORIZONS", "Case", "Report", "replay_case", "replay_cases", "score"]

HORIZONS = (1, 12, 48, "full")
DONE = 0.5  # the dynamics' own probability from which a trajectory counts as a success
POOLED = "pooled"


@dataclass(frozen=True)
class Scores:
    """Of one predictor: means over cases of means over frames. dB for PSNR; NaN where there was nothing to score."""

    psnr: float  # mean over the first h frames
    ssim: float
    lpips: float
    psnr_at: float  # at exactly h
    ssim_at: float
    psnr_moving: float  # of the pixels that move, by the mean error of a case's first h frames
    psnr_moving_frames: float  # of whole frames in which any pixel moves


@dataclass(frozen=True)
class Row:
    """One view ("pooled": both) at one horizon, scored over the cases that are at least so long."""

    view: str
    horizon: int | str
    cases: int
    moving_share: float  # of pixels
    moving_frames: float  # share of frames in which any pixel moves
    model: Scores
    persistence: Scores


@dataclass(frozen=True)
class Outcomes:
    """How often an imagined outcome agrees with the real one, by one judge; shares are of the cases judged."""

    judge: str
    cases: int
    abstained: int
    agreement: float
    failures: int  # real ones, judged
    false_positives: int
    successes: int
    false_negatives: int


@dataclass(frozen=True)
class CaseScore:
    """One case, for a list of the best and the worst."""

    episode_id: str
    start: int
    steps: int
    success: bool
    psnr: float  # pooled, all frames
    persistence: float
    outcome: dict[str, str] = field(default_factory=dict)  # judge -> success, failure or abstain


@dataclass(frozen=True)
class Report:
    """What `score` finds. `position_error`: horizon -> model's and persistence's mean distance at it, m."""

    rows: list[Row]
    outcomes: list[Outcomes]
    position_error: dict[str, tuple[float, float]]
    cases: list[CaseScore]
    lpips: str  # "" or why there is none
    frames_per_second: float  # imagined, each view counted

    def row(self, view: str, horizon: int | str) -> Row:
        """Raises KeyError when it was not asked for."""
        for row in self.rows:
            if (row.view, row.horizon) == (view, horizon):
                return row
        raise KeyError((view, horizon))


def score(
    dynamics: Dynamics,
    cases: Sequence[Case],
    horizons: Sequence[int | str] = HORIZONS,
    rewards: Any = None,
    progress: Any = None,
) -> Report:
    """Imagine every case and compare it with the truth, as the copy of its start frame is compared.

    A case counts at horizon h when it has h steps or more; "full" is every case to its end. `rewards`: a
    `rewards.RewardModel` that judges outcomes beside the dynamics itself. `progress` is called with the number done.
    Raises ValueError without cases.
    """
    if not cases:
        raise ValueError("no cases to score")
    measure, missing = find_lpips()
    curves: list[Any] = [None] * len(cases)
    verdicts: dict[str, list[str]] = {}
    began, spent = time.monotonic(), 0.0
    for done, (i, imagined) in enumerate(imagine_all(dynamics, cases), 1):
        spent += time.monotonic() - began
        curves[i] = _curves(cases[i], imagined, measure)
        for judge, verdict in _verdicts(cases[i], imagined, rewards).items():
            verdicts.setdefault(judge, [""] * len(cases))[i] = verdict
        if progress:
            progress(done)
        began = time.monotonic()
    rows = [_row(view, h, [c for c in curves if h == "full" or len(c.position) >= h])
            for h in horizons for view in (*VIEWS, POOLED)]
    return Report(
        rows=rows,
        outcomes=[_outcomes(judge, said, cases) for judge, said in verdicts.items()],
        position_error={str(h): _position_error(h, curves) for h in horizons},
        cases=[_case_score(case, c, {j: v[i] for j, v in verdicts.items()})
               for i, (case, c) in enumerate(zip(cases, curves, strict=True))],
        lpips=missing,
        frames_per_second=sum(map(len, cases)) * len(VIEWS) / max(spent, 1e-9),
    )


# One case


@dataclass(frozen=True)
class _Curve:
    """One predictor and view against the truth; (T,) float64 each."""

    psnr: np.ndarray
    ssim: np.ndarray
    lpips: np.ndarray
    moving_error: np.ndarray  # squared error of the moving pixels on [0, 1], summed over them


@dataclass(frozen=True)
class _Curves:
    model: dict[str, _Curve]
    persistence: dict[str, _Curve]
    moving: dict[str, np.ndarray]  # (T,) moving pixels
    pixels: int
    position: np.ndarray  # (T, 2) m, how far the model's and the start's position is from the real one


def _curves(case: Case, imagined: Imagined, measure: Any) -> _Curves:
    model, persistence, counts = {}, {}, {}
    for view in VIEWS:
        truth, start = case.frames[view], case.episode.frames[view][case.start]
        mask = moving(truth, start)
        counts[view] = mask.sum(axis=(1, 2))
        model[view] = _curve(truth, imagined.frames[view][0], mask, measure)
        persistence[view] = _curve(truth, np.broadcast_to(start, truth.shape), mask, measure)
    real = case.state[:, STATE["position"]].astype(float)
    start = case.episode.state[case.start, STATE["position"]]
    guesses = (imagined.state[0][:, STATE["position"]], start)
    position = np.stack([np.linalg.norm(guess - real, axis=1) for guess in guesses], axis=1)
    return _Curves(model, persistence, counts, mask[0].size, position)


def _curve(truth: np.ndarray, guess: np.ndarray, mask: np.ndarray, measure: Any) -> _Curve:
    error = squared_error(truth, guess) / (3 * 255.0**2)
    return _Curve(
        psnr(error.mean(axis=(1, 2))), ssim(truth, guess),
        measure(truth, guess) if measure else np.full(len(truth), np.nan),
        np.where(mask, error, 0.0).sum(axis=(1, 2)),
    )


def _verdicts(case: Case, imagined: Imagined, rewards: Any) -> dict[str, str]:
    """What each judge says of the imagined trajectory; "rewards, real" sees the real one: its own errors alone."""
    said = {"dynamics": "success" if float(imagined.reward[0].max()) >= DONE else "failure"}
    if rewards is not None:
        said["rewards"] = _label(rewards, case, {view: imagined.frames[view][0] for view in VIEWS}, imagined.state[0])
        said["rewards, real"] = _label(rewards, case, case.frames, case.state)
    return said


def _label(rewards: Any, case: Case, frames: dict[str, np.ndarray], state: np.ndarray) -> str:
    lead = min(case.start, WINDOW - 1)  # real observations that give the first windows their history
    real = slice(case.start - lead, case.start + 1)
    seen = {view: np.concatenate((case.episode.frames[view][real], frames[view])) for view in VIEWS}
    state = np.concatenate((case.episode.state[real], state))
    return rewards.label(rewards.predict(seen, state)[:, lead + 1 :]).kind


# All cases


def _row(view: str, horizon: int | str, curves: list[_Curves]) -> Row:
    views = VIEWS if view == POOLED else (view,)
    ends = [len(c.position) if horizon == "full" else int(horizon) for c in curves]
    counts = [c.moving[v][:end] for c, end in zip(curves, ends, strict=True) for v in views]
    pixels = [c.pixels for c in curves for _ in views]

    def scores(name: str) -> Scores:
        parts = [(getattr(c, name)[v], end) for c, end in zip(curves, ends, strict=True) for v in views]
        moved = [(*part, n) for part, n in zip(parts, counts, strict=True) if n.any()]
        return Scores(
            psnr=_mean([p.psnr[:end].mean() for p, end in parts]),
            ssim=_mean([p.ssim[:end].mean() for p, end in parts]),
            lpips=_mean([p.lpips[:end].mean() for p, end in parts]),
            psnr_at=_mean([p.psnr[end - 1] for p, end in parts]),
            ssim_at=_mean([p.ssim[end - 1] for p, end in parts]),
            psnr_moving=_mean([psnr(p.moving_error[:end].sum() / n.sum()) for p, end, n in moved]),
            psnr_moving_frames=_mean([p.psnr[:end][n > 0].mean() for p, end, n in moved]),
        )

    return Row(
        view, horizon, len(curves),
        _mean([n.mean() / size for n, size in zip(counts, pixels, strict=True)]),
        _mean([(n > 0).mean() for n in counts]),
        scores("model"), scores("persistence"),
    )


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else math.nan


def _position_error(horizon: int | str, curves: list[_Curves]) -> tuple[float, float]:
    index = -1 if horizon == "full" else int(horizon) - 1
    errors = [c.position[index] for c in curves if len(c.position) > index]
    return tuple(np.mean(errors, axis=0).tolist()) if errors else (math.nan, math.nan)


def _outcomes(judge: str, said: list[str], cases: Sequence[Case]) -> Outcomes:
    judged = [(word == "success", case.success) for word, case in zip(said, cases, strict=True) if word != "abstain"]
    return Outcomes(
        judge, len(cases), len(cases) - len(judged), _mean([guess == real for guess, real in judged]),
        failures=sum(not real for _, real in judged), false_positives=sum(g and not real for g, real in judged),
        successes=sum(real for _, real in judged), false_negatives=sum(real and not g for g, real in judged),
    )


def _case_score(case: Case, curves: _Curves, outcome: dict[str, str]) -> CaseScore:
    return CaseScore(
        case.episode.episode_id, case.start, len(case), case.success,
        _mean([curves.model[v].psnr.mean() for v in VIEWS]), _mean([curves.persistence[v].psnr.mean() for v in VIEWS]),
        outcome,
    )
