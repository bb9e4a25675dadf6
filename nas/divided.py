"""The evaluator of finals: trains and scores on whichever division a job names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nas.evaluator import TrainingEvaluator
from nas.jobs import Job, Outcome


@dataclass(frozen=True)
class DividedEvaluator:
    """Has one evaluator for each division; ``job.fold`` says which.

    Attributes:
        parts: evaluators, by ``job.fold``.
    """

    parts: tuple[TrainingEvaluator, ...]

    def evaluate(self, job: Job) -> Outcome:
        """See nas.jobs.Evaluator."""
        return self.parts[job.fold].evaluate(job)

    def watched(
        self, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> "DividedEvaluator":
        """See nas.jobs.Watchable."""
        return replace(self, parts=tuple(part.watched(report, stop) for part in self.parts))
