"""Search: ``search(space, evaluator, settings)``, and ``python -m nas.search``.

The driver owns the study and decides; an evaluator only scores. Everything that a decision depends
on is in the study, so the same call after any kind of end goes on where it was.

A space has a name and makes a genome from an Optuna trial; an evaluator scores a genome up to a
budget. Both may be a few lines:

    >>> from dataclasses import dataclass
    >>> from nas.jobs import Outcome
    >>> from nas.search import SearchSettings, search
    >>>
    >>> @dataclass(frozen=True)
    ... class Rule:
    ...     width: int
    ...     kind: str
    ...     @property
    ...     def key(self):
    ...         return f"{self.width}-{self.kind}"
    ...     def to_json(self):
    ...         return {"width": self.width, "kind": self.kind}
    >>>
    >>> class Rules:
    ...     name = "rules"
    ...     def suggest(self, trial):
    ...         return Rule(trial.suggest_int("width", 1, 20),
    ...                     trial.suggest_categorical("kind", ["round", "square"]))
    >>>
    >>> class Table:
    ...     def evaluate(self, job):
    ...         best = -abs(job.genome.width - 13) - (job.genome.kind == "round")
    ...         return Outcome(score=best - 1 / job.budget, cost_s=0.0)
    >>>
    >>> result = search(Rules(), Table(), SearchSettings(run=folder, trials=20, budgets=(1, 3)))
    >>> result.best.genome
    {'width': 13, 'kind': 'square'}
"""

# First of all: --help, and a wrong option, should not wait for Optuna and torch.
if __name__ == "__main__":
    import sys

    from nas.search_command import main

    sys.exit(main())

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from nas.aims import front
from nas.driver import Driver, Listener, Plan, Silent
from nas.errors import RunError, SettingsError
from nas.executors import Executor
from nas.jobs import Evaluator
from nas.ledger import Ledger
from nas.proposing import Proposer
from nas.runfolder import RunFolder
from nas.running import Running
from nas.samplers import DEFAULT, make_sampler
from nas.scheduler import make_scheduler
from nas.search_events import SearchEvents
from nas.storage import HEARTBEAT_S, Heartbeats, Place, refusal
from nas.study import TrialRecord, best_first
from nas.tidying import CHECKPOINT_BYTES
from nas.trackers import make_trackers
from nas.tracking import Tracker
from search_spaces.base import Space

DEFAULT_SCHEDULER = "expecting"
"""On NAS-Bench-201 (CIFAR-10) 94.35 at a cost of 15 full trainings, where halving has 93.48 with
random proposals; see runs/LOG.md."""

DEFAULT_REPEATS = 2
"""In simulation (tests/benchmarks/schedulers.py, 1,000 searches of 200 epochs) two were level with
none at 4 % less cost, and eight worse."""


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
        budgets: rising; genomes are compared at each, and the last is full training. Several of
            them need an evaluator that goes on from a checkpoint, or one whose scores at a budget
            do not depend on what came before.
        sampler: a name of nas.samplers.SAMPLERS.
        scheduler: a name of nas.scheduler.SCHEDULERS.
        seed: of everything random.
        timeout_s: seconds after which the search ends, within an epoch or whatever an evaluator
            takes between two questions whether to stop; open trials are kept. None for none.
        finals_share: share of ``timeout_s`` in [0, 1) that is left to whoever trains the best
            genomes again.
        repeats: most trainings from another seed, where the order of two genomes is not clear;
            none with several aims.
        running: how jobs are run: here, in processes, or on a Ray cluster.
        measure: figures of a genome that are known before training; recorded with each trial.
        limits: highest value of some of these figures; genomes above are not trained.
        aims: some of these figures, to be minimised while the score is maximised.
        warm_start: parameters to try first.
        inherit: a genome that differs in one choice from a trained one begins with its weights, if
            the evaluator knows how; see nas.inheritance.
        storage: URL of a database that several drivers share; an SQLite file in the run folder if
            None. All of them need the same run folder.
        heartbeat_s: seconds between signs of life of such a driver.
        checkpoint_bytes: most that checkpoints of trials that wait take; see nas.tidying.
    """

    run: Path
    trials: int = 50
    budgets: tuple[int, ...] = (2, 6)
    sampler: str = DEFAULT
    scheduler: str = DEFAULT_SCHEDULER
    seed: int = 0
    timeout_s: float | None = None
    finals_share: float = 0.0
    repeats: int = DEFAULT_REPEATS
    running: Running = field(default_factory=Running)
    measure: Callable[[Any], Mapping[str, float]] = lambda _: {}
    limits: Mapping[str, float] = field(default_factory=dict)
    aims: tuple[str, ...] = ()
    warm_start: Sequence[Mapping[str, Any]] = ()
    inherit: bool = False
    storage: str | None = None
    heartbeat_s: float = HEARTBEAT_S
    checkpoint_bytes: int = CHECKPOINT_BYTES

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:], strict=False))
        if not self.budgets or self.budgets[0] < 1 or not rising:
            raise SettingsError(f"budgets must rise from at least 1, but are {self.budgets}")
        if self.trials < 1:
            raise SettingsError(f"--trials must be at least 1, but is {self.trials}; 50 is usual")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise SettingsError(f"--timeout must be above 0 seconds, but is {self.timeout_s}")
        if not 0 <= self.finals_share < 1:
            raise SettingsError(
                f"--finals-share must be at least 0 and below 1, but is {self.finals_share}; "
                "0 leaves no time"
            )
        if self.repeats < 0 or self.heartbeat_s <= 0:
            raise SettingsError(
                "repeats must be at least 0 and heartbeat_s above 0, but are "
                f"{self.repeats} and {self.heartbeat_s}; raise them"
            )
        make_sampler(self.sampler, 0)
        make_scheduler(self.scheduler)

    @property
    def place(self) -> Place:
        """Where the study is."""
        if self.storage is None:
            return Place.file(RunFolder(self.run).study)
        return Place(self.storage, self.run.resolve().name)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: the trial with the best score so far; None if none has one.
        trials: every trial by number.
        finish: why the search ended.
        front: of fully trained trials, those that no other one beats in the score and in every
            further aim; by falling score. With no further aim, the best.
    """

    best: TrialRecord | None
    trials: tuple[TrialRecord, ...]
    finish: Finish
    front: tuple[TrialRecord, ...] = ()


def search(
    space: Space,
    evaluator: Evaluator,
    settings: SearchSettings,
    *,
    listener: Listener | None = None,
    tracker: Tracker | None = None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Search ``space``, or go on with the search in ``settings.run``.

    Args:
        space: proposes genomes.
        evaluator: scores them. Its TrainingError ends a trial and the search goes on; its
            Interrupted ends the search and keeps the trial open.
        settings: see there.
        listener: is told of trials.
        tracker: is told of events, and not closed; None for events.jsonl in the run folder.
        stop: asked between epochs; True ends the search and keeps open trials.
        clock: monotonic seconds, for the timeout.

    Raises:
        RunError: the folder is in use or cannot be written, or the study cannot be read.
    """
    run = RunFolder(settings.run)
    begin = clock()

    def left_s() -> float | None:
        if settings.timeout_s is None:
            return None
        return settings.timeout_s * (1 - settings.finals_share) - (clock() - begin)

    def stopping() -> bool:
        left = left_s()
        return stop() or (left is not None and left <= 0)

    own = make_trackers(run) if tracker is None else nullcontext(tracker)
    with own as told, _written(run), nullcontext() if settings.place.shared else run.locked():
        run.path.mkdir(parents=True, exist_ok=True)
        events = SearchEvents(told, listener or Silent())
        driver = _driver(space, settings, run, events, stopping, left_s)
        executor = settings.running.make(evaluator, driver.reported, stopping)
        events.begin(
            driver.ledger.records, space=space.name, trials=settings.trials,
            budgets=settings.budgets, sampler=settings.sampler, scheduler=settings.scheduler,
            seed=settings.seed,
        )  # fmt: skip
        _work(driver, executor, settings)
        result = _result(driver, settings, left_s())
        events.finish(
            str(result.finish),
            complete=result.finish in (Finish.TRIALS, Finish.EXHAUSTED),
            best=result.best,
            done=sum(record.counts for record in result.trials),
        )
    return result


def _result(driver: Driver, settings: SearchSettings, left: float | None) -> SearchResult:
    """What a driver that has ended found, with so many seconds left."""
    records = tuple(driver.ledger.records)
    ranked = best_first(records)
    best = ranked[0] if ranked else None
    if left is not None and left <= 0:
        finish = Finish.TIMEOUT
    elif driver.interrupted:
        finish = Finish.INTERRUPTED
    else:
        finish = Finish.EXHAUSTED if driver.exhausted else Finish.TRIALS
    return SearchResult(best, records, finish, front(records, settings.aims))


def _driver(
    space: Space,
    settings: SearchSettings,
    run: RunFolder,
    listener: Listener,
    stopping: Callable[[], bool],
    left_s: Callable[[], float | None],
) -> Driver:
    proposer = Proposer(
        space=space,
        sampler=settings.sampler,
        seed=settings.seed,
        measure=settings.measure,
        limits=settings.limits,
        warm_start=settings.warm_start,
        inherit=settings.inherit,
    )
    plan = Plan(
        trials=settings.trials,
        budgets=settings.budgets,
        repeats=0 if settings.aims else settings.repeats,
        seed=settings.seed,
        device=settings.running.device,
        heartbeat_s=settings.heartbeat_s,
        checkpoint_bytes=settings.checkpoint_bytes,
    )
    return Driver(
        plan,
        Ledger(settings.place, settings.aims),
        proposer,
        make_scheduler(settings.scheduler),
        run,
        listener,
        stopping=stopping,
        left_s=left_s,
    )


def _work(driver: Driver, executor: Executor, settings: SearchSettings) -> None:
    beats = None
    if settings.place.shared:
        beats = Heartbeats(driver.ledger.storage, driver.ledger.running_ids, settings.heartbeat_s)
    try:
        driver.go(executor)
    finally:
        executor.close()
        if beats is not None:
            beats.close()
        driver.ledger.storage.close()


@contextmanager
def _written(run: RunFolder) -> Iterator[None]:
    """Within the block a search is written: what the system refuses becomes a RunError.

    Everything that was written before is whole, and the same call goes on from there.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"a search must be able to write to {run.path}, but that failed "
            f"({error.strerror or error}); free space or mend its permissions: the same command "
            "goes on"
        ) from error
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise RunError(
            f"the study of {run.path} must be writable, but its database refused "
            f"({refusal(error)}); free space, or end whatever holds it: the same command goes on"
        ) from error
