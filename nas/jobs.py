"""What passes between a search, a space and an evaluator. No torch, no Optuna."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class GenomeLike(Protocol):
    """Any value that can be searched: equal keys mean the same thing to evaluate."""

    @property
    def key(self) -> str:
        """Short text, the same for genomes that need not both be evaluated."""

    def to_json(self) -> dict[str, Any]:
        """Plain values that describe the genome."""


@dataclass(frozen=True)
class Job:
    """One piece of evaluation.

    Attributes:
        genome: what to evaluate.
        start_budget: budget (epochs) that an earlier job of the genome has spent; 0 at first.
        budget: total to reach; greater than ``start_budget``.
        seed: of everything random in it.
        fold: which division of the data.
        device: such as "cpu" or "cuda:0".
        checkpoint: file to go on from, if it is there, and to save to; None to keep nothing.
        parent: checkpoint of a trained genome that differs in little, whose weights (beside it) may
            be begun with; None for none.
    """

    genome: Any
    start_budget: int
    budget: int
    seed: int
    fold: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    parent: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What a job gave.

    Attributes:
        score: higher is better; finite.
        cost_s: seconds of work, those of the genome's earlier jobs not counted.
        metrics: other figures, plain values.
        checkpoint: file from which the genome can go on.
    """

    score: float
    cost_s: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None


class Evaluator(Protocol):
    """Scores a genome up to a budget."""

    def evaluate(self, job: Job) -> Outcome:
        """Raises TrainingError if the genome cannot be scored, Interrupted if asked to stop."""


@runtime_checkable
class Watchable(Protocol):
    """An evaluator that can tell how far it is, and be asked to stop, while it evaluates."""

    def watched(self, report: Callable[[Any], None], stop: Callable[[], bool]) -> Evaluator:
        """The same evaluator.

        Args:
            report: called with plain values, such as an epoch's scores.
            stop: asked between epochs; once True, what is done so far is saved in the job's
                checkpoint, and ``evaluate`` raises Interrupted.
        """
