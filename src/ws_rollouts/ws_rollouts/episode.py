"""An episode in memory: the arrays that a bag holds, with T actions and T+1 observations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ws_rollouts.rgbd import RgbdStream

VIEWS = ("side", "wrist")
POLICY, HUMAN, DEMONSTRATION, SYNTHETIC = 0, 1, 2, 3  # as Step.SOURCE_*
SOURCE_NAMES = ("policy", "human", "demonstration", "synthetic")
OUTCOMES = ("success", "failure", "timeout", "aborted")

# Layout of Step.state, float32: name -> slice.
STATE = {
    "position": slice(0, 3),   # m, gripper_link in base_link
    "rotation": slice(3, 6),   # rad, rotation vector from TOOL_DOWN: roll-pitch-yaw is singular there
    "gripper": slice(6, 7),    # 0 closed .. 1 open
    "velocity": slice(7, 10),  # m/s
    "lag": slice(10, 13),      # m, locked target minus position
}
STATE_SIZE = 13

# Columns are gripper_link's x (approach), y and z axes in base_link when the tool points straight down.
TOOL_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


@dataclass
class Episode:
    """One rollout. Index t of reward, terminated, truncated and executed tells how observation t was reached.

    Shapes: frames[view] (T+1, S, S, 3) uint8 RGB; state (T+1, 13) float32; action (T+1, A) float32, last row zeros;
    executed (T+1, A-1) float32; reward (T+1,) float32; source (T+1,) uint8; stamp (T+1,) int64 ns;
    weights_version (T+1,) uint32; exposed[view] (T+1,) int64 ns, when the frames were taken (`stamp` where not given).
    rgbd[view]: what its depth camera saw, at a lower rate; empty where depth was not recorded, or not asked for.
    problems: why something was left out of rgbd when it was read -> exposures.
    """

    episode_id: str
    task: str
    frames: dict[str, np.ndarray]
    state: np.ndarray
    action: np.ndarray
    executed: np.ndarray
    reward: np.ndarray
    source: np.ndarray
    stamp: np.ndarray
    weights_version: np.ndarray
    terminated: bool
    truncated: bool
    notes: dict[str, str] = field(default_factory=dict)
    exposed: dict[str, np.ndarray] = field(default_factory=dict)
    rgbd: dict[str, RgbdStream] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        for view in VIEWS:
            self.exposed.setdefault(view, self.stamp)

    def __len__(self) -> int:
        """Actions taken, T."""
        return len(self.reward) - 1

    @property
    def success(self) -> bool:
        return self.terminated and float(self.reward[-1]) > 0

    @property
    def outcome(self) -> str:
        """One of OUTCOMES. The policy's aborts are timeouts here; without a flag the recording broke off."""
        if self.terminated:
            return "success" if self.success else "failure"
        return "timeout" if self.truncated else "aborted"

    @property
    def interventions(self) -> int:
        return int(np.sum(self.source[:-1] == HUMAN))

    @property
    def is_demonstration(self) -> bool:
        return bool(len(self.source)) and int(self.source[0]) == DEMONSTRATION
