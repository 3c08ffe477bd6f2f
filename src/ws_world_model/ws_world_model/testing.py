"""A student that learns by counting, for tests of the order of the work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ws_rollouts.episode import SYNTHETIC
from ws_rollouts.testing import make_episode


def synthetic(number: int, version: int = 1, label: str = "success", steps: int = 4):
    """A synthetic episode as the generator makes it."""
    outcome = "success" if label == "success" else "timeout"
    episode = make_episode(steps, episode_id=f"pushing-synthetic-test-{number:06d}", outcome=outcome, seed=number)
    episode.source = np.full(steps + 1, SYNTHETIC, np.uint8)
    episode.notes = {"world_model_version": str(version), "label": label, "parent": "somewhere"}
    return episode


@dataclass
class Score:
    psnr: float
    ssim: float = 0.9
    persistence_psnr: float = 20.0
    persistence_ssim: float = 0.8


class FakeStudent:
    """Gets `gain` dB better with each step; all its state is `skill`, and `disk` is what it saved."""

    seconds_per_chunk = frames_per_s = false_positive_rate = float("nan")
    reward_threshold = 0.9
    recall = 1.0
    rewards_ready = True
    rewards_due = rewards_stopped = False

    def __init__(self, gain: float = 1.0):
        self.version = self.steps = 0
        self.skill, self.gain, self.auc = 20.0, gain, 0.99
        self.added, self.trained_with, self.measured = [], [], []
        self.disk: dict[int, tuple[float, dict]] = {}
        self.full = False  # the disk
        self.generated = self.replays = 0

    def add(self, episode):
        self.added.append(episode.episode_id)

    def step(self):
        self.steps += 1
        self.skill += self.gain
        self.trained_with.append(frozenset(self.added))
        if not np.isfinite(self.skill):
            raise FloatingPointError("the loss is not finite")
        return {"total": 1.0 / self.steps}

    def step_rewards(self):
        return 0.1

    def score(self, episode):
        self.measured.append((episode.episode_id, len(self.trained_with)))
        return Score(self.skill)

    def disputes(self, episode):
        return False

    def reward_auc(self, held_out):
        return self.auc

    def snapshot(self):
        return self.skill, self.steps

    def restore(self, snapshot):
        self.skill, self.steps = snapshot

    def save(self, version, notes):
        if self.full:
            raise OSError(28, "No space left on device")
        self.disk[version] = (self.skill, dict(notes))
        self.version = version

    def generate(self, online, demos, replay_only=False, confidence=0.0):
        if replay_only:
            self.replays += 1
            return [], {"replay_right": 1}
        self.generated += 1
        labels = ("success", "failure")
        pair = [synthetic(2 * self.generated + i, self.version, label) for i, label in enumerate(labels)]
        return pair, {"success": 1, "failure": 1, "abstain": 1}
