"""The study as samplers see it: in memory, where trials that pause can be shown, and changed.

Trials have the same numbers as on disk. None is ever waiting here: Optuna would hand it out again
as a new one.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.jobs import GenomeLike
from nas.storage import directions
from nas.study import Rung, TrialRecord

Suggest = Callable[[Any], GenomeLike]


@dataclass(frozen=True)
class Proposal:
    """A genome that a sampler proposed, as trial ``number``; on disk only once it is added."""

    number: int
    genome: GenomeLike
    trial: Trial


class Mirror:
    """A study in memory.

    Args:
        aims: facts that are minimised beside the score.
    """

    def __init__(self, aims: Sequence[str]) -> None:
        self.study = optuna.create_study(directions=directions(1 + len(aims)))
        self._aims = tuple(aims)

    def propose(
        self, sampler: BaseSampler, suggest: Suggest, fixed: Mapping[str, Any] | None
    ) -> Proposal:
        """Ask for the next genome, or take the fixed parameters for it."""
        if fixed is not None:
            self.study.enqueue_trial(dict(fixed))
        self.study.sampler = sampler
        trial = self.study.ask()
        return Proposal(trial.number, suggest(trial), trial)

    def frozen(self, number: int) -> FrozenTrial:
        """A trial; not to be changed."""
        # Trials are numbered from 0 in the only study of their storage.
        return self.study._storage.get_trial(number)

    def take_in(self, trial: FrozenTrial, *, known: bool) -> None:
        """Take over a trial of the disk.

        Args:
            known: whether there is one with its number; it is replaced.
        """
        shown = copy.copy(trial)
        if trial.state is TrialState.WAITING:
            shown.state = TrialState.RUNNING
        if known:
            shown._trial_id = trial.number
            self._put(shown)
        else:
            self.study.add_trial(shown)

    def attach(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a trial."""
        trial = copy.copy(self.frozen(number))
        trial.user_attrs = {**trial.user_attrs, **attributes}
        self._put(trial)

    def show(self, record: TrialRecord) -> None:
        """Show a trial's scores, and where it stands.

        One that pauses is one that was stopped: with scores, and no value yet. With several aims,
        which Optuna knows no stopped trials for, it is a complete one. Where a genome was trained
        from several seeds, samplers see the mean.
        """
        trial = copy.copy(self.frozen(record.number))
        if record.rungs:
            budgets = (rung.budget for rung in record.rungs)
            self._give(trial, dict(zip(budgets, record.means, strict=True)))
        if record.ended is None:
            if not record.paused:
                trial.state, trial.values = TrialState.RUNNING, None
            elif self._aims:
                trial.state = TrialState.COMPLETE
                trial.values = self._values(trial.state, record.rungs, record.facts)
            else:
                trial.state, trial.values = TrialState.PRUNED, [record.means[-1]]
            # Optuna wants both of a trial that is over.
            trial.datetime_complete = trial.datetime_start if record.paused else None
        self._put(trial)

    def finish(
        self, number: int, state: TrialState, rungs: Sequence[Rung], facts: Mapping[str, float]
    ) -> list[float] | None:
        """Give a trial its last state; returns its values."""
        trial = copy.copy(self.frozen(number))
        values = self._values(state, rungs, facts)
        trial.state, trial.values = state, values
        self._give(trial, {rung.budget: rung.score for rung in rungs})
        trial.datetime_complete = datetime.now()
        self._put(trial)
        return values

    def _give(self, trial: FrozenTrial, scores: dict[int, float]) -> None:
        """Give a trial scores by budget.

        With several aims not to a stopped one, such as a duplicate of one that pauses: Optuna's
        TPE raises an error where it finds any.
        """
        bare = self._aims and trial.state is TrialState.PRUNED
        trial.intermediate_values = {} if bare else scores

    def _put(self, trial: FrozenTrial) -> None:
        # The storage in memory has no public way to change a trial's state back.
        self.study._storage._set_trial(trial._trial_id, trial)  # type: ignore[attr-defined]

    def _values(
        self, state: TrialState, rungs: Sequence[Rung], facts: Mapping[str, float]
    ) -> list[float] | None:
        """What Optuna keeps as a trial's values: as its own pruned trials have them, too."""
        stopped = state is TrialState.PRUNED and bool(rungs) and not self._aims
        if state is not TrialState.COMPLETE and not stopped:
            return None
        return [rungs[-1].score, *(facts[name] for name in self._aims)]
