"""Search: ``search(space, evaluator, settings)``, and ``python -m nas.search``.

The driver owns the study and decides; an evaluator only scores. Everything that a decision depends
on is in the study, so the same call after any kind of end goes on where it was.

    >>> from nas.search import SearchSettings, search
    >>> result = search(space, evaluator, SearchSettings(run=Path("runs/mine"), trials=20))
    >>> result.best.score
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import Trial, TrialState

from nas.errors import Interrupted, SettingsError, TrainingError, TrainingFailure
from nas.jobs import Evaluator, GenomeLike, Job
from nas.runfolder import RunFolder
from nas.samplers import DEFAULT, make_sampler
from nas.scheduler import decide
from nas.seeds import derive
from nas.study import (
    Ended,
    TrialRecord,
    best_first,
    open_study,
    record_of,
    records_of,
    rung_name,
)
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
        """A trial ended."""


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
        study = open_study(run.study)
        driver = _Driver(study, space, evaluator, settings, listener or Silent(), run, clock)
        finish = driver.run_all()
        records = driver.records()
    ranked = best_first(records)
    return SearchResult(ranked[0] if ranked else None, records, finish)


class _Driver:
    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        evaluator: Evaluator,
        settings: SearchSettings,
        listener: Listener,
        run: RunFolder,
        clock: Callable[[], float],
    ) -> None:
        self.study, self.space, self.evaluator = study, space, evaluator
        self.settings, self.listener, self.run = settings, listener, run
        self._clock = clock
        self._begin = clock()

    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial that was proposed, by number."""
        return records_of(self.study)

    def run_all(self) -> Finish:
        """Propose and train until there is a reason to end."""
        for parameters in self.settings.warm_start:
            self.study.enqueue_trial(dict(parameters), skip_if_exists=True)
        rejected = 0
        try:
            while sum(record.counts for record in self.records()) < self.settings.trials:
                if self._late():
                    return Finish.TIMEOUT
                if rejected >= MAX_REJECTED:
                    return Finish.EXHAUSTED
                trained = self._trial(self._open_trial() or self._ask())
                rejected = 0 if trained else rejected + 1
        except Interrupted:
            return Finish.TIMEOUT if self._late() else Finish.INTERRUPTED
        return Finish.TRIALS

    def _late(self) -> bool:
        limit = self.settings.timeout_s
        return limit is not None and self._clock() - self._begin >= limit

    def _open_trial(self) -> Trial | None:
        """A trial that an earlier process left open."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return None
        frozen = running[0]
        self._seed_sampler(frozen.number)
        # Optuna has no public way to take up a running trial; this is what ask() returns, too.
        trial = Trial(self.study, frozen._trial_id)
        if frozen.params and "genome" not in frozen.user_attrs:
            # The process died between two parameters. What the sampler drew for the stored ones is
            # drawn again and dropped, so that the others come out as they would have.
            known = trial.relative_params
            for name, distribution in frozen.distributions.items():
                if name not in known:
                    self.study.sampler.sample_independent(self.study, frozen, name, distribution)
        return trial

    def _ask(self) -> Trial:
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = waiting[0].number if waiting else len(self.study.get_trials(deepcopy=False))
        self._seed_sampler(number)
        return self.study.ask()

    def _seed_sampler(self, number: int) -> None:
        seed = derive(self.settings.seed, "sampler", number)
        self.study.sampler = make_sampler(self.settings.sampler, seed)

    def _trial(self, trial: Trial) -> bool:
        """Bring one trial to its end; False if it needed no training."""
        # Parameters of a trial that was taken up are stored already, and are taken as they are.
        genome = self.space.suggest(trial)
        self._note(trial, genome)
        if self._rejected(trial, genome):
            return False
        try:
            self._train(trial, genome)
        except TrainingError as error:
            self._end(trial, TrialState.FAIL, Ended.FAILED, f"{error.failure}: {error}")
        return True

    def _note(self, trial: Trial, genome: GenomeLike) -> None:
        if "genome" in trial.user_attrs:
            return
        facts = dict(self.settings.measure(genome))
        trial.set_user_attr("key", genome.key)
        trial.set_user_attr("facts", facts)
        trial.set_user_attr("seed", derive(self.settings.seed, "training", trial.number))
        trial.set_user_attr("genome", genome.to_json())

    def _rejected(self, trial: Trial, genome: GenomeLike) -> bool:
        facts = record_of(self._frozen(trial)).facts
        for name, limit in self.settings.limits.items():
            if name not in facts:
                raise SettingsError(f"limits must be on {sorted(facts)}, but one is on {name!r}")
            if facts[name] > limit:
                if name not in trial.constraints:
                    # The relative excess tells the sampler in which direction to go.
                    trial.set_constraint(name, facts[name] / limit - 1)
                reason = f"{name} {facts[name]:,.0f} is above the limit of {limit:,.0f}"
                self._end(trial, TrialState.PRUNED, Ended.OVER_LIMIT, reason)
                return True
        for other in self.records():
            first = other.number < trial.number and other.ended not in (None, Ended.DUPLICATE)
            if first and other.ended is not Ended.OVER_LIMIT and other.key == genome.key:
                self._repeat(trial, other)
                return True
        return False

    def _repeat(self, trial: Trial, other: TrialRecord) -> None:
        """End a trial whose genome was seen before with what is known of it."""
        trial.set_user_attr("duplicate_of", other.number)
        state = self.study.get_trials(deepcopy=False)[other.number].state
        for rung in other.rungs:
            trial.set_user_attr(rung_name(rung.budget), {**asdict(rung), "seconds": 0.0})
        reason = f"the same genome as trial {other.number}"
        self._end(trial, state, Ended.DUPLICATE, reason)

    def _train(self, trial: Trial, genome: GenomeLike) -> None:
        checkpoint = self.run.trial(trial.number) / "checkpoint.pt"
        for budget in self.settings.budgets:
            record = record_of(self._frozen(trial))
            if record.budget >= budget:
                continue
            if record.rungs and not self._goes_on(trial, record):
                return
            self.listener.started(record, budget)
            self._count_deaths(trial, checkpoint)
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
                trial.set_user_attr("deaths", 0)
                raise
            kept = {"score": outcome.score, "seconds": outcome.cost_s}
            rung = {"budget": budget, **kept, "metrics": dict(outcome.metrics)}
            trial.set_user_attr(rung_name(budget), rung)
        reason = f"trained to the full budget of {self.settings.budgets[-1]}"
        self._end(trial, TrialState.COMPLETE, Ended.COMPLETED, reason)

    def _goes_on(self, trial: Trial, record: TrialRecord) -> bool:
        rung = record.rungs[-1]
        others = [
            before.score
            for other in self.records()
            if other.number < record.number and other.ended is not Ended.DUPLICATE
            for before in other.rungs
            if before.budget == rung.budget
        ]
        decision = decide(rung.score, others)
        if not decision.go_on:
            reason = f"stopped after {rung.budget}: {decision.reason}"
            self._end(trial, TrialState.PRUNED, Ended.STOPPED_EARLY, reason)
        return decision.go_on

    def _count_deaths(self, trial: Trial, checkpoint: Path) -> None:
        """Give up a trial within one epoch of which the process dies again and again."""
        mark = str(checkpoint.stat().st_mtime_ns) if checkpoint.is_file() else "none"
        kept = trial.user_attrs
        deaths = kept.get("deaths", 0) + 1 if kept.get("mark") == mark else 0
        if deaths >= MAX_DEATHS:
            raise TrainingError(
                TrainingFailure.CRASHED,
                f"the process died {deaths} times within one epoch, perhaps out of memory; "
                "lower --max-params or --max-macs",
            )
        trial.set_user_attr("deaths", deaths)
        trial.set_user_attr("mark", mark)

    def _end(self, trial: Trial, state: TrialState, ended: Ended, reason: str) -> None:
        frozen = self._frozen(trial)
        record = record_of(frozen)
        for rung in record.rungs:
            if rung.budget not in frozen.intermediate_values:
                trial.report(rung.score, rung.budget)
        trial.set_user_attr("reason", reason)
        trial.set_user_attr("ended", str(ended))
        value = record.score if state is TrialState.COMPLETE else None
        self.study.tell(trial, value, state=state)
        (self.run.trial(trial.number) / "checkpoint.pt").unlink(missing_ok=True)
        self.listener.ended(record_of(self._frozen(trial)))

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]


if __name__ == "__main__":
    import sys

    from nas.search_command import main

    sys.exit(main())
