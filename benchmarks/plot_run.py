"""Draws one picture of a run: what the cameras and the policy saw in an episode, and the curves of its metrics.

python benchmarks/plot_run.py runs/pushing --output docs/images/running.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ws_bringup.metrics import read_json, read_metrics
from ws_bringup.summary import SUMMARY
from ws_rollouts import messages
from ws_rollouts.bag import read_episode
from ws_rollouts.catalog import finished
from ws_rollouts.episode import DEMONSTRATION, VIEWS, Episode
from ws_rollouts.reader import mcap_path, read_messages
from ws_rollouts.summary import Summary

COLUMNS = 6  # moments of the episode, from its first observation to its last
JPEG = "sensor_msgs/msg/CompressedImage"
PERIOD_LIMIT_MS = 110.0  # the control period's p99 should stay below it


def choose(bags: Path, episode_id: str = "") -> Summary:
    """The episode that was asked for, else the last one that the policy won, else the last success of any kind.

    Raises ValueError when there is none.
    """
    episodes = [s for s in finished(bags)[0] if s.steps]
    if episode_id:
        found = [s for s in episodes if s.episode_id == episode_id]
    else:
        successes = [s for s in episodes if s.outcome == "success"]
        found = [s for s in successes if s.source != DEMONSTRATION and not s.interventions] or successes or episodes
    if not found:
        raise ValueError(f"{bags}: no episode {episode_id}".rstrip())
    return found[-1]


def camera_frames(folder: Path, stamps: Sequence[int]) -> dict[str, list[np.ndarray | None]]:
    """For each view the camera's picture (H, W, 3) RGB nearest to each stamp (ns); None where none was recorded."""
    raw: dict[str, list[tuple[int, bytes]]] = {view: [] for view in VIEWS}
    for message in read_messages(mcap_path(folder)):
        if message.type == JPEG:
            picture = messages.decode(message.data, JPEG)
            view = next(v for v in VIEWS if f"{v}_camera" in message.topic)
            raw[view].append((messages.nanoseconds(picture.header.stamp), bytes(picture.data)))
    return {view: [_nearest(pictures, stamp) for stamp in stamps] for view, pictures in raw.items()}


def _nearest(pictures: list[tuple[int, bytes]], stamp: int) -> np.ndarray | None:
    if not pictures:
        return None
    data = min(pictures, key=lambda p: abs(p[0] - stamp))[1]
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def run_minutes(rows: list[dict]) -> np.ndarray:
    """Minutes of running time at each row of metrics.jsonl; pauses between sessions are left out. (N,)"""
    minutes, before, session, last = [], 0.0, None, 0.0
    for row in rows:
        if row["session"] != session:
            session, before = row["session"], before + last
        last = row["wall_s"]
        minutes.append((before + last) / 60)
    return np.array(minutes)


def draw(folder: Path, summary: Summary, episode: Episode) -> plt.Figure:
    """The whole picture."""
    moments = np.linspace(0, len(episode), COLUMNS).round().astype(int)
    cameras = camera_frames(Path(summary.uri), episode.stamp[moments].tolist())
    figure = plt.figure(figsize=(12, 10), layout="constrained")
    pictures, curves = figure.subfigures(2, 1, height_ratios=(1.35, 1))
    _draw_pictures(pictures, episode, moments, cameras)
    _draw_curves(curves, list(read_metrics(folder)), read_json(folder / SUMMARY))
    return figure


def _draw_pictures(figure, episode: Episode, moments: np.ndarray, cameras: dict) -> None:
    rows = [(f"{view} camera", cameras[view]) for view in VIEWS]
    size = episode.frames[VIEWS[0]].shape[1]
    rows += [(f"policy, {view}\n{size}x{size}", list(episode.frames[view][moments])) for view in VIEWS]
    start = episode.stamp[0]
    axes = figure.subplots(len(rows), COLUMNS, gridspec_kw={"height_ratios": (1, 1, 1.15, 1.15)})
    for (name, frames), line in zip(rows, axes, strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for axis, frame in zip(line, frames, strict=True):
            axis.set(xticks=[], yticks=[])
            if frame is not None:
                axis.imshow(frame, interpolation="nearest")
    for axis, moment in zip(axes[0], moments, strict=True):
        axis.set_title(f"step {moment}, {(episode.stamp[moment] - start) * 1e-9:.1f} s", fontsize=9)
    figure.suptitle(f"{episode.task}: {_who(episode)}, {episode.outcome} after {len(episode)} steps", fontsize=11)


def _who(episode: Episode) -> str:
    if episode.is_demonstration:
        return "a demonstration"
    return f"the policy with {episode.interventions} steps of help" if episode.interventions else "the policy alone"


def _draw_curves(figure, rows: list[dict], result: dict) -> None:
    left, right = figure.subplots(1, 2)
    told = [r for r in rows if r.get("policy_episodes", 0) > 0]
    steps = [r["policy_env_steps"] for r in told]
    left.plot(steps, [r["policy_success_rate"] for r in told], label="success with help, last 20 episodes")
    left.plot(steps, [r["policy_intervention_rate"] for r in told], label="share of steps with help, same window")
    for key, name, style in (("success_rate", "learnt policy", "--"), ("bc_success_rate", "cloning alone", ":")):
        if result.get(key) is not None:
            text = f"{name}, {result['eval_episodes']} episodes without interventions"
            left.axhline(result[key], linestyle=style, color="0.3", label=text)
    left.set(xlabel="real steps", ylim=(-0.02, 1.02))
    left.legend(fontsize=8)
    timed = np.array([r.get("policy_control_period_p99_ms", 0.0) > 0 for r in rows], bool)
    period = [r["policy_control_period_p99_ms"] for r, good in zip(rows, timed, strict=True) if good]
    right.plot(run_minutes(rows)[timed], period, label="control period, p99")
    right.axhline(PERIOD_LIMIT_MS, linestyle="--", color="0.3", label=f"limit, {PERIOD_LIMIT_MS:.0f} ms")
    right.set(xlabel="running time, min", ylabel="ms", ylim=(90, max([130.0, *np.multiply(1.05, period)])))
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)


def main(words: Sequence[str] | None = None) -> int:
    """Write the picture; 0, or 2 with an error that says what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--output", type=Path, help="PNG to write; default: running.png in the run folder")
    parser.add_argument("--episode", default="", help="id of the episode to show; default: the policy's last success")
    arguments = parser.parse_args(words)
    output = arguments.output or arguments.run / "running.png"
    try:
        summary = choose(arguments.run / "bags", arguments.episode)
        figure = draw(arguments.run, summary, read_episode(Path(summary.uri)))
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=110)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{output}: episode {summary.episode_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
