"""Over-estimation: what the critics say of real states minus what was then earned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ws_policy.backbone import look
from ws_ppl.sac import Sac
from ws_rollouts.episode import VIEWS, Episode

CLEAR = 50  # steps before a time limit from which on its states are left out: what would have followed is unknown


def monte_carlo(episode: Episode, gamma: float) -> np.ndarray:
    """Discounted return of each of the episode's actions whose return is known, (T,) or shorter."""
    length = len(episode) if episode.terminated else max(0, len(episode) - CLEAR)
    steps_left = len(episode) - 1 - np.arange(length)
    return (episode.success * gamma**steps_left).astype(np.float32)


def value_bias(agent: Sac, episodes: Sequence[Episode], states: int = 256, seed: int = 0) -> dict[str, float]:
    """Over so many states of episodes of the present policy: means of value, return, and value minus return.

    The episodes must not have been learned from. Empty when none of their returns are known.
    """
    pairs = [(episode, t, earned) for episode in episodes
             for t, earned in enumerate(monte_carlo(episode, agent.options.gamma))]
    if not pairs:
        return {}
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:states]
    picked = [pairs[i] for i in chosen]
    maps = look({view: np.stack([e.frames[view][t] for e, t, _ in picked]) for view in VIEWS})
    values = agent.values(maps, np.stack([e.state[t] for e, t, _ in picked]),
                          np.stack([e.action[t] for e, t, _ in picked]))
    earned = np.array([value for *_, value in picked])
    return {"q_held_out": float(values.mean()), "return_held_out": float(earned.mean()),
            "q_bias": float((values - earned).mean())}
