"""An episode to a bag and back: one folder in rosbag2's layout, one MCAP file, one episode. Needs no ROS."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ws_rollouts import messages
from ws_rollouts.episode import STATE_SIZE, VIEWS, Episode
from ws_rollouts.frames import decode_frame, encode_frame
from ws_rollouts.reader import McapFile, mcap_path
from ws_rollouts.rgbd_bag import RgbdReader, rgbd_messages
from ws_rollouts.schema import (
    FRAMES,
    POLICY_TOPICS,
    RGBD_NEEDS,
    RGBD_TOPICS,
    ROBOT_TOPICS,
    STEP,
    STEP_TYPE,
    BagError,
)
from ws_rollouts.summary import STANDARD_NOTES, Summary
from ws_rollouts.task import Task
from ws_rollouts.writer import BagWriter

__all__ = ["BagError", "read_episode", "serialised", "write_episode"]

MAX_FRAME_BYTES = 512 << 20  # of one episode


def write_episode(bags: Path, episode: Episode, extra: Mapping[str, str] | None = None) -> Path:
    """Write `<bags>/<episode_id>/` and return it; `extra` joins the episode's notes in custom_data.

    What the depth cameras saw goes on their topics, with the frames, lenses and joint states that reading it needs.
    Raises BagError when the episode is there already, OSError as the disk does.
    """
    writer = BagWriter(bags, episode.episode_id)
    try:
        needed = [topic for topic in ROBOT_TOPICS if topic.name in RGBD_NEEDS]
        for topic in (*POLICY_TOPICS, *((*needed, *RGBD_TOPICS) if episode.rgbd else ())):
            writer.add_topic(replace(topic, name="/" + topic.name.lstrip("/")))
        together = heapq.merge(rgbd_messages(episode.rgbd), serialised(episode), key=lambda part: part[2])
        for topic, raw, stamp in together:
            writer.write(topic, raw, stamp)
        return writer.finish({**episode.notes, **(extra or {}), **Summary.of(episode).notes()})
    except BaseException:
        writer.discard()
        raise


def serialised(episode: Episode) -> Iterator[tuple[str, bytes, int]]:
    """What the policy node publishes in an episode: absolute topic, CDR, stamp in ns; a step's frames before it."""
    for t, stamp in enumerate(episode.stamp.tolist()):
        for view, name in FRAMES.items():
            yield "/" + name, encode_frame(episode.frames[view][t], stamp, view), stamp
        yield "/" + STEP, messages.encode(_step(episode, t, stamp)), stamp


def _step(episode: Episode, t: int, stamp: int) -> Any:
    last = t == len(episode)
    time = messages.time_message(stamp)
    exposed = {f"{view}_stamp": messages.time_message(int(episode.exposed[view][t])) for view in VIEWS}
    return messages.new(
        STEP_TYPE,
        header=messages.new("std_msgs/msg/Header", stamp=time, frame_id="base_link"),
        episode_id=episode.episode_id, task=episode.task, index=t, source=int(episode.source[t]),
        state=np.asarray(episode.state[t], np.float32), action=np.asarray(episode.action[t], np.float32),
        executed=np.asarray(episode.executed[t], np.float32), reward=float(episode.reward[t]),
        terminated=last and episode.terminated, truncated=last and episode.truncated,
        weights_version=int(episode.weights_version[t]), **exposed,
    )


def read_episode(folder: Path, task: Task | None = None, rgbd: bool = False,
                 exposures: int = 0) -> Episode:
    """Read and check the episode in a bag's folder; with `task` also its name, action and image size.

    With `rgbd` also what the depth cameras saw, or its first so many `exposures`; what of that is not fit for use is
    left out and told in `problems`.
    Of an episode that broke off, trailing steps that lack a frame are left out, and the last action is zeros.
    Raises BagError that names the path and what is wrong: damaged, cut off, empty, foreign, a view missing,
    steps missing or out of order, numbers not finite, sizes that do not fit.
    """
    path = mcap_path(folder)
    seen = RgbdReader(exposures) if rgbd else None
    steps, frames, notes = _collect(path, seen)
    _check_order(path, steps)
    stamps = [messages.nanoseconds(step.header.stamp) for step in steps]
    last = steps[-1]
    if not (last.terminated or last.truncated):
        _drop_unseen_tail(path, steps, stamps, frames)
    views = {view: _stack(path, view, frames[view], stamps) for view in VIEWS}
    episode = _assemble(path, steps, stamps, views, notes)
    if task is not None:
        _check_task(path, episode, task)
    if seen is not None:
        episode.rgbd, episode.problems = seen.streams(), dict(seen.problems)
    return episode


def _collect(
    path: Path, rgbd: RgbdReader | None
) -> tuple[list[Any], dict[str, dict[int, np.ndarray]], dict[str, str]]:
    """Steps in the order of the file, frames by view and stamp, custom data; `rgbd` gets what is its own."""
    names = {name: view for view, name in FRAMES.items()} | {STEP: ""}
    prefix = {}  # absolute topic -> view, "" for the steps

    def wanted(topic: str) -> bool:
        name = next((n for n in names if topic == n or topic.endswith("/" + n)), None)
        if name is not None:
            prefix[topic] = names[name]
        return name is not None or (rgbd is not None and rgbd.wants(topic))

    file = McapFile(path, wanted)
    steps: list[Any] = []
    frames: dict[str, dict[int, np.ndarray]] = {view: {} for view in VIEWS}
    held = 0
    for raw in file:
        if raw.topic not in prefix:
            rgbd.add(raw)
            continue
        view = prefix[raw.topic]
        held += len(raw.data)
        if held > MAX_FRAME_BYTES:
            raise BagError(path, f"more than {MAX_FRAME_BYTES} bytes of steps and frames")
        try:
            if view:
                stamp, frame = decode_frame(raw.data, raw.type)
                frames[view][stamp] = frame
            else:
                steps.append(messages.decode(raw.data, STEP_TYPE))
        except ValueError as error:
            raise BagError(path, f"{raw.topic}: {error}") from error
    if file.damage:
        raise BagError(path, "; ".join(file.damage))
    if len({t for t, view in prefix.items() if not view}) != 1:
        raise BagError(path, f"must have one topic that ends in {STEP}")
    return steps, frames, file.notes


def _check_order(path: Path, steps: list[Any]) -> None:
    if not steps:
        raise BagError(path, "no steps")
    first = steps[0]
    for index, step in enumerate(steps):
        if (step.episode_id, step.task) != (first.episode_id, first.task):
            raise BagError(path, f"step {index} is of {step.episode_id} ({step.task}), not of {first.episode_id}")
        if step.index != index:
            raise BagError(path, f"step {index} is missing or out of place: found {step.index}")
        if (step.terminated or step.truncated) and index != len(steps) - 1:
            raise BagError(path, f"goes on after step {index}, which ended it")
    stamps = [messages.nanoseconds(step.header.stamp) for step in steps]
    for index in range(1, len(stamps)):
        if stamps[index] <= stamps[index - 1]:
            raise BagError(path, f"stamp of step {index} is not after the one before")


def _drop_unseen_tail(path: Path, steps: list[Any], stamps: list[int], frames: dict[str, dict[int, Any]]) -> None:
    for view in VIEWS:
        if not frames[view]:
            raise BagError(path, f"no frames on {FRAMES[view]}")
    while steps and any(stamps[len(steps) - 1] not in frames[view] for view in VIEWS):
        steps.pop()
    del stamps[len(steps):]


def _stack(path: Path, view: str, frames: dict[int, np.ndarray], stamps: list[int]) -> np.ndarray:
    if not frames:
        raise BagError(path, f"no frames on {FRAMES[view]}")
    for index, stamp in enumerate(stamps):
        if stamp not in frames:
            raise BagError(path, f"step {index} has no frame on {FRAMES[view]} with its stamp")
    chosen = [frames[stamp] for stamp in stamps]
    shapes = {frame.shape for frame in chosen}
    if len(shapes) > 1:
        raise BagError(path, f"frames on {FRAMES[view]} change their size: {sorted(shapes)}")
    return np.stack(chosen)


def _assemble(
    path: Path, steps: list[Any], stamps: list[int], frames: dict[str, np.ndarray], notes: dict[str, str]
) -> Episode:
    if len(steps) < 2:
        raise BagError(path, "no action in it")
    first, last = steps[0], steps[-1]
    size = len(first.action)
    action = _matrix(path, "action", [s.action for s in steps], size)
    if np.abs(action).max() > 1.001:
        raise BagError(path, f"action {np.abs(action).max():g} is outside -1 .. 1")
    action[-1] = 0.0  # its outcome was not seen
    source = np.array([s.source for s in steps])
    if source.max() > 3:
        raise BagError(path, f"source {source.max()} is unknown")
    return Episode(
        episode_id=first.episode_id, task=first.task, frames=frames,
        state=_matrix(path, "state", [s.state for s in steps], STATE_SIZE), action=action,
        executed=_matrix(path, "executed", [s.executed for s in steps], size - 1),
        reward=_matrix(path, "reward", [[s.reward] for s in steps], 1)[:, 0],
        source=source.astype(np.uint8), stamp=np.array(stamps, np.int64),
        weights_version=np.array([s.weights_version for s in steps], np.uint32),
        terminated=bool(last.terminated), truncated=bool(last.truncated),
        notes={k: v for k, v in notes.items() if k not in STANDARD_NOTES},
        exposed={v: np.array([messages.nanoseconds(getattr(s, f"{v}_stamp")) for s in steps], np.int64) for v in VIEWS},
    )


def _matrix(path: Path, name: str, rows: list[Any], size: int) -> np.ndarray:
    """(T+1, size) float32, finite."""
    for index, row in enumerate(rows):
        if len(row) != size or size < 1:
            raise BagError(path, f"{name} of step {index} has {len(row)} numbers, not {size}")
    matrix = np.array(rows, np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise BagError(path, f"{name} of step {bad[0]} is not finite")
    return matrix


def _check_task(path: Path, episode: Episode, task: Task) -> None:
    if episode.task != task.name:
        raise BagError(path, f"is of task {episode.task!r}, not {task.name!r}")
    if episode.action.shape[1] != task.action_size:
        raise BagError(path, f"actions have {episode.action.shape[1]} numbers, {task.name} has {task.action_size}")
    for view, frames in episode.frames.items():
        if frames.shape[1:] != (task.image_size, task.image_size, 3):
            raise BagError(path, f"{view} frames are {frames.shape[2]}x{frames.shape[1]}, not {task.image_size} square")
