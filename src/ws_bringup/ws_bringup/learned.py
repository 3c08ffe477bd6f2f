"""The learned world model in lockstep: the node's own worker, bags included, after each rollout."""

from __future__ import annotations

from pathlib import Path

from ws_bringup.lockstep import CONTROL_PERIOD, EnvState
from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import Episode
from ws_rollouts.summary import Summary
from ws_rollouts.task import Task
from ws_world_model.apprentice import Apprentice
from ws_world_model.counterfactuals import CounterfactualOptions
from ws_world_model.intake import Intake
from ws_world_model.report import numbers
from ws_world_model.rewards import RewardModel
from ws_world_model.store import Store
from ws_world_model.student import Student
from ws_world_model.training import Trainer
from ws_world_model.versions import Versions
from ws_world_model.worker import TRAINING, Worker, WorkerOptions

STATUS = ("version", "steps", "rounds_dropped", "holdout_psnr", "persistence_psnr", "reward_auc", "reward_threshold",
          "false_positive_rate", "confidence", "gate")


def make_student(task: Task, folder: Path, perturbation: CounterfactualOptions, seed: int = 0) -> Apprentice:
    """A world model and a reward model that know nothing yet, with the sizes of the cpu profile."""
    return Apprentice(Trainer(task, seed=seed), RewardModel(task, seed=seed), Versions(folder / "world_model"),
                      perturbation, seed)


class Learned:
    """Trains when the worker's rule says so, else makes as many synthetic rollouts as `unread` of its options says.

    `steps_per_step` are the most training steps per real step, beyond `worker.adapt_steps`; a round that needs more
    goes on after the next rollout. The clock counts control periods of real steps and CPU time counts as none, so that
    the same rollouts lead to the same work.
    """

    def __init__(self, task: Task, folder: Path, student: Student, worker: WorkerOptions, steps_per_step: float):
        self._task, self._bags = task, folder / "bags"
        self._allowed = lambda: worker.adapt_steps + steps_per_step * self._steps
        self._made: list[Summary] = []
        self._steps = 0
        self._intake = Intake(task, worker.held_out)
        self._worker = Worker(student, self._intake, Store(folder / "synthetic"), worker, announce=self._made.append,
                              clock=lambda: self._steps * CONTROL_PERIOD, cpu=lambda: 0.0)

    @property
    def version(self) -> int:
        """Of the weights in use, 0 before the first."""
        return self._worker.student.version

    @property
    def trusted(self) -> bool:
        """Whether the gate is open."""
        return self._worker.verdict.allowed

    @property
    def confidence(self) -> float:
        """As the gate measures it, 0 .. 1."""
        return self._worker.confidence

    @property
    def numbers(self) -> dict[str, float]:
        """What the generator counted, and how good the version in use is."""
        status = numbers(self._worker)
        return {**self._worker.counts, **{f"world_model_{name}": status[name] for name in STATUS}}

    def follow(self, episode: Episode, states: list[EnvState]) -> list[Episode]:
        """Learn from a real episode; what was imagined of it and others. `states` are not looked at."""
        self._steps += len(episode)
        self._intake.offer(str(write_episode(self._bags, episode)))
        self._made.clear()
        self._worker.unread = 0  # all of the last ones were read
        while self._worker.state[0] != TRAINING or self._worker.student.steps + 1 <= self._allowed():
            if not self._worker.work():
                break
        return [read_episode(Path(summary.uri), self._task) for summary in self._made]
