"""Behaviour cloning alone: the baseline that every learning claim is set beside."""

from __future__ import annotations

from collections.abc import Iterable

from ws_policy.networks import NetworkOptions
from ws_policy.weights import Packet, arrays, pack
from ws_ppl.replay import Replay
from ws_ppl.sac import Sac, SacOptions
from ws_rollouts.episode import Episode
from ws_rollouts.task import Task


def clone(
    task: Task, demonstrations: Iterable[Episode], steps: int = 2000, batch_size: int = 256, seed: int = 0
) -> Packet:
    """Train the same policy network on successful demonstrations only, with the same augmentation.

    Raises ValueError when there is no successful demonstration.
    """
    successes = [e for e in demonstrations if e.is_demonstration and e.success]
    if not successes:
        raise ValueError("no successful demonstration among the rollouts")
    replay = Replay(task, sum(len(e) + 1 for e in successes), seed)
    for episode in successes:
        replay.add(episode)
    agent = Sac(task, SacOptions(), NetworkOptions(), seed)
    for _ in range(steps):
        agent.imitate(replay.sample({"demo": batch_size}, n_step=1, gamma=1.0))
    return pack(arrays(agent.acting), f"bc-{seed}", 1, steps)
