"""A search's study, kept twice: on disk, where nothing is lost, and in memory, where samplers look.

A proposal of 33 parameters took 33 commits when it was made on disk, and every decision read all
trials again: 120 ms a proposal. Here it is made in memory, and written at once with all that is
known of it; a process that dies before that makes the same proposal again. Later facts are written
to disk first.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

from nas.jobs import GenomeLike
from nas.scheduler import Standing
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
            if self._records[-1].paused:
                self._show_paused(trial.number)

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

    def under_way(self) -> int | None:
        """Number of a trial whose training began and has not come to a rung."""
        running = self._memory.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return running[0].number if running else None

    def standings(self) -> list[Standing]:
        """Of all trials that have a score of their own."""
        return [
            Standing(record.number, tuple(rung.score for rung in record.rungs), record.paused)
            for record in self._records
            if record.rungs and record.ended is not Ended.DUPLICATE
        ]

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
        # A trial that was taken up has no public object to write its attributes through.
        self._disk._storage.set_trial_user_attr(self._ids[number], name, value)
        trial = copy.copy(self._frozen(number))
        trial.user_attrs = {**trial.user_attrs, name: value}
        self._put(trial)

    def begin(self, number: int, attempt: Mapping[str, Any]) -> None:
        """Note that a trial trains, or tries again to.

        Args:
            attempt: plain values; ``budget`` is the rung that it is on its way to.
        """
        self.note(number, "attempt", dict(attempt))
        self._set_state(number, TrialState.RUNNING)
        self._keep(record_of(self._frozen(number)))

    def add_rung(self, number: int, rung: Rung) -> None:
        """Keep a score of an open trial, which then pauses."""
        self.note(number, rung_name(rung.budget), _plain(rung))
        self._disk._storage.set_trial_intermediate_value(self._ids[number], rung.budget, rung.score)
        self._show_paused(number)
        self._keep(record_of(self._frozen(number)))

    def _show_paused(self, number: int) -> None:
        """To samplers, a trial that pauses is one that was stopped: with scores, and no value yet.

        On disk it goes on being open, since Optuna lets nobody open a trial again.
        """
        trial = copy.copy(self._frozen(number))
        scores = {rung.budget: rung.score for rung in record_of(trial).rungs}
        trial.intermediate_values = scores
        trial.state, trial.values = TrialState.PRUNED, [scores[max(scores)]]
        self._put(trial)

    def _set_state(self, number: int, state: TrialState) -> None:
        trial = copy.copy(self._frozen(number))
        trial.state, trial.values = state, None
        self._put(trial)

    def _put(self, trial: FrozenTrial) -> None:
        # The storage in memory has no public way to change a trial's state back.
        self._memory._storage._set_trial(trial._trial_id, trial)  # type: ignore[attr-defined]

    def end(self, number: int, state: TrialState, ended: Ended, reason: str) -> None:
        """End an open trial."""
        self._set_state(number, TrialState.RUNNING)
        self.note(number, "reason", reason)
        self.note(number, "ended", str(ended))
        self._memory.tell(number, _value(state, self._records[number].rungs), state=state)
        values = self._frozen(number).values
        self._disk._storage.set_trial_state_values(self._ids[number], state, values)
        self._keep(record_of(self._frozen(number)))

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
