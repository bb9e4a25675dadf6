"""Who runs jobs: in this process, in processes of this machine, or on a Ray cluster.

An executor has slots; a job takes one until it is done. It knows no study and decides nothing: the
driver submits while a slot is free, and waits. A worker keeps nothing that a kill could lose, so
any of them may die at any time, and only its job is done again.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nas.errors import Interrupted, TrainingError, WorkerLost
from nas.jobs import Evaluator, Job, Outcome, Watchable

Report = Callable[[int, Any], None]
"""Is told a ticket and what its evaluator says while it works; see nas.jobs.Watchable."""

Stop = Callable[[], bool]


Result = Outcome | TrainingError | Interrupted | WorkerLost


@dataclass(frozen=True, slots=True)
class Done:
    """How a job ended: with an outcome, a training that failed, asked to stop, or a dead worker."""

    ticket: int
    result: Result


class Executor(Protocol):
    """Runs jobs; used by one thread."""

    @property
    def slots(self) -> int:
        """Jobs that may be under way at once, at least 1."""

    def submit(self, ticket: int, job: Job) -> None:
        """Begin a job, or take it for ``wait`` to run; only while a slot is free.

        Args:
            ticket: by which the caller knows it; unique among jobs under way.
            job: its device may be replaced by the slot's.
        """

    def wait(self) -> Done:
        """The next job that ends; only while one is under way.

        While it waits it asks whether to stop, and then lets every job end after its epoch.

        Raises:
            Exception: what the evaluator raised that is not an error of Done.
        """

    def close(self) -> None:
        """End all workers; jobs under way are abandoned where they are."""


class Inline:
    """Runs jobs one at a time in the calling thread. The one that is repeatable to the bit."""

    slots = 1

    def __init__(self, evaluator: Evaluator, report: Report, stop: Stop) -> None:
        self._evaluator, self._report, self._stop = evaluator, report, stop
        self._queue: deque[tuple[int, Job]] = deque()

    def submit(self, ticket: int, job: Job) -> None:
        """See Executor."""
        self._queue.append((ticket, job))

    def wait(self) -> Done:
        """See Executor."""
        ticket, job = self._queue.popleft()
        evaluator = watching(self._evaluator, lambda said: self._report(ticket, said), self._stop)
        try:
            return Done(ticket, evaluator.evaluate(job))
        except (TrainingError, Interrupted) as error:
            return Done(ticket, error)

    def close(self) -> None:
        """See Executor."""


def watching(evaluator: Evaluator, report: Callable[[Any], None], stop: Stop) -> Evaluator:
    """The evaluator, watched if it can be."""
    return evaluator.watched(report, stop) if isinstance(evaluator, Watchable) else evaluator
