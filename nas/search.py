"""Search: ``search(space, evaluator, settings)``, and ``python -m nas.search``.

The driver owns the study and decides; an evaluator only scores. Everything that a decision depends
on is in the study, so the same call after any kind of end goes on where it was.

    >>> from nas.search import SearchSettings, search
    >>> result = search(space, evaluator, SearchSettings(run=Path("runs/mine"), trials=20))
    >>> result.best.score
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import TrialState

from nas.errors import Interrupted, SettingsError, TrainingError, TrainingFailure
from nas.jobs import Evaluator, GenomeLike, Job
from nas.ledger import Ledger, Proposal
from nas.runfolder import RunFolder
from nas.samplers import DEFAULT, make_sampler
from nas.scheduler import promote
from nas.seeds import derive
from nas.study import Ended, Rung, TrialRecord, best_first
from search_spaces.base import Space

MAX_REJECTED = 200
"""Proposals in a row that need no training, after which a space counts as exhausted."""

MAX_DEATHS = 5
"""Times that a process may die within one epoch of a trial before the trial is given up."""


class Finish(StrEnum):
    """Why a search ended."""

    TRIALS = "all trials done"
    TIMEOUT = "time is up"
    EXHAUSTED = "no new genome within the limits was found"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        run: the run folder; made if it is not there.
        trials: total of trained genomes, those of earlier calls included.
        budgets: rising; genomes are compared at each, and the last is full training.
        sampler: a name of nas.samplers.SAMPLERS.
        seed: of everything random.
        timeout_s: seconds after which the search ends, the open trial being kept; None for none.
        device: passed on to the evaluator.
        measure: figures of a genome that are known before training; recorded with each trial.
        limits: highest value of some of these figures; genomes above are not trained.
        warm_start: parameters to try first.
    """

    run: Path
    trials: int = 50
    budgets: tuple[int, ...] = (2, 6)
    sampler: str = DEFAULT
    seed: int = 0
    timeout_s: float | None = None
    device: str = "cpu"
    measure: Callable[[Any], Mapping[str, float]] = lambda _: {}
    limits: Mapping[str, float] = field(default_factory=dict)
    warm_start: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:], strict=False))
        if not self.budgets or self.budgets[0] < 1 or not rising:
            raise SettingsError(f"budgets must rise from at least 1, but are {self.budgets}")
        if self.trials < 1:
            raise SettingsError(f"--trials must be at least 1, but is {self.trials}; 50 is usual")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise SettingsError(f"--timeout must be above 0 seconds, but is {self.timeout_s}")
        make_sampler(self.sampler, 0)


@dataclass(frozen=True)
class SearchResult:
    """What a search found: the best trial so far, every trial by number, and why it ended."""

    best: TrialRecord | None
    trials: tuple[TrialRecord, ...]
    finish: Finish


class Listener(Protocol):
    """Is told what happens; a search does not depend on it."""

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Training of a trial begins or goes on, up to ``budget``."""

    def ended(self, trial: TrialRecord) -> None:
        """A trial ended, or pauses at a rung."""


class Silent:
    """A listener that does nothing."""

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Nothing."""

    def ended(self, trial: TrialRecord) -> None:
        """Nothing."""


def search(
    space: Space,
    evaluator: Evaluator,
    settings: SearchSettings,
    *,
    listener: Listener | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Search ``space``, or go on with the search in ``settings.run``.

    Args:
        space: proposes genomes.
        evaluator: scores them. Its TrainingError ends a trial and the search goes on; its
            Interrupted ends the search and keeps the trial open.
        settings: see there.
        listener: is told of trials.
        clock: monotonic seconds, for the timeout.

    Raises:
        RunError: the folder is in use or cannot be written, or the study cannot be read.
    """
    run = RunFolder(settings.run)
    with run.locked():
        driver = _Driver(
            Ledger(run.study), space, evaluator, settings, listener or Silent(), run, clock
        )
        finish = driver.run_all()
        records = tuple(driver.ledger.records)
    ranked = best_first(records)
    return SearchResult(ranked[0] if ranked else None, records, finish)


class _Driver:
    def __init__(
        self,
        ledger: Ledger,
        space: Space,
        evaluator: Evaluator,
        settings: SearchSettings,
        listener: Listener,
        run: RunFolder,
        clock: Callable[[], float],
    ) -> None:
        self.ledger, self.space, self.evaluator = ledger, space, evaluator
        self.settings, self.listener, self.run = settings, listener, run
        self._clock = clock
        self._begin = clock()

    def run_all(self) -> Finish:
        """Propose, train and promote until there is a reason to end."""
        rejected, full = 0, self.settings.budgets[-1]
        for record in tuple(self.ledger.records):  # the process died before it could say so
            if record.ended is None and record.budget >= full:
                self._complete(record.number)
        try:
            while not self._late():
                exhausted = rejected >= MAX_REJECTED
                last = exhausted or self.ledger.counted >= self.settings.trials
                if self._go_on(last):
                    continue
                if last:
                    return Finish.EXHAUSTED if exhausted else Finish.TRIALS
                rejected = 0 if self._next() else rejected + 1
        except Interrupted:
            return Finish.TIMEOUT if self._late() else Finish.INTERRUPTED
        return Finish.TIMEOUT

    def _go_on(self, last: bool) -> bool:
        """Train a trial further that was left under way or is promoted; False if there is none."""
        number = self.ledger.under_way()
        reason = "left under way"
        if number is None:
            rungs = len(self.settings.budgets)
            promotion = promote(self.ledger.standings(), rungs, last=last)
            if promotion is None:
                return False
            number, reason = promotion.number, promotion.reason
        self._train(number, self.ledger.genome(number, self.space.suggest), reason)
        return True

    def _late(self) -> bool:
        limit = self.settings.timeout_s
        return limit is not None and self._clock() - self._begin >= limit

    def _next(self) -> bool:
        """Propose a genome and train it; False if it needed no training."""
        settings, number = self.settings, len(self.ledger.records)
        sampler = make_sampler(settings.sampler, derive(settings.seed, "sampler", number))
        fixed = settings.warm_start[number] if number < len(settings.warm_start) else None
        proposal = self.ledger.propose(sampler, self.space.suggest, fixed)
        genome = proposal.genome
        attributes = {
            "key": genome.key,
            "facts": dict(settings.measure(genome)),
            "seed": derive(settings.seed, "training", number),
            "genome": genome.to_json(),
        }
        if self._above_limit(proposal, attributes) or self._repeated(proposal, attributes):
            self.listener.ended(self.ledger.records[number])
            return False
        self.ledger.add(proposal, attributes)
        self._train(number, genome, "new")
        return True

    def _above_limit(self, proposal: Proposal, attributes: dict[str, Any]) -> bool:
        facts = attributes["facts"]
        for name, limit in self.settings.limits.items():
            if name not in facts:
                raise SettingsError(f"limits must be on {sorted(facts)}, but one is on {name!r}")
            if facts[name] > limit:
                reason = f"{name} {facts[name]:,.0f} is above the limit of {limit:,.0f}"
                end: dict[str, Any] = {"reason": reason, "ended": str(Ended.OVER_LIMIT)}
                excess = {name: facts[name] / limit - 1}
                pruned = TrialState.PRUNED
                self.ledger.add_ended(proposal, attributes | end, state=pruned, excess=excess)
                return True
        return False

    def _repeated(self, proposal: Proposal, attributes: dict[str, Any]) -> bool:
        """End a proposal whose genome was seen before with what is known of it."""
        other = self.ledger.first_of(attributes["key"])
        if other is None:
            return False
        end: dict[str, Any] = {
            "duplicate_of": other.number,
            "reason": f"the same genome as trial {other.number}",
            "ended": str(Ended.DUPLICATE),
        }
        rungs = [replace(rung, seconds=0.0) for rung in other.rungs]
        state = self.ledger.state(other.number)
        self.ledger.add_ended(proposal, attributes | end, state=state, rungs=rungs)
        return True

    def _train(self, number: int, genome: GenomeLike, reason: str) -> None:
        """Bring an open trial to its next rung, where it pauses, or to its end."""
        try:
            self._train_on(number, genome, reason)
        except TrainingError as error:
            self._end(number, TrialState.FAIL, Ended.FAILED, f"{error.failure}: {error}")

    def _train_on(self, number: int, genome: GenomeLike, reason: str) -> None:
        record = self.ledger.records[number]
        budget = next(step for step in self.settings.budgets if step > record.budget)
        checkpoint = self.run.trial(number) / "checkpoint.pt"
        self.listener.started(record, budget)
        self._begin_attempt(record, budget, checkpoint, reason)
        job = Job(
            genome=genome,
            start_budget=record.budget,
            budget=budget,
            seed=record.seed or 0,
            device=self.settings.device,
            checkpoint=checkpoint,
        )
        try:
            outcome = self.evaluator.evaluate(job)
        except Interrupted:
            self.ledger.begin(number, {"budget": budget, "deaths": 0})
            raise
        rung = Rung(budget, outcome.score, outcome.cost_s, dict(outcome.metrics))
        self.ledger.add_rung(number, rung)
        if budget == self.settings.budgets[-1]:
            self._complete(number)
        else:
            self.listener.ended(self.ledger.records[number])

    def _begin_attempt(
        self, record: TrialRecord, budget: int, checkpoint: Path, reason: str
    ) -> None:
        """Give up a trial within one epoch of which the process dies again and again."""
        mark = str(checkpoint.stat().st_mtime_ns) if checkpoint.is_file() else "none"
        kept = self.ledger.attribute(record.number, "attempt") or {}
        again = (kept.get("budget"), kept.get("mark")) == (budget, mark)
        deaths = kept["deaths"] + 1 if again else 0
        if deaths >= MAX_DEATHS:
            raise TrainingError(
                TrainingFailure.CRASHED,
                f"the process died {deaths} times within one epoch, perhaps out of memory; "
                "lower --max-params or --max-macs",
            )
        attempt = {"budget": budget, "reason": reason, "deaths": deaths, "mark": mark}
        self.ledger.begin(record.number, attempt)

    def _complete(self, number: int) -> None:
        reason = f"trained to the full budget of {self.settings.budgets[-1]}"
        self._end(number, TrialState.COMPLETE, Ended.COMPLETED, reason)

    def _end(self, number: int, state: TrialState, ended: Ended, reason: str) -> None:
        self.ledger.end(number, state, ended, reason)
        (self.run.trial(number) / "checkpoint.pt").unlink(missing_ok=True)
        self.listener.ended(self.ledger.records[number])


if __name__ == "__main__":
    import sys

    from nas.search_command import main

    sys.exit(main())
