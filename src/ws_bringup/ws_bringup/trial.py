"""One cell of an experiment: one mode, one seed, in lockstep, from demonstrations to the last evaluation."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ws_bringup.evaluate import rollouts, summary
from ws_bringup.guidance import guidance
from ws_bringup.learned import Learned, make_student
from ws_bringup.lockstep import Env, EnvState, ask, play
from ws_bringup.oracle import Oracle
from ws_bringup.relocation import misplaced, relocated
from ws_node.options import build, option
from ws_policy.exploration import EXPLORATION
from ws_policy.networks import NetworkOptions
from ws_policy.observation import Observation
from ws_policy.operator import OperatorOptions, ScriptedOperator
from ws_policy.runtime import choose
from ws_ppl.bias import value_bias
from ws_ppl.learner import Learner, LearnerOptions
from ws_ppl.modes import MODES
from ws_ppl.sac import SacOptions
from ws_ppl.schedule import ScheduleOptions
from ws_ppl.selection import SelectionOptions
from ws_ppl.synthetic import VERSIONS
from ws_rollouts.episode import DEMONSTRATION, HUMAN, POLICY, Episode
from ws_rollouts.task import Task, load_task
from ws_twin_a1x.options import TwinOptions
from ws_world_model.counterfactuals import CounterfactualOptions
from ws_world_model.proposals.relocate import RelocateOptions
from ws_world_model.worker import WorkerOptions

EVALUATION_SEED = 1_000_000
GENERATORS = ("none", "oracle", "learned")


@dataclass(frozen=True)
class CellOptions:
    """What of a cell is not an option of its parts."""

    task: str = option("pushing", "name of the task")
    mode: str = option("hil_serl", "how to learn", choices=tuple(MODES))
    generator: str = option("none", "who imagines: nobody, the twin itself, a world model that learns",
                            choices=GENERATORS)
    real_steps: int = option(3000, "real steps; 0: what was cloned alone", low=0, high=10_000_000)
    evaluate_every: int = option(250, "real steps between evaluations", low=1, high=1_000_000)
    evaluate_episodes: int = option(50, "episodes of each evaluation", low=1, high=100_000)
    segments: int = option(1, "segments of each rollout that the oracle carries out; a learned model: worker.unread",
                          low=0, high=1000)
    world_model_steps: float = option(0.5, "most training steps of a learned world model per real step", low=0.0,
                                      high=100.0)
    relocate: str = option("none", "demonstrations in other scenes: none, by the twin itself, drawn from depth",
                           choices=("none", "oracle", "drawn"))
    relocations: int = option(160, "such successes that are imitated", low=0, high=10_000)
    rgbd_every: int = option(3, "each so many-th exposure is kept with its depth", low=1, high=100)
    depth_noise: float = option(0.0, "sigma / z^2 of the depth cameras; a D435i 0.005", unit="1/m", low=0.0, high=0.1)
    depth_holes: bool = option(False, "nothing is measured at edges of depth and nearer than 0.12 m")
    mount_error: float = option(0.0, "by which both mounts in the bags are turned wrong, and 2.5 mm for each degree",
                                unit="deg", low=0.0, high=10.0)
    domain_randomisation: float = option(0.0, "of the twin, where the policy is evaluated, too", low=0.0, high=1.0)
    sure_segments: int = option(8, "the same where the mode is paced by fidelity, and fidelity is full", low=0,
                                high=1000)


@dataclass(frozen=True)
class Cell:
    """One cell: its own options, those of its parts, and what it changes in the task file."""

    name: str
    seed: int
    options: CellOptions
    learner: LearnerOptions = field(default_factory=LearnerOptions)
    sac: SacOptions = field(default_factory=SacOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    selection: SelectionOptions = field(default_factory=SelectionOptions)
    operator: OperatorOptions = field(default_factory=OperatorOptions)
    counterfactuals: CounterfactualOptions = field(default_factory=CounterfactualOptions)
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    relocation: RelocateOptions = field(default_factory=RelocateOptions)
    overrides: dict[str, Any] = field(default_factory=dict)

    def load_task(self) -> Task:
        """The cell's task, some of whose entries it may change."""
        return load_task(self.options.task, self.overrides)


_PARTS = {"learner": LearnerOptions, "sac": SacOptions, "network": NetworkOptions, "schedule": ScheduleOptions,
          "selection": SelectionOptions, "operator": OperatorOptions, "counterfactuals": CounterfactualOptions,
          "worker": WorkerOptions, "relocation": RelocateOptions}


def make_cell(name: str, seed: int, values: dict[str, Any]) -> Cell:
    """A checked cell. Raises ValueError that names the option, the value and what is allowed."""
    parts = {part: build(kind, values.get(part) or {}, f"{part}.") for part, kind in _PARTS.items()}
    rest = {key: value for key, value in values.items() if key not in (*_PARTS, "overrides")}
    options = build(CellOptions, rest)
    mode = MODES[options.mode]
    if mode.imagines == (options.generator == "none"):
        raise ValueError(f"generator = {options.generator!r}: does not go with mode = {options.mode!r}")
    parts["schedule"], parts["selection"] = mode.apply(parts["schedule"], parts["selection"])
    parts["counterfactuals"] = replace(parts["counterfactuals"], **mode.counterfactuals)
    cell = Cell(name, seed, options, **parts, overrides=values.get("overrides") or {})
    cell.load_task()
    return cell


class _Acting:
    """A learner's policy as `evaluate` and `play` want it."""

    def __init__(self, learner: Learner):
        self._policy = learner.agent.acting

    def act(self, seen: Observation, exploration: float = EXPLORATION) -> np.ndarray:
        return choose(self._policy, seen, exploration)


class Trial:
    """Plays and learns in turn; a rollout is followed by all the updates that it allows.

    The same cell gives the same rows but for the times. Rows: success and what led to it, by real steps. A learned
    world model keeps its bags in `folder`.
    """

    def __init__(self, cell: Cell, folder: Path):
        self.cell = cell
        self._task = cell.load_task()
        options = cell.options
        relocates = options.relocate != "none"
        self._twin = TwinOptions(depth_noise=options.depth_noise, depth_holes=options.depth_holes,
                                 domain_randomisation=options.domain_randomisation)
        self._env = Env(self._task, cell.seed, self._twin, rgbd_every=options.rgbd_every if relocates else 0)
        self._demonstrations: list[Episode] = []
        self._worlds: dict[str, dict] = {}  # episode id -> the twin's arrangement at its start
        self._world: dict | None = None
        self._relocated: dict[str, float] = {}
        self._operator = ScriptedOperator(self._task, cell.operator, cell.seed)
        self._learner = Learner(self._task, cell.learner, cell.sac, cell.network, cell.seed, cell.schedule,
                                cell.selection)
        self._acting = _Acting(self._learner)
        self._source = self._make_source(folder)
        self._interventions: list[float] = []
        self._spent = time.process_time()

    def _make_source(self, folder: Path) -> Oracle | Learned | None:
        cell, options = self.cell, self.cell.options
        paced = MODES[options.mode].paced
        if options.generator == "oracle":
            confidence, segments = (Oracle.confidence, options.sure_segments) if paced else (0.0, options.segments)
            return Oracle(self._env, cell.counterfactuals.widened(confidence), segments, cell.seed)
        if options.generator == "learned":
            worker = replace(cell.worker, paced=paced, demonstrations=cell.learner.demonstrations)
            student = make_student(self._task, folder, cell.counterfactuals, cell.seed)
            return Learned(self._task, folder, student, worker, options.world_model_steps)
        return None

    def run(self, report: Callable[[dict[str, Any]], None]) -> None:
        """From the demonstrations to the last evaluation; `report` gets a row at each."""
        options, learner = self.cell.options, self._learner
        try:
            self._demonstrate()
            due = 0
            while True:
                if learner.env_steps >= due:
                    report(self._evaluate())
                    due += options.evaluate_every
                if learner.env_steps >= options.real_steps:
                    return
                self._roll_out()
        finally:
            self._env.close()

    def _demonstrate(self) -> None:
        number, need = 0, self._learner.options.demonstrations
        while self._learner.demonstrations < need:
            number += 1
            if number > 10 * need:
                raise RuntimeError(f"the operator won {self._learner.demonstrations} of {number - 1} demonstrations")
            self._operator.begin(demonstration=True)
            name, self._world = f"demonstration-{number:03d}", None
            episode = play(self._env, self._demonstrated, name, lambda _, a: (a, DEMONSTRATION))
            if episode.success:
                self._learner.add(episode)
                self._demonstrations.append(episode)
                self._worlds[name] = self._world
                if isinstance(self._source, Learned):  # it has much to learn from them
                    self._imagine(episode, [])
            if self.cell.options.relocate == "none":
                self._learn()
        self._relocate()
        self._learn()

    def _demonstrated(self, seen: Observation) -> np.ndarray | None:
        if self._world is None:
            self._world = self._env.twin.arrangement()
        return self._help(seen)

    def _relocate(self) -> None:
        """Imagine the demonstrations in other scenes, before anything is learned."""
        options = self.cell.options
        if options.relocate == "none" or not options.relocations:
            return
        shown = misplaced(self._demonstrations, options.mount_error, self.cell.seed)
        made, self._relocated = relocated(options.relocate, self._env, shown, self._worlds, options.relocations,
                                          self.cell.relocation, self.cell.seed)
        for episode in made:
            self._learner.add_imagined(episode)

    def _roll_out(self) -> None:
        states: list[EnvState] = []
        self._operator.begin(demonstration=False)
        keep = self.cell.options.generator == "oracle"

        def choose(seen: Observation, action: np.ndarray) -> tuple[np.ndarray, int]:
            if keep:
                states.append(self._env.snapshot())
            help = self._help(seen)
            return (action, POLICY) if help is None else (help, HUMAN)

        name = f"rollout-{self._learner.rollouts:05d}"
        episode = play(self._env, lambda seen: self._acting.act(seen), name, choose)
        self._interventions.append(episode.interventions / len(episode))
        self._learner.add(episode)
        self._imagine(episode, states)
        self._learn()

    def _imagine(self, episode: Episode, states: list[EnvState]) -> None:
        source, learner = self._source, self._learner
        if source is None:
            return
        made = source.follow(episode, states)
        learner.trusted, learner.schedule.confidence = source.trusted, source.confidence
        learner.synthetic.drop_versions(source.version - VERSIONS + 1)
        for each in made:
            learner.add_synthetic(each)

    def _help(self, seen: Observation) -> np.ndarray | None:
        return ask(self._operator, self._env, seen)

    def _learn(self) -> None:
        while not self._learner.waiting_for:
            self._learner.step()

    def _evaluate(self) -> dict[str, Any]:
        learner, options = self._learner, self.cell.options
        seed = EVALUATION_SEED + self.cell.seed
        kept = torch.get_rng_state()
        torch.manual_seed(seed)
        played = list(rollouts(self._acting, self._task, options.evaluate_episodes, seed, twin=self._twin))
        guided = guidance(learner.agent, self._acting.act, self._task, seed, min(8, options.evaluate_episodes))
        torch.set_rng_state(kept)
        queues = {pool: learner.synthetic.size(pool) for pool in learner.synthetic.pools}
        mix = learner.selection.mix(*queues.values())
        return {
            "real_steps": learner.env_steps, "learner_steps": learner.learner_step,
            "cpu_minutes": (time.process_time() - self._spent) / 60, **summary(played),
            **value_bias(learner.agent, played), **guided,
            "intervention_rate": float(np.mean(self._interventions[-20:])) if self._interventions else None,
            "rho": learner.rho, "entropy_mean": learner.schedule.entropy, "positive_share": mix.positive,
            "selection_weight": mix.weight, **{f"q_{n}": v for n, v in learner.selection.values.items()},
            **queues, **self._relocated, **(self._source.numbers if self._source else {}), **learner.metrics,
        }


def run_cell(cell: Cell, folder: Path, provenance: dict[str, Any]) -> None:
    """Run a cell and leave its rows in `<folder>/<name>-<seed>.jsonl`; the file appears when the cell is done."""
    final = folder / f"{cell.name}-{cell.seed}.jsonl"
    part = final.with_suffix(".part")
    with part.open("w") as file:
        def report(row: dict[str, Any]) -> None:
            file.write(json.dumps({"cell": cell.name, "seed": cell.seed, **provenance, **row}) + "\n")
            file.flush()
            print(f"{cell.name} {cell.seed}: {row['real_steps']} steps, success {row['success_rate']:.2f}", flush=True)

        with tempfile.TemporaryDirectory(prefix=f"{cell.name}-") as bags:
            Trial(cell, Path(bags)).run(report)
    part.replace(final)
