"""Ready-made episodes and bags for tests of this and other packages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ws_rollouts.bag import serialised
from ws_rollouts.episode import DEMONSTRATION, STATE_SIZE, VIEWS, Episode
from ws_rollouts.rgbd import RgbdStream
from ws_rollouts.schema import POLICY_TOPICS, Topic
from ws_rollouts.writer import BagWriter


def make_episode(
    steps: int = 10,
    *,
    episode_id: str = "pushing_test_0000",
    task: str = "pushing",
    size: int = 64,
    action_size: int = 4,
    outcome: str = "success",
    demonstration: bool = False,
    human: tuple[int, ...] = (),
    seed: int = 0,
) -> Episode:
    """A random but valid episode of `steps` actions; `human` are the indices of corrected steps.

    Each `seed` has a time of its own.
    """
    random = np.random.default_rng(seed)
    source = np.full(steps + 1, DEMONSTRATION if demonstration else 0, np.uint8)
    source[list(human)] = 1
    action = random.uniform(-1, 1, (steps + 1, action_size)).astype(np.float32)
    action[:, -1] = 0.0
    action[-1] = 0.0
    executed = np.zeros((steps + 1, action_size - 1), np.float32)
    executed[1:] = action[:-1, :-1]
    reward = np.zeros(steps + 1, np.float32)
    reward[-1] = outcome == "success"
    # a smooth picture with a little noise, so that it compresses as a rendered one does
    ramp = np.linspace(0, 200, size, dtype=np.float32)
    picture = (ramp[:, None, None] + ramp[None, :, None] * 0.2 + np.arange(3) * 5).astype(np.uint8)
    return Episode(
        episode_id=episode_id,
        task=task,
        frames={v: picture + random.integers(0, 4, (steps + 1, size, size, 3), np.uint8) for v in VIEWS},
        state=random.normal(0, 0.1, (steps + 1, STATE_SIZE)).astype(np.float32),
        action=action,
        executed=executed,
        reward=reward,
        source=source,
        stamp=(1_700_000_000 + 1000 * seed) * 10**9 + np.arange(steps + 1, dtype=np.int64) * 100_000_000,
        weights_version=np.full(steps + 1, 3, np.uint32),
        terminated=outcome in ("success", "failure"),
        truncated=outcome == "timeout",
    )


def make_rgbd(
    episode: Episode, views: tuple[str, ...] = VIEWS, every: int = 3, size: tuple[int, int] = (24, 40), seed: int = 0
) -> dict[str, RgbdStream]:
    """What depth cameras may have seen of an episode at each `every`-th step, `size` (height, width) px.

    The views' exposures are 5 ms apart.
    """
    random = np.random.default_rng(seed)
    found = {}
    for i, view in enumerate(views):
        stamp = episode.stamp[::every] + 5_000_000 * i
        shape, seconds = (len(stamp), *size), (stamp - episode.stamp[0])[:, None] / 1e9
        turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
        mount = np.eye(4)
        mount[:3, :3], mount[:3, 3] = turn * np.sign(np.linalg.det(turn)), random.uniform(-0.5, 0.5, 3)
        depth = random.integers(0, 2000, shape, np.uint16)
        depth[:, 0, 0] = 500
        found[view] = RgbdStream(
            stamp, random.integers(0, 256, (*shape, 3), np.uint8), depth,
            np.sin(seconds + np.arange(6)).astype(np.float32),
            np.clip(seconds[:, 0] / 10, 0, 1).astype(np.float32),
            np.array([306.2, 305.32, size[1] / 2 - 0.37, size[0] / 2 + 0.81]), mount)
    return found


def begin_bag(
    bags: Path, episode: Episode, parts: Iterable[tuple[str, bytes, int]] | None = None, namespace: str = ""
) -> BagWriter:
    """A bag in the making that holds the episode's messages, or `parts` in their place: absolute topic, CDR, stamp."""
    writer = BagWriter(bags, episode.episode_id)
    for topic in POLICY_TOPICS:
        writer.add_topic(Topic(f"{namespace}/{topic.name}", topic.type))
    for name, raw, stamp in serialised(episode) if parts is None else parts:
        writer.write(namespace + name, raw, stamp)
    return writer
