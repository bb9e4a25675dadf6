"""How a run's trials are kept in its Optuna study; the one place that knows the attributes' names.

Every fact of a trial is written before what follows from it is done, so that whatever kills the
process, the study tells where to go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from nas.errors import RunError

STUDY_NAME = "nas"


class Ended(StrEnum):
    """Why a trial ended; stored, so members are only ever added."""

    COMPLETED = "completed"
    STOPPED_EARLY = "stopped_early"  # of runs that were made before trials could pause
    FAILED = "failed"
    OVER_LIMIT = "over_limit"
    DUPLICATE = "duplicate"


UNTRAINED = frozenset({Ended.OVER_LIMIT, Ended.DUPLICATE})
"""Trials that cost no training; they do not count towards --trials."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One comparison of a trial: at ``budget`` it had ``score``, for ``seconds`` more of work."""

    budget: int
    score: float
    seconds: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What a study keeps of a trial.

    Attributes:
        number: from 0, in the order of proposal.
        genome: plain values, or None if the process died before there was one.
        key: the genome's.
        facts: figures known before training, such as parameters and multiply_adds.
        rungs: comparisons so far, by rising budget.
        ended: None while the trial is open.
        reason: why it ended, in words.
        duplicate_of: number of the trial with the same genome.
        seed: of its training.
        aim: budget that its training was last begun for.
    """

    number: int
    genome: Mapping[str, Any] | None
    key: str | None
    facts: Mapping[str, float]
    rungs: tuple[Rung, ...]
    ended: Ended | None
    reason: str | None
    duplicate_of: int | None
    seed: int | None
    aim: int = 0

    @property
    def paused(self) -> bool:
        """Whether it waits at a rung, and could go on."""
        return self.ended is None and self.budget >= self.aim and bool(self.rungs)

    @property
    def score(self) -> float | None:
        """At the last rung that was reached."""
        return self.rungs[-1].score if self.rungs else None

    @property
    def budget(self) -> int:
        """Spent so far."""
        return self.rungs[-1].budget if self.rungs else 0

    @property
    def seconds(self) -> float:
        """Of work so far."""
        return sum(rung.seconds for rung in self.rungs)

    @property
    def counts(self) -> bool:
        """Whether it has a score or failed, and counts towards --trials."""
        return self.ended not in UNTRAINED if self.ended else bool(self.rungs)


def record_of(trial: FrozenTrial) -> TrialRecord:
    """The record in a trial's attributes."""
    kept = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        genome=kept.get("genome"),
        key=kept.get("key"),
        facts=kept.get("facts", {}),
        rungs=tuple(Rung(**kept[name]) for name in sorted(kept) if name.startswith("rung_")),
        ended=Ended(kept["ended"]) if trial.state.is_finished() and "ended" in kept else None,
        reason=kept.get("reason"),
        duplicate_of=kept.get("duplicate_of"),
        seed=kept.get("seed"),
        aim=kept.get("attempt", {}).get("budget", 0),
    )


def rung_name(budget: int) -> str:
    """Attribute of a rung; names sort by budget."""
    return f"rung_{budget:06d}"


class _Storage(RDBStorage):
    """An SQLite file, written quickly.

    Writes a new trial's parameters without looking each of them up first.

    A trial that is written whole has none yet, and the study in memory has checked them. With 33
    parameters a trial took 46 ms to write, and takes 12 ms (2 cores, median of 60). Should Optuna
    rename this method, its own is used again: slower, and right.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:///{path}")
        sqlalchemy.event.listen(self.engine, "connect", _write_ahead)
        self.engine.dispose()  # those that are open already are not set so

    def _set_trial_param_without_commit(
        self,
        session: Any,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,  # noqa: ARG002
    ) -> None:
        session.add(
            models.TrialParamModel(
                trial_id=trial_id,
                param_name=param_name,
                param_value=param_value_internal,
                distribution_json=distribution_to_json(distribution),
            )
        )


def _write_ahead(connection: Any, _: Any) -> None:
    """Wait for the disk every now and then only (https://sqlite.org/wal.html).

    Whatever kills the process, everything committed is there. A power failure may take the last
    commits, never the file: the search then goes on from a moment before. A commit took 11 ms with
    waiting on a busy machine, eight of them a trial.
    """
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")


def open_study(path: Path) -> optuna.Study:
    """The study in an SQLite file, made if it is not there; scores are maximised.

    Raises:
        RunError: the file cannot be opened, or is no study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own lines tell what happens
    try:
        return optuna.create_study(
            storage=_Storage(path),
            study_name=STUDY_NAME,
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # noqa: BLE001 - every database driver raises errors of its own
        raise RunError(
            f"the study must be a readable database, but {path} is not ({type(error).__name__}); "
            "restore the file, or name another --run"
        ) from None


def read_records(path: Path) -> tuple[TrialRecord, ...]:
    """Records of a run's study file, by number.

    Raises:
        RunError: there is no study, or it cannot be read.
    """
    if not path.is_file():
        raise RunError(f"a run has a study, but {path} is not there; run python -m nas.search")
    return records_of(open_study(path))


def records_of(study: optuna.Study) -> tuple[TrialRecord, ...]:
    """Records of every trial that was proposed, by number."""
    trials = study.get_trials(deepcopy=False)
    return tuple(record_of(trial) for trial in trials if trial.state is not TrialState.WAITING)


def best_first(records: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    """Scored trials, each genome once: by budget reached, then by score, the best first.

    Budget comes first because scores at different rungs do not compare: a genome that was stopped
    early never stands above one that was trained to the end.
    """
    scored = [r for r in records if r.score is not None and r.ended is not Ended.DUPLICATE]
    return sorted(scored, key=lambda r: (r.budget, r.score or 0.0, -r.number), reverse=True)
