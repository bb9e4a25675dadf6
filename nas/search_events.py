"""From what a driver tells its listener to events, and on to another listener."""

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Protocol

from nas import events
from nas.study import UNTRAINED, Ended, TrialRecord
from nas.tracking import Tracker


class Hearer(Protocol):
    """What nas.driver.Listener is."""

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Training begins or goes on."""

    def reported(self, trial: TrialRecord, said: Any) -> None:
        """What an evaluator says."""

    def ended(self, trial: TrialRecord) -> None:
        """A trial came to a rung or to its end, or was trained again."""


class SearchEvents:
    """A listener that tells a tracker, and then another listener.

    Args:
        tracker: is told of events.
        hearer: is told what this one is.
    """

    def __init__(self, tracker: Tracker, hearer: Hearer) -> None:
        self._tracker, self._hearer = tracker, hearer
        self._known: set[int] = set()
        self._again: dict[int, int] = {}  # trial -> further trainings before the one under way

    def begin(self, records: Sequence[TrialRecord], **settings: Any) -> None:
        """A search starts, or goes on with these trials."""
        self._known = {record.number for record in records}
        name = events.RESUMED if records else events.STARTED
        done = sum(record.counts for record in records)
        self._tracker.event(name, done=done, **settings)

    def finish(self, reason: str, *, complete: bool, best: TrialRecord | None, done: int) -> None:
        """A search ends.

        Args:
            reason: why.
            complete: whether all was done that was asked for.
            best: its best trial.
            done: trials that were trained.
        """
        told = None if best is None else {"trial": best.number, "score": best.score}
        self._tracker.event(events.ENDED, reason=reason, complete=complete, best=told, done=done)

    def started(self, trial: TrialRecord, budget: int) -> None:
        """A job begins."""
        self._propose(trial)
        again = bool(trial.rungs) and budget <= trial.budget
        if again:
            self._again[trial.number] = len(trial.repeats)
        elif trial.rungs:
            self._tracker.event(
                events.PROMOTED, trial=trial.number, reached=trial.budget, budget=budget
            )
        self._tracker.event(events.JOB_STARTED, trial=trial.number, budget=budget, again=again)
        self._hearer.started(trial, budget)

    def reported(self, trial: TrialRecord, said: Any) -> None:
        """An evaluator says something; a dataclass, such as an epoch's scores, is an event."""
        if is_dataclass(said) and not isinstance(said, type):
            self._tracker.event(events.EPOCH, trial=trial.number, **asdict(said))
        self._hearer.reported(trial, said)

    def ended(self, trial: TrialRecord) -> None:
        """A job, or a trial, ends."""
        before = self._again.pop(trial.number, None)
        if trial.ended in UNTRAINED:
            self._propose(trial)
            self._tracker.event(
                events.REFUSED, trial=trial.number, why=str(trial.ended), reason=trial.reason
            )
        elif before is not None:
            self._repeated(trial, before)
        elif trial.ended is Ended.FAILED:
            self._tracker.event(events.FAILED, trial=trial.number, reason=trial.reason)
        else:
            self._finished(trial)
        self._hearer.ended(trial)

    def _propose(self, trial: TrialRecord) -> None:
        if trial.number not in self._known:
            self._known.add(trial.number)
            self._tracker.event(
                events.PROPOSED, trial=trial.number, key=trial.key, facts=dict(trial.facts)
            )

    def _repeated(self, trial: TrialRecord, before: int) -> None:
        if len(trial.repeats) == before:
            self._tracker.event(
                events.FAILED,
                trial=trial.number,
                reason="trained again without a score",
                again=True,
            )
            return
        last = trial.repeats[-1]
        self._tracker.event(
            events.JOB_FINISHED, trial=trial.number, budget=last.budget, score=last.score,
            mean=trial.score, seconds=last.seconds, metrics=_short(last.metrics), again=True,
        )  # fmt: skip

    def _finished(self, trial: TrialRecord) -> None:
        if trial.rungs:
            last = trial.rungs[-1]
            self._tracker.event(
                events.JOB_FINISHED, trial=trial.number, budget=last.budget, score=last.score,
                mean=trial.score, seconds=last.seconds, metrics=_short(last.metrics), again=False,
            )  # fmt: skip
        done = trial.ended is not None
        name = events.COMPLETED if done else events.PAUSED
        self._tracker.event(name, trial=trial.number, budget=trial.budget)


def _short(metrics: Any) -> dict[str, Any]:
    """Metrics without every epoch's, which are events of their own."""
    return {name: value for name, value in metrics.items() if name != "epochs"}
