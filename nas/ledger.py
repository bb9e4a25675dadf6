"""A search's study, kept twice: on disk, where nothing is lost, and in memory, where samplers look.

A proposal of 33 parameters took 33 commits when it was made on disk, and every decision read all
trials again: 120 ms a proposal. Here it is made in memory, and written at once with all that is
known of it; a process that dies before that makes the same proposal again. Later facts are written
to disk first.

An open trial on disk is RUNNING while a driver is at work on it, and WAITING while nobody is: it
pauses at a rung, or was left by a driver that stopped. Whoever sets it from WAITING to RUNNING, in
one statement, has it. So several drivers may share a study; with one, everything that was RUNNING
when it starts was left by a process that died.
"""

import copy
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from nas.jobs import GenomeLike
from nas.mirror import Mirror, Proposal, Suggest
from nas.scheduler import Standing
from nas.storage import Place, open_study, storage_of
from nas.study import (
    AGAIN,
    Ended,
    Rung,
    TrialRecord,
    again_name,
    record_of,
    repeats_of,
    rung_name,
)
from nas.tally import Tally


class Ledger:
    """Every trial of a search, to one driver."""

    def __init__(self, place: Place | Path, aims: Sequence[str] = ()) -> None:
        """Read the study, made if it is not there.

        Args:
            place: where it is; an SQLite file is one driver's, see RunFolder.locked.
            aims: facts that are minimised beside the score.

        Raises:
            RunError: it cannot be opened, or is no such study.
        """
        self.place = Place.file(place) if isinstance(place, Path) else place
        self.aims = tuple(aims)
        self._disk = open_study(self.place, 1 + len(self.aims))
        self.storage = storage_of(self._disk)
        self._mirror = Mirror(self.aims)
        self._ids: list[int] = []  # of trials on disk, by number
        self._records: list[TrialRecord] = []
        self._standings: dict[int, Standing] = {}
        self._first: dict[str, int] = {}  # key -> number of the trial that has its scores
        self._free: set[int] = set()  # WAITING on disk
        self._mine: set[int] = set()  # RUNNING on disk, by this driver
        self._undone: set[int] = set()  # open, and not pausing
        self.driver = secrets.token_hex(8)
        self.tally = Tally()
        self.attributes: dict[str, Any] = {}
        self.refresh(first=True)

    def refresh(self, *, first: bool = False) -> None:
        """Read what other drivers wrote; nothing to do where there can be none."""
        if not (first or self.place.shared):
            return
        self.attributes = dict(self._disk.user_attrs)
        repeats = repeats_of(self.attributes)
        for trial in self._disk.get_trials(deepcopy=False):
            further = repeats.get(trial.number, ())
            if trial.number < len(self._records):
                known = self._records[trial.number]
                if known.ended is not None and len(further) == len(known.repeats):
                    continue
            if first and not self.place.shared and trial.state is TrialState.RUNNING:
                self.storage.release(trial._trial_id)
                trial = copy.copy(trial)
                trial.state = TrialState.WAITING
            self._take_in(trial, further)

    def _take_in(self, trial: FrozenTrial, repeats: tuple[Rung, ...]) -> None:
        """Show a trial of the disk in memory."""
        number = trial.number
        known = number < len(self._ids)
        self._mirror.take_in(trial, known=known)
        if known:
            self._ids[number] = trial._trial_id
        else:
            self._ids.append(trial._trial_id)
        self._free.discard(number)
        if trial.state is TrialState.WAITING:
            self._free.add(number)
        self._keep(record_of(trial, repeats))
        self._mirror.show(self._records[number])

    @property
    def records(self) -> Sequence[TrialRecord]:
        """By number; not to be changed."""
        return self._records

    @property
    def study(self) -> optuna.Study:
        """As samplers see it; not to be changed."""
        return self._mirror.study

    def others_at_work(self) -> bool:
        """Whether another driver is at work on a trial."""
        if not self.place.shared:
            return False
        return any(
            record.ended is None
            and record.number not in self._free
            and record.number not in self._mine
            for record in self._records
        )

    def first_of(self, key: str) -> TrialRecord | None:
        """The earliest trial of this genome that was not above a limit."""
        number = self._first.get(key)
        return None if number is None else self._records[number]

    def left(self) -> int | None:
        """Number of the first trial whose training began, has not come to a rung, and was left."""
        return min(self._undone & self._free, default=None)

    def free(self) -> list[int]:
        """Numbers of open trials that no driver is at work on."""
        return sorted(self._free)

    def standings(self) -> list[Standing]:
        """Of all trials that have a score of their own, by number."""
        return list(self._standings.values())

    def genome(self, number: int, suggest: Suggest) -> GenomeLike:
        """The genome of a trial, made from its parameters."""
        return suggest(FixedTrial(self._mirror.frozen(number).params))

    def costs(self, numbers: Sequence[int]) -> NDArray[np.float64]:
        """[n, aims] the facts of trials that are minimised."""
        rows = [[self._records[n].facts[name] for name in self.aims] for n in numbers]
        return np.array(rows, np.float64).reshape(len(numbers), len(self.aims))

    def frozen(self, number: int) -> FrozenTrial:
        """A trial as samplers see it; not to be changed."""
        return self._mirror.frozen(number)

    def attribute(self, number: int, name: str) -> Any:
        """An attribute of a trial, or None."""
        return self._mirror.frozen(number).user_attrs.get(name)

    def propose(
        self, sampler: BaseSampler, suggest: Suggest, fixed: Mapping[str, Any] | None = None
    ) -> Proposal:
        """Ask for the next genome; nothing is written yet.

        Args:
            sampler: fresh, seeded for this trial.
            suggest: the space's.
            fixed: parameters to take instead of the sampler's.
        """
        return self._mirror.propose(sampler, suggest, fixed)

    def add(self, proposal: Proposal, attributes: Mapping[str, Any]) -> tuple[int, bool]:
        """Write a proposal that is going to be trained, and take it up.

        Returns:
            Its number, which is another one where other drivers wrote trials meanwhile; and
            whether none of them has taken it up.
        """
        for name, value in attributes.items():
            proposal.trial.set_user_attr(name, value)
        number = self._write(proposal, TrialState.WAITING if self.place.shared else None)
        if self.place.shared:
            return number, self._take_as_known(number, {})
        self._mine.add(number)
        return number, True

    def add_ended(
        self,
        proposal: Proposal,
        attributes: Mapping[str, Any],
        ended: Ended,
        reason: str,
        *,
        like: TrialRecord | None = None,
        excess: Mapping[str, float] | None = None,
    ) -> int:
        """Write a proposal that needs no training, with its end; returns its number.

        Args:
            like: the trial of the same genome, whose scores it takes over.
            excess: relative excess over limits, which tells a sampler where not to go.
        """
        rungs = [replace(rung, seconds=0.0) for rung in like.rungs] if like else []
        facts: dict[str, Any] = {rung_name(rung.budget): _plain(rung) for rung in rungs}
        if like is not None:
            facts["duplicate_of"] = like.number
        for name, value in {**attributes, "reason": reason, "ended": str(ended), **facts}.items():
            proposal.trial.set_user_attr(name, value)
        for name, value in (excess or {}).items():
            proposal.trial.set_constraint(name, value)
        state = _state(like.ended if like else ended)
        self._mirror.finish(proposal.number, state, rungs, attributes.get("facts", {}))
        return self._write(proposal)

    def note_study(self, name: str, value: Any) -> None:
        """Keep an attribute of the study."""
        self._disk.set_user_attr(name, value)
        self.attributes[name] = value

    def begin(self, number: int, attempt: Mapping[str, Any]) -> bool:
        """Take a trial up and note that it trains, or tries again to.

        Args:
            attempt: plain values; ``budget`` is the rung that it is on its way to.

        Returns:
            False if another driver was first; it is left alone then.
        """
        whose = {"driver": self.driver} if self.place.shared else {}
        kept = {"attempt": {**attempt, **whose}}
        if number in self._mine:
            self.storage.change(self._ids[number], attributes=kept)
        elif not self._take_as_known(number, kept):
            return False
        self._mirror.attach(number, kept)
        self._changed(number)
        return True

    def leave(self, number: int, attempt: Mapping[str, Any]) -> None:
        """Leave a trial whose training was interrupted to whoever goes on."""
        kept = {"attempt": dict(attempt)}
        self.storage.change(self._ids[number], attributes=kept, state=TrialState.WAITING)
        self._mirror.attach(number, kept)
        self._left(number)
        self._keep(record_of(self._mirror.frozen(number), self._records[number].repeats))

    def still_mine(self, number: int) -> bool:
        """False if another driver took the trial over, since this one gave no sign of life."""
        if not self.place.shared:
            return True
        on_disk = self.storage.get_trial(self._ids[number])
        mine = self._mirror.frozen(number).user_attrs.get("attempt")
        same = on_disk.user_attrs.get("attempt") == mine
        if on_disk.state is TrialState.RUNNING and same:
            return True
        self._mine.discard(number)
        return False

    def add_rung(self, number: int, rung: Rung, *, last: bool = False) -> None:
        """Keep a score of a trial, which then pauses; the last one goes on to its end."""
        kept = {rung_name(rung.budget): _plain(rung)}
        scores = {rung.budget: rung.score}
        state = None if last else TrialState.WAITING
        self.storage.change(self._ids[number], attributes=kept, scores=scores, state=state)
        self._mirror.attach(number, kept)
        if not last:
            self._left(number)
        self._changed(number)

    @property
    def repeated(self) -> int:
        """Further trainings so far, failed ones included."""
        return sum(name.startswith(AGAIN) for name in self.attributes)

    def turn(self, number: int, budget: int) -> int:
        """Which further training of a trial to a budget the next one is, from 1."""
        start = again_name(number, budget, 0)[:-2]
        return 1 + sum(name.startswith(start) for name in self.attributes)

    def add_repeat(self, number: int, rung: Rung) -> None:
        """Keep the score of a further training of a trial, which may have ended."""
        turn = self.turn(number, rung.budget)
        self.note_study(again_name(number, rung.budget, turn), _plain(rung))
        self._keep(record_of(self._mirror.frozen(number), repeats_of(self.attributes)[number]))
        self._mirror.show(self._records[number])

    def add_failed_repeat(self, number: int, budget: int, reason: str) -> None:
        """Keep that a further training of a trial gave no score."""
        turn = self.turn(number, budget)
        self.note_study(again_name(number, budget, turn), {"failed": reason})

    def end(self, number: int, ended: Ended, reason: str) -> bool:
        """End an open trial that this driver or nobody has; False if another one has it."""
        if number in self._free and not self._take(number):
            return False
        kept = {"reason": reason, "ended": str(ended)}
        record, state = self._records[number], _state(ended)
        values = self._mirror.finish(number, state, record.rungs, record.facts)
        self.storage.change(self._ids[number], attributes=kept, values=values, state=state)
        self._mirror.attach(number, kept)
        self._mine.discard(number)
        self._changed(number)
        return True

    def running_ids(self) -> list[int]:
        """Identifiers on disk of the trials that this driver is at work on."""
        return [self._ids[number] for number in tuple(self._mine)]

    def release_silent(self, seconds: float) -> None:
        """Free trials of drivers that have given no sign of life for so long."""
        if self.place.shared:
            self.storage.release_silent(self._disk._study_id, seconds)

    def _take_as_known(self, number: int, attributes: Mapping[str, Any]) -> bool:
        """Take up a trial, unless another driver had it since it was read."""
        if not self.place.shared:
            return self._take(number, attributes)
        if not self._take(number):
            return False
        on_disk = self.storage.get_trial(self._ids[number])
        if on_disk.user_attrs == self._mirror.frozen(number).user_attrs:
            self.storage.change(self._ids[number], attributes=attributes)
            return True
        self.storage.release(self._ids[number])
        self._left(number)
        return False

    def _take(self, number: int, attributes: Mapping[str, Any] | None = None) -> bool:
        taken = self.storage.take(self._ids[number], attributes)
        self._free.discard(number)
        if taken:
            self._mine.add(number)
        return taken

    def _changed(self, number: int) -> None:
        """Read a trial's record anew, and show it."""
        self._keep(record_of(self._mirror.frozen(number), self._records[number].repeats))
        self._mirror.show(self._records[number])

    def _left(self, number: int) -> None:
        self._mine.discard(number)
        self._free.add(number)

    def _write(self, proposal: Proposal, state: TrialState | None = None) -> int:
        """Put a proposal on disk whole; returns the number that it has there."""
        frozen = self._mirror.frozen(proposal.number)
        on_disk = copy.copy(frozen)
        on_disk.state = state or frozen.state
        trial_id, number = self.storage.add(self._disk._study_id, on_disk)
        if not self.place.shared:
            self._ids.append(trial_id)
            self._keep(record_of(frozen))
            return proposal.number
        self._ids.append(trial_id)
        self.refresh()  # puts it, and what others wrote meanwhile, where it belongs
        return number

    def _keep(self, record: TrialRecord) -> None:
        number = record.number
        if number == len(self._records):
            self._records.append(record)
        else:
            self.tally.add(self._records[number], -1)
            self._records[number] = record
        self.tally.add(record, 1)
        if record.ended is None and not record.paused:
            self._undone.add(number)
        else:
            self._undone.discard(number)
        if record.rungs and record.ended is not Ended.DUPLICATE:
            seeds = tuple(len(record.scores_at(rung.budget)) for rung in record.rungs)
            paused = record.paused and number in self._free
            self._standings[number] = Standing(number, record.means, paused, seeds)
        if record.key is not None and record.ended not in (Ended.DUPLICATE, Ended.OVER_LIMIT):
            self._first.setdefault(record.key, record.number)


def _state(ended: Ended | None) -> TrialState:
    """Optuna's state of a trial that ended so, or of another one of the same genome."""
    match ended:
        case Ended.COMPLETED:
            return TrialState.COMPLETE
        case Ended.FAILED:
            return TrialState.FAIL
    return TrialState.PRUNED


def _plain(rung: Rung) -> dict[str, Any]:
    return {
        "budget": rung.budget,
        "score": rung.score,
        "seconds": rung.seconds,
        "metrics": dict(rung.metrics),
    }
