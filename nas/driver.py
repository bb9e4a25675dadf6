"""The one that decides: from proposal to job, from outcome to score, until there is nothing to do.

Everything that a decision depends on is in the study, and every fact is written there before what
follows from it is done. So whatever ends the process, the same search goes on where it was.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nas.errors import Interrupted, TrainingError, TrainingFailure, WorkerLost
from nas.executors import Done, Executor
from nas.flights import Flight, checked, rung_of, undone
from nas.jobs import Job, Outcome
from nas.ledger import Ledger
from nas.proposing import PARENT, Proposer, surplus
from nas.runfolder import RunFolder
from nas.scheduler import Field, New, Promotion, Repeat, Scheduler, Step, noise
from nas.seeds import derive
from nas.storage import SILENT_BEATS
from nas.study import Ended, TrialRecord
from nas.tidying import CHECKPOINT, CHECKPOINT_BYTES, Tidying

MAX_REJECTED = 200
"""Proposals in a row that need no training, after which a space counts as exhausted."""

MAX_DEATHS = 5
"""Times that a process may die within one epoch of a trial before the trial is given up."""


class Listener(Protocol):
    """Is told what happens; a search does not depend on it."""

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Training of a trial begins or goes on, up to ``budget``."""

    def reported(self, trial: TrialRecord, said: Any) -> None:
        """What an evaluator says while it works; see nas.jobs.Watchable."""

    def ended(self, trial: TrialRecord) -> None:
        """A trial ended, or pauses at a rung, or was trained from another seed."""


class Silent:
    """A listener that does nothing."""

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Nothing."""

    def reported(self, trial: TrialRecord, said: Any) -> None:
        """Nothing."""

    def ended(self, trial: TrialRecord) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Plan:
    """What a search is to do.

    Attributes:
        trials: total of trained genomes.
        budgets: rising; genomes are compared at each.
        repeats: most trainings of trials from another seed.
        seed: of everything random.
        device: of jobs whose executor has none of its own.
        heartbeat_s: seconds between signs of life, where drivers share a storage.
        checkpoint_bytes: most that checkpoints of trials that wait take; see nas.tidying.
    """

    trials: int
    budgets: tuple[int, ...]
    repeats: int
    seed: int
    device: str
    heartbeat_s: float
    checkpoint_bytes: int = CHECKPOINT_BYTES


class Driver:
    """See ``go``.

    Args:
        plan: what to do.
        ledger: the study.
        proposer: of new genomes.
        scheduler: who trains further.
        run: where checkpoints are.
        listener: is told of trials.
        stopping: whether to stop.
        left_s: seconds that are left; None where there is no bound.
        pause: waits for some seconds, while other drivers work.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        proposer: Proposer,
        scheduler: Scheduler,
        run: RunFolder,
        listener: Listener,
        *,
        stopping: Callable[[], bool] = lambda: False,
        left_s: Callable[[], float | None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.plan, self.ledger, self.proposer, self.scheduler = plan, ledger, proposer, scheduler
        self.folder, self.listener = run, listener
        self._stopping, self._left_s, self._pause = stopping, left_s, pause
        self._flights: dict[int, Flight] = {}
        self._rejected = 0
        self._tidying = Tidying(run, plan.checkpoint_bytes)
        self.interrupted = False
        self._lost: dict[int, int] = {}

    #: Whether it ended because it was to stop, or an evaluator was.
    interrupted: bool

    @property
    def exhausted(self) -> bool:
        """Whether no new genome within the limits was found for long."""
        return self._rejected >= MAX_REJECTED

    def reported(self, ticket: int, said: Any) -> None:
        """Pass on what an evaluator says."""
        self.listener.reported(self.ledger.records[ticket], said)

    def go(self, executor: Executor) -> None:
        """Work until there is nothing left to do, or it is time to stop."""
        self._finish_left()
        while True:
            while len(self._flights) < executor.slots and not self._stops():
                if not self._begin_one(executor):
                    break
            if self._flights:
                self._take(self._next(executor), executor)
            elif self._stops() or not self.ledger.others_at_work():
                return
            else:
                self._pause(self.plan.heartbeat_s)
                self._look_around()

    def _stops(self) -> bool:
        self.interrupted = self.interrupted or self._stopping()
        return self.interrupted

    def _begin_one(self, executor: Executor) -> bool:
        """Begin a job, or record a proposal that needs none; False if there is nothing to do."""
        if any(flight.again for flight in self._flights.values()):
            return False  # who goes on depends on it, and it may be the same trial
        self.ledger.refresh()
        left = self.ledger.left()
        if left is not None:
            self._train(left, "left under way", executor)
            return True
        step = self.scheduler.next(self._field(executor.slots))
        if step is None:
            return False
        self._do(step, executor)
        return True

    def _do(self, step: Step, executor: Executor) -> None:
        match step:
            case New():
                self._rejected = 0 if self._new(executor) else self._rejected + 1
            case Promotion():
                self._train(step.number, step.reason, executor)
            case Repeat():
                self._train_again(step, executor)

    def _field(self, slots: int) -> Field:
        """What the scheduler decides on; costs in epochs, or in seconds where time ends it."""
        ledger, plan, tally = self.ledger, self.plan, self.ledger.tally
        first, full = plan.budgets[0], plan.budgets[-1]
        begun = tally.counted + tally.fresh
        # As much for full trainings as for exploring; see nas.scheduler.Expecting.
        total = 2.0 * first * plan.trials
        costs = (float(first * begun), float(tally.further), total, float(first))
        timed, left_s = False, self._left_s()
        if left_s is not None and tally.counted:
            price_s = tally.low_s / tally.counted
            explored_s = tally.low_s + price_s * tally.fresh
            total_s = tally.all_s + max(0.0, left_s) * slots
            if explored_s * costs[2] > costs[0] * total_s > 0:
                timed = True
                costs = (explored_s, tally.all_s - tally.low_s, total_s, price_s)
        explored, promoted, total, price = costs
        return Field(
            standings=self.proposer.standings(ledger),
            rungs=len(plan.budgets),
            coming=not self.exhausted and begun < plan.trials,
            settled=not tally.fresh,
            idle=not self._flights,
            explored=explored,
            promoted=promoted,
            total=total,
            price=price,
            climb=float(full - first),
            timed=timed,
            repeats=plan.repeats - ledger.repeated,
            spread=lambda rung: self._noise(plan.budgets[rung]),
            expected=lambda numbers: self.proposer.expected(ledger, numbers),
        )

    def _noise(self, budget: int) -> float | None:
        scored = (r for r in self.ledger.records if r.ended is not Ended.DUPLICATE)
        return noise([scores for record in scored if (scores := record.scores_at(budget))])

    def _new(self, executor: Executor) -> bool:
        """Propose a genome and begin to train it; False if it needed no training."""
        number, wanted = self.proposer.propose(self.ledger)
        if not wanted:
            self.listener.ended(self.ledger.records[number])
            return False
        if self.ledger.place.shared:
            needless = surplus(self.ledger, number, self.plan.trials)
            if needless is not None:
                self.ledger.end(number, *needless)
                self.listener.ended(self.ledger.records[number])
                return True
        self._train(number, "new", executor)
        return True

    def _train(self, number: int, reason: str, executor: Executor) -> None:
        """Send an open trial to its next rung."""
        record = self.ledger.records[number]
        budget = next(step for step in self.plan.budgets if step > record.budget)
        checkpoint = self.folder.trial(number) / CHECKPOINT
        if not self._begin(record, budget, checkpoint, reason):
            return
        job = Job(
            genome=self.ledger.genome(number, self.proposer.space.suggest),
            start_budget=record.budget,
            budget=budget,
            seed=record.seed or 0,
            device=self.plan.device,
            checkpoint=checkpoint,
            parent=self._parent(number),
        )
        self._submit(Flight(number, budget, again=False), job, executor)

    def _train_again(self, step: Repeat, executor: Executor) -> None:
        """Send a trial to a rung from another seed, beside what it has."""
        budget = self.plan.budgets[step.rung]
        turn = self.ledger.turn(step.number, budget)
        job = Job(
            genome=self.ledger.genome(step.number, self.proposer.space.suggest),
            start_budget=0,
            budget=budget,
            seed=derive(self.plan.seed, "training", step.number, turn),
            device=self.plan.device,
            checkpoint=self.folder.trial(step.number) / f"again-{budget}-{turn}" / CHECKPOINT,
            parent=self._parent(step.number),
        )
        self._submit(Flight(step.number, budget, again=True), job, executor)

    def _parent(self, number: int) -> Path | None:
        """The checkpoint of the trial whose weights a trial begins with."""
        parent = self.ledger.attribute(number, PARENT)
        return None if parent is None else self.folder.trial(parent) / CHECKPOINT

    def _submit(self, flight: Flight, job: Job, executor: Executor) -> None:
        self._flights[flight.number] = flight
        self.listener.started(self.ledger.records[flight.number], flight.budget)
        executor.submit(flight.number, job)

    def _begin(self, record: TrialRecord, budget: int, checkpoint: Path, reason: str) -> bool:
        """Take a trial up; give it up if processes die within one epoch of it again and again."""
        mark = str(checkpoint.stat().st_mtime_ns) if checkpoint.is_file() else "none"
        kept = self.ledger.attribute(record.number, "attempt") or {}
        again = (kept.get("budget"), kept.get("mark")) == (budget, mark)
        deaths = kept["deaths"] + 1 if again else 0
        attempt = {"budget": budget, "reason": reason, "deaths": deaths, "mark": mark}
        if not self.ledger.begin(record.number, attempt):
            self._look_around()  # another driver has it
            return False
        if deaths < MAX_DEATHS:
            return True
        error = TrainingError(
            TrainingFailure.CRASHED,
            f"the process died {deaths} times within one epoch, perhaps out of memory; "
            "lower --max-params or --max-macs",
        )
        self._fail(record.number, error)
        return False

    def _next(self, executor: Executor) -> Done:
        """Wait for a job to end."""
        try:
            return executor.wait()
        except (OSError, KeyboardInterrupt):
            # A full disk, or a user in a hurry: no death of the trial's, however often it comes.
            for flight in self._flights.values():
                if not flight.again and self.ledger.still_mine(flight.number):
                    self.ledger.leave(flight.number, undone(flight))
            raise

    def _take(self, done: Done, executor: Executor) -> None:
        """Keep what a job gave."""
        flight = self._flights.pop(done.ticket)
        self._look_around()
        if flight.again:
            self._take_again(flight, done)
            return
        if not self.ledger.still_mine(flight.number):
            return
        match result := checked(done.result):
            case Outcome():
                self._score(flight, result)
            case TrainingError():
                self._fail(flight.number, result)
            case Interrupted():
                self.interrupted = True
                self.ledger.leave(flight.number, undone(flight))
            case WorkerLost():
                self._train(flight.number, str(result), executor)

    def _take_again(self, flight: Flight, done: Done) -> None:
        """Keep what a further training gave; one that fails tells nothing of the first."""
        match result := checked(done.result):
            case Outcome():
                self.ledger.add_repeat(flight.number, rung_of(flight, result))
            case TrainingError():
                failed = f"{result.failure}: {result}"
                self.ledger.add_failed_repeat(flight.number, flight.budget, failed)
            case WorkerLost():
                self._lost[flight.number] = self._lost.get(flight.number, 0) + 1
                if self._lost[flight.number] < MAX_DEATHS:
                    return  # the scheduler asks for it again
                self.ledger.add_failed_repeat(flight.number, flight.budget, str(result))
            case Interrupted():
                self.interrupted = True
                return
        for folder in self.folder.trial(flight.number).glob(f"again-{flight.budget}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        self.listener.ended(self.ledger.records[flight.number])

    def _score(self, flight: Flight, outcome: Outcome) -> None:
        last = flight.budget == self.plan.budgets[-1]
        self.ledger.add_rung(flight.number, rung_of(flight, outcome), last=last)
        if last:
            self._complete(flight.number)
        else:
            self.listener.ended(self.ledger.records[flight.number])
            self._tidying.paused(flight.number, self.ledger.records, self.ledger.free())

    def _look_around(self) -> None:
        """See what other drivers did, and take over what dead ones left."""
        if self.ledger.place.shared:
            self.ledger.release_silent(self.plan.heartbeat_s * SILENT_BEATS)
            self.ledger.refresh()
            self._finish_left()

    def _finish_left(self) -> None:
        """End trials whose process died when they had come to the last rung."""
        for number in self.ledger.free():
            if self.ledger.records[number].budget >= self.plan.budgets[-1]:
                self._complete(number)

    def _complete(self, number: int) -> None:
        reason = f"trained to the full budget of {self.plan.budgets[-1]}"
        self._end(number, Ended.COMPLETED, reason)

    def _fail(self, number: int, error: TrainingError) -> None:
        self._end(number, Ended.FAILED, f"{error.failure}: {error}")

    def _end(self, number: int, ended: Ended, reason: str) -> None:
        if self.ledger.end(number, ended, reason):
            (self.folder.trial(number) / CHECKPOINT).unlink(missing_ok=True)
            self.listener.ended(self.ledger.records[number])
