"""A search's study, kept twice: on disk, where nothing is lost, and in memory, where samplers look.

A proposal of 33 parameters took 33 commits when it was made on disk, and every decision read all
trials again: 120 ms a proposal. Here it is made in memory, and written at once with all that is
known of it; a process that dies before that makes the same proposal again. Later facts are written
to disk first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

from nas.jobs import GenomeLike
from nas.study import Ended, Rung, TrialRecord, open_study, record_of, rung_name

Suggest = Callable[[Any], GenomeLike]


@dataclass(frozen=True)
class Proposal:
    """A genome that a sampler proposed, as trial ``number``; on disk only once it is added."""

    number: int
    genome: GenomeLike
    trial: Trial


class Ledger:
    """Every trial of a search. One process writes it; see RunFolder.locked."""

    def __init__(self, path: Path) -> None:
        """Read the study in an SQLite file, made if it is not there.

        Raises:
            RunError: the file cannot be opened, or is no study.
        """
        self._disk = open_study(path)
        self._memory = optuna.create_study(direction="maximize")
        self._ids: list[int] = []  # of trials on disk, by number
        self._records: list[TrialRecord] = []
        self._first: dict[str, int] = {}  # key -> number of the trial that has its scores
        for trial in self._disk.get_trials(deepcopy=False):
            self._memory.add_trial(trial)
            self._ids.append(trial._trial_id)
            self._keep(record_of(trial))

    @property
    def records(self) -> Sequence[TrialRecord]:
        """By number; not to be changed."""
        return self._records

    @property
    def counted(self) -> int:
        """How many trials count towards the total."""
        return sum(record.counts for record in self._records)

    def first_of(self, key: str) -> TrialRecord | None:
        """The earliest trial of this genome that was not above a limit."""
        number = self._first.get(key)
        return None if number is None else self._records[number]

    def open_trial(self) -> int | None:
        """Number of a trial that was proposed and has not ended."""
        running = self._memory.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return running[0].number if running else None

    def genome(self, number: int, suggest: Suggest) -> GenomeLike:
        """The genome of a trial, made from its parameters."""
        return suggest(FixedTrial(self._frozen(number).params))

    def state(self, number: int) -> TrialState:
        """Optuna's state of a trial."""
        return self._frozen(number).state

    def attribute(self, number: int, name: str) -> Any:
        """An attribute of a trial, or None."""
        return self._frozen(number).user_attrs.get(name)

    def propose(
        self, sampler: BaseSampler, suggest: Suggest, fixed: Mapping[str, Any] | None = None
    ) -> Proposal:
        """Ask for the next genome; nothing is written yet.

        Args:
            sampler: fresh, seeded for this trial.
            suggest: the space's.
            fixed: parameters to take instead of the sampler's.
        """
        if fixed is not None:
            self._memory.enqueue_trial(dict(fixed))
        self._memory.sampler = sampler
        trial = self._memory.ask()
        return Proposal(trial.number, suggest(trial), trial)

    def add(self, proposal: Proposal, attributes: Mapping[str, Any]) -> None:
        """Write a proposal that is going to be trained."""
        for name, value in attributes.items():
            proposal.trial.set_user_attr(name, value)
        self._write(proposal)

    def add_ended(
        self,
        proposal: Proposal,
        attributes: Mapping[str, Any],
        *,
        state: TrialState,
        rungs: Sequence[Rung] = (),
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """Write a proposal that needs no training, with its end.

        Args:
            state: COMPLETE takes the last rung's score as the trial's value.
            rungs: what is known from another trial of the same genome.
            excess: relative excess over limits, which tells a sampler where not to go.
        """
        trial = proposal.trial
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        for rung in rungs:
            trial.set_user_attr(rung_name(rung.budget), _plain(rung))
            trial.report(rung.score, rung.budget)
        for name, value in (excess or {}).items():
            trial.set_constraint(name, value)
        self._memory.tell(trial, _value(state, rungs), state=state)
        self._write(proposal)

    def note(self, number: int, name: str, value: Any) -> None:
        """Keep an attribute of an open trial."""
        self._disk._storage.set_trial_user_attr(self._ids[number], name, value)
        self._memory._storage.set_trial_user_attr(self._frozen(number)._trial_id, name, value)

    def add_rung(self, number: int, rung: Rung) -> None:
        """Keep a score of an open trial."""
        self.note(number, rung_name(rung.budget), _plain(rung))
        self._keep(record_of(self._frozen(number)))

    def end(self, number: int, state: TrialState, ended: Ended, reason: str) -> None:
        """End an open trial."""
        frozen = self._frozen(number)
        rungs = self._records[number].rungs
        for rung in rungs:
            if rung.budget not in frozen.intermediate_values:
                for study, trial_id in self._both(number):
                    study._storage.set_trial_intermediate_value(trial_id, rung.budget, rung.score)
        self.note(number, "reason", reason)
        self.note(number, "ended", str(ended))
        self._memory.tell(number, _value(state, rungs), state=state)
        self._disk._storage.set_trial_state_values(
            self._ids[number], state, self._frozen(number).values
        )
        self._keep(record_of(self._frozen(number)))

    def _both(self, number: int) -> tuple[tuple[optuna.Study, int], ...]:
        # Disk first. A trial taken up has no public object to write its attributes through.
        memory_id = self._frozen(number)._trial_id
        return (self._disk, self._ids[number]), (self._memory, memory_id)

    def _write(self, proposal: Proposal) -> None:
        frozen = self._frozen(proposal.number)
        self._disk.add_trial(frozen)
        storage = self._disk._storage
        study_id = self._disk._study_id
        self._ids.append(storage.get_trial_id_from_study_id_trial_number(study_id, proposal.number))
        self._keep(record_of(frozen))

    def _keep(self, record: TrialRecord) -> None:
        if record.number == len(self._records):
            self._records.append(record)
        else:
            self._records[record.number] = record
        if record.key is not None and record.ended not in (Ended.DUPLICATE, Ended.OVER_LIMIT):
            self._first.setdefault(record.key, record.number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._memory.get_trials(deepcopy=False)[number]


def _plain(rung: Rung) -> dict[str, Any]:
    return {
        "budget": rung.budget,
        "score": rung.score,
        "seconds": rung.seconds,
        "metrics": dict(rung.metrics),
    }


def _value(state: TrialState, rungs: Sequence[Rung]) -> float | None:
    return rungs[-1].score if state is TrialState.COMPLETE else None
