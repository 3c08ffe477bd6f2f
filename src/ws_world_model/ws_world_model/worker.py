"""The world model's work in small units: read a bag, take a training step, generate one segment. Knows no ROS."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ws_node.options import option
from ws_rollouts.episode import Episode
from ws_rollouts.schema import BagError
from ws_rollouts.summary import Summary
from ws_world_model.gate import Gate, Quality, Verdict
from ws_world_model.intake import Intake
from ws_world_model.proposals.relocator import Relocator
from ws_world_model.store import Store, StoreError
from ws_world_model.student import HeldOut, Student

WAITING, READING, TRAINING, GENERATING, PAUSED = "waiting", "reading", "training", "generating", "paused"
RELOCATING = "relocating"
RETRY = 30.0  # s until a disk that refused is tried again
BAGS, VERSION = "synthetic rollouts", "version"  # what is written
REPLAY_EVERY = 5.0  # s between two replays while the reward model's errors keep the gate shut


@dataclass(frozen=True)
class WorkerOptions:
    """When is trained and how much, when is generated and how much."""

    demonstrations: int = option(5, "successful demonstrations before training starts", low=1, high=1000)
    held_out: int = option(2, "newest episodes that are not trained on", low=1, high=100)
    adapt_steps: int = option(1500, "steps on what is there before training waits for new episodes", low=1,
                              high=10_000_000)
    round_steps: int = option(200, "steps until a version is measured, and published or dropped", low=1,
                              high=1_000_000)
    reward_steps: int = option(200, "most steps of the reward model in each round", low=0, high=1_000_000)
    replays: int = option(16, "rollouts replayed after each round, to measure and teach the reward model", low=0,
                          high=1000)
    every_episodes: int = option(8, "new episodes that start a round", low=1, high=10_000)
    every: float = option(600.0, "time after which fewer new episodes start a round", unit="s", low=1.0, high=1e6)
    generate_share: float = option(0.5, "least share of the work's time for generating, while that is allowed", low=0.0,
                                   high=0.95)
    pool: int = option(60, "newest rollouts that segments are taken from", low=1, high=10_000)
    demo_pool: int = option(20, "newest demonstrations that segments are taken from", low=1, high=10_000)
    unread: int = option(32, "synthetic rollouts that the learner has not read at which generation waits", low=1,
                         high=1000)
    relocations: int = option(160, "demonstrations in other scenes that are imagined; 0: none", low=0, high=100_000)
    judge_recall: float = option(0.9, "share of replayed successes from which on the reward model judges relocated "
                                 "demonstrations, too", low=0.0, high=1.0)
    paced: bool = option(False, "the truer the world model, the wider the perturbations")
    cpu_share: float = option(1.0, "most of one core that is used", low=0.01, high=1.0)


class Worker:
    """Owns the order of the work: one call of `work` does one unit, so that its caller stays responsive.

    A round trains on everything but the held-out episodes, which stay the same during it, and ends with a version that
    is published, or with the weights of before. `announce` is called with every synthetic rollout that is on the disk,
    `say` with what people should know. `unread` is for the caller to set.
    """

    def __init__(
        self,
        student: Student,
        intake: Intake,
        store: Store,
        options: WorkerOptions | None = None,
        gate: Gate | None = None,
        relocator: Relocator | None = None,
        announce: Callable[[Summary], None] = lambda summary: None,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ):
        self.student, self.intake, self.store = student, intake, store
        self.options, self.gate = options or WorkerOptions(), gate or Gate()
        self.relocator = relocator or Relocator(intake.task, 0, 1)
        self.relocator.had(store.relocated)
        self._announce, self._say, self._clock, self._cpu = announce, say, clock, cpu
        self.score: HeldOut | None = None  # of the version in use
        self.reward_auc: float | None = None
        self.losses: dict[str, float] = {}
        self.counts: Counter[str] = Counter()  # as the generator counts
        self.unread = 0  # synthetic rollouts that the learner has not read
        self.rounds_dropped = 0
        self.film: Episode | None = None  # of the last that were generated
        self._idle_until = self._replayed = -math.inf
        self._refused: dict[str, tuple[str, float]] = {}  # what the disk did not take: why, and when to try again
        self._outbox: deque[Episode] = deque()
        self._online: deque[Episode] = deque(maxlen=self.options.pool)
        self._demos: deque[Episode] = deque(maxlen=self.options.demo_pool)
        self._new = 0
        self._round: Iterator[bool] | None = None
        self._round_ended, self._dropped = clock(), False
        self._spent = {True: 0.0, False: 0.0}  # s of CPU in the last round, and since
        self._progress = ""
        self._scored: tuple = ()  # version and held-out episodes that `score` is of

    @property
    def error(self) -> str:
        """Why something that must be written is not; empty when all is well."""
        return next((reason for reason, _ in self._refused.values()), "")

    @property
    def quality(self) -> Quality:
        """Of the version in use, as the gate looks at it."""
        psnr, persistence = (self.score.psnr, self.score.persistence_psnr) if self.score else (None, None)
        student = self.student
        return Quality(psnr, persistence, self.reward_auc, student.recall, student.rewards_ready,
                       student.rewards_stopped, student.false_positive_rate)

    @property
    def confidence(self) -> float:
        """How far the version in use is trusted beyond what lets the gate open, 0 .. 1."""
        return self.gate.confidence(self.quality) if self.student.version else 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether the version in use may generate."""
        if not self.student.version:
            return Verdict(False, "there is no version yet")
        return self.gate.generate(self.quality)

    @property
    def queue(self) -> int:
        """Synthetic rollouts that are made and that the learner has not read."""
        return self.unread + len(self._outbox)

    @property
    def state(self) -> tuple[str, str]:
        """One word, and why."""
        if self.error:
            return PAUSED, self.error
        if self.relocator.due:
            return RELOCATING, f"{self.relocator.made} of {self.options.relocations} demonstrations in other scenes"
        if self._round:
            return TRAINING, self._progress
        if len(self.intake):
            return READING, f"{len(self.intake)} episodes"
        reason = self._needs or ("" if self.verdict.allowed else self.verdict.reason)
        if not reason and self.queue >= self.options.unread:
            reason = "the learner has not read what is there"
        return (WAITING, reason) if reason else (GENERATING, self.verdict.reason)

    def resumed(self, notes: Mapping[str, str]) -> None:
        """Tell it what `student.save` was given for the version that the student goes on from."""
        self.score = HeldOut(*(float(json.loads(notes[f"held_out_{f.name}"])) for f in fields(HeldOut)))
        auc = json.loads(notes["reward_auc"])
        self.reward_auc = None if auc is None else float(auc)

    def work(self) -> bool:
        """Do one unit; False when there is nothing to do now."""
        if self._clock() < self._idle_until:
            return False
        before, training = self._cpu(), self._round is not None
        did = self._unit(self._clock())
        spent = self._cpu() - before
        self._spent[training] += spent
        if did and self.options.cpu_share < 1.0:
            self._idle_until = self._clock() + spent * (1.0 / self.options.cpu_share - 1.0)
        return did

    def _unit(self, now: float) -> bool:
        if self.relocator.due and not self._outbox and not self._waits(BAGS, now):
            self._relocate()  # first of all: the first policy learns from these
            return True
        if self._round:
            return self._go_on()
        if len(self.intake):
            self._take()
            return True
        if self._outbox and not self._waits(BAGS, now):
            self._write()
            return True
        if self._round_due(now) and not self._owes_generation():
            self._spent = {True: 0.0, False: 0.0}
            self._new, self._round = 0, self._train(list(self.intake.held), self.student.snapshot())
            return True
        if self._outbox or self._waits(BAGS, now):
            return False
        if self._may_generate():
            self._generate()
            return True
        if self._replay_due(now):
            self._replayed = now
            self._replay()
            return True
        return False

    # reading

    def _take(self) -> None:
        taken = self.intake.take()
        if taken.error:
            self._say(f"rollout left out: {taken.error}")
        if taken.episode is not None:
            for line in self.relocator.offer(taken.episode):
                self._say(line)
            self.relocator.check(taken.episode)
            first = {view: stream.head(1) for view, stream in taken.episode.rgbd.items()}
            taken.episode.rgbd = first  # the rest is large, and nobody else looks at it
        for episode in taken.released:
            try:
                self.student.add(episode)
            except ValueError as error:
                self.intake.rejected["does not fit"] += 1
                self._say(f"rollout left out: {episode.episode_id}: {error}")
        if taken.episode is not None:
            self._new += taken.new
            (self._demos if taken.episode.is_demonstration else self._online).append(taken.episode)

    # training

    @property
    def _needs(self) -> str:
        given, need = self.intake.demonstrations, self.options.demonstrations
        if given < need and not self.student.version:
            return f"demonstrations: {given} of {need}"
        if not self.intake.held or self.intake.episodes <= len(self.intake.held):
            return "episodes to train on and to measure with"
        return ""

    def _round_due(self, now: float) -> bool:
        if self._needs:
            return False
        late = now - self._round_ended >= self.options.every
        if self._new >= self.options.every_episodes or (late and self._new):
            return True
        if self._dropped:  # the same once more would hardly end better
            return late
        if self.student.steps < self.options.adapt_steps or not self.gate.fidelity(self.quality).allowed:
            return True
        return self.student.rewards_due and not self.verdict.allowed

    def _go_on(self) -> bool:
        try:
            return next(self._round)
        except StopIteration:
            self._round, self._round_ended = None, self._clock()
            return True

    def _train(self, held_out: list[Episode], before: Any) -> Iterator[bool]:
        """A round, one unit at each `next`; yields whether it did anything."""
        names = tuple(episode.episode_id for episode in held_out)
        if self.student.version and self._scored != (self.student.version, *names):
            self.score = yield from self._measure(held_out)
            self._scored = (self.student.version, *names)
        try:
            yield from self._steps()
            score = yield from self._measure(held_out)
        except FloatingPointError as error:
            self._drop(before, str(error))
            return
        self._measure_rewards(held_out)
        yield True
        yield from self._replays()
        verdict = self.gate.publish(score.psnr, self.score.psnr if self.score else None)
        if not verdict.allowed:
            self._drop(before, verdict.reason)
            return
        while not self._save(score):
            yield False
        self.score, self._scored, self._dropped = score, (self.student.version, *names), False
        self._say(f"version {self.student.version}: {verdict.reason}; "
                  f"generation {self.verdict.state}: {self.verdict.reason}")

    def _steps(self) -> Iterator[bool]:
        for count in range(self.options.round_steps):
            self.losses |= self.student.step()
            self._progress = f"step {count + 1} of {self.options.round_steps}"
            yield True
        for count in range(self.options.reward_steps):
            if not self.student.rewards_due:
                return
            self.losses["classifier"] = self.student.step_rewards()
            self._progress = f"reward model, step {count + 1} of {self.options.reward_steps}"
            yield True

    def _measure(self, held_out: list[Episode]) -> Iterator[bool]:
        """Returns the HeldOut of the weights as they are."""
        self._progress = "measures"
        scores = []
        for episode in held_out:
            scores.append(self.student.score(episode))
            yield True
        return HeldOut.mean(scores)

    def _replays(self) -> Iterator[bool]:
        self._progress = "replays"
        for _ in range(self.options.replays if self.student.rewards_ready else 0):
            self._replay()
            yield True

    def _replay(self) -> None:
        _, counts = self.student.generate(*self._parents(), replay_only=True)
        self.counts.update(counts)

    def _parents(self) -> tuple[list[Episode], list[Episode]]:
        """Rollouts and demonstrations to imagine from: not what is held out, as replays teach the reward model."""
        held = {episode.episode_id for episode in self.intake.held}
        return tuple([e for e in pool if e.episode_id not in held] for pool in (self._online, self._demos))

    def _measure_rewards(self, held_out: list[Episode]) -> None:
        auc = self.student.reward_auc(held_out)
        if math.isfinite(auc):  # failures alone, or successes alone, tell nothing: what was known stays
            self.reward_auc = auc

    def _save(self, score: HeldOut) -> bool:
        """Whether the weights are on the disk as the next version."""
        if self._waits(VERSION, self._clock()):
            return False
        version = self.student.version + 1
        values = {"steps": self.student.steps, "trained": self.intake.trained, "reward_auc": self.reward_auc,
                  **{f"held_out_{name}": value for name, value in asdict(score).items()}}
        try:
            self.student.save(version, {name: json.dumps(value) for name, value in values.items()})
        except OSError as error:
            self._pause(VERSION, f"version {version} cannot be written: {error}")
            return False
        self._refused.pop(VERSION, None)
        try:
            self.store.evict(version)
        except StoreError as error:  # goes next time
            self._say(str(error))
        return True

    def _drop(self, before: Any, reason: str) -> None:
        self.student.restore(before)
        self.rounds_dropped += 1
        self._dropped = True
        self._say(f"trained weights dropped: {reason}")

    # generating

    def _may_generate(self) -> bool:
        ready = not self._needs and self.verdict.allowed and any(self._parents())
        return ready and self.queue < self.options.unread

    def _owes_generation(self) -> bool:
        """Whether less than its share has gone to generating since the last round; nothing is owed that cannot be."""
        share = self.options.generate_share
        owed = self._spent[True] * share / (1.0 - share)
        return self._may_generate() and self._spent[False] < owed and not self._waits(BAGS, self._clock())

    def _replay_due(self, now: float) -> bool:
        """Replays of known outcome can show that the reward model has become better, so that the gate opens again."""
        if now - self._replayed < REPLAY_EVERY or not self.student.rewards_ready or self.verdict.allowed:
            return False
        return self.gate.fidelity(self.quality).allowed and any(self._parents())

    def _generate(self) -> None:
        try:
            self.store.check_space()
        except StoreError as error:
            self._pause(BAGS, str(error))
            return
        self._refused.pop(BAGS, None)
        confidence = self.confidence if self.options.paced else 0.0
        episodes, counts = self.student.generate(*self._parents(), confidence=confidence)
        self.counts.update(counts)
        self._outbox.extend(episodes)
        self.film = episodes[0] if episodes else self.film

    def _relocate(self) -> None:
        judged = self.student.rewards_ready and self.student.recall >= self.options.judge_recall
        episode = self.relocator.make(self.student.disputes if judged else None)
        if episode is not None:
            self.film = episode
            self._outbox.append(episode)
            self._write()

    def _write(self) -> None:
        episode = self._outbox[0]
        try:
            summary = self.store.write(episode)
        except StoreError as error:
            self._pause(BAGS, str(error))
            return
        except BagError as error:
            self._outbox.popleft()
            self._say(f"synthetic rollout left out: {error}")
            return
        self._outbox.popleft()
        self._refused.pop(BAGS, None)
        self.unread += 1
        self._announce(summary)

    # the disk

    def _pause(self, what: str, reason: str) -> None:
        if reason != self.error:
            self._say(f"{reason}; tried again every {RETRY:g} s")
        self._refused[what] = (reason, self._clock() + RETRY)

    def _waits(self, what: str, now: float) -> bool:
        return what in self._refused and now < self._refused[what][1]
