"""How a run's trials are kept in its Optuna study; the one place that knows the attributes' names.

Every fact of a trial is written before what follows from it is done, so that whatever kills the
process, the study tells where to go on.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nas.storage import Place, find_study, open_study, storage_of

AGAIN = "again_"


class Ended(StrEnum):
    """Why a trial ended; stored, so members are only ever added."""

    COMPLETED = "completed"
    STOPPED_EARLY = "stopped_early"  # of runs that were made before trials could pause
    FAILED = "failed"
    OVER_LIMIT = "over_limit"
    DUPLICATE = "duplicate"
    SURPLUS = "surplus"  # another driver's trial had completed the total


UNTRAINED = frozenset({Ended.OVER_LIMIT, Ended.DUPLICATE, Ended.SURPLUS})
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
        repeats: further trainings from other seeds, each from the start to a rung's budget.
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
    repeats: tuple[Rung, ...] = ()

    @property
    def paused(self) -> bool:
        """Whether it waits at a rung, and could go on."""
        return self.ended is None and self.budget >= self.aim and bool(self.rungs)

    @property
    def score(self) -> float | None:
        """At the last rung that was reached: the mean over seeds."""
        return self.means[-1] if self.rungs else None

    @property
    def means(self) -> tuple[float, ...]:
        """Scores at the rungs, each the mean over all seeds that were trained so far."""
        return tuple(statistics.fmean(self.scores_at(rung.budget)) for rung in self.rungs)

    def scores_at(self, budget: int) -> list[float]:
        """Of every training that was judged at this budget."""
        return [rung.score for rung in (*self.rungs, *self.repeats) if rung.budget == budget]

    @property
    def budget(self) -> int:
        """Spent so far on one training."""
        return self.rungs[-1].budget if self.rungs else 0

    @property
    def seconds(self) -> float:
        """Of work so far, on all trainings."""
        return sum(rung.seconds for rung in (*self.rungs, *self.repeats))

    @property
    def counts(self) -> bool:
        """Whether it has a score or failed, and counts towards --trials."""
        return self.ended not in UNTRAINED if self.ended else bool(self.rungs)


def record_of(trial: FrozenTrial, repeats: tuple[Rung, ...] = ()) -> TrialRecord:
    """The record in a trial's attributes, with its further trainings."""
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
        repeats=repeats,
    )


def rung_name(budget: int) -> str:
    """Attribute of a rung; names sort by budget."""
    return f"rung_{budget:06d}"


def again_name(number: int, budget: int, turn: int) -> str:
    """Attribute of a study: a further training of a trial from another seed, from turn 1."""
    return f"{AGAIN}{number:06d}_{budget:06d}_{turn:02d}"


def read_records(where: Path | Place) -> tuple[TrialRecord, ...]:
    """Records of a study, by number; ``where`` is its SQLite file or its place.

    Raises:
        RunError: there is no study, or it cannot be read.
    """
    return _records(open_study(where))


def earlier_records(place: Place) -> tuple[TrialRecord, ...]:
    """Records of a study, by number; none where it is not there yet.

    Raises:
        RunError: it cannot be read.
    """
    study = find_study(place)
    return () if study is None else _records(study)


def _records(study: optuna.Study) -> tuple[TrialRecord, ...]:
    try:
        repeats = repeats_of(study.user_attrs)
        return tuple(
            record_of(trial, repeats.get(trial.number, ()))
            for trial in study.get_trials(deepcopy=False)
        )
    finally:
        storage_of(study).close()


def repeats_of(attributes: Mapping[str, Any]) -> dict[int, tuple[Rung, ...]]:
    """Further trainings by the number of their trial, from a study's attributes."""
    found: dict[int, list[Rung]] = {}
    for name in sorted(attributes):
        if name.startswith(AGAIN) and "failed" not in attributes[name]:
            number = int(name.removeprefix(AGAIN).partition("_")[0])
            found.setdefault(number, []).append(Rung(**attributes[name]))
    return {number: tuple(rungs) for number, rungs in found.items()}


def best_first(records: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    """Scored trials, each genome once: by budget reached, then by score, the best first.

    Budget comes first because scores at different rungs do not compare: a genome that was stopped
    early never stands above one that was trained to the end.
    """
    scored = [r for r in records if r.score is not None and r.ended is not Ended.DUPLICATE]
    return sorted(scored, key=lambda r: (r.budget, r.score or 0.0, -r.number), reverse=True)
