"""Jobs under way, and how what they gave is read."""

import math
from dataclasses import dataclass
from typing import Any

from nas.errors import TrainingError, TrainingFailure
from nas.executors import Result
from nas.jobs import Outcome
from nas.study import Rung


@dataclass(frozen=True, slots=True)
class Flight:
    """A job under way: of which trial, to which budget, and whether from another seed."""

    number: int
    budget: int
    again: bool


def checked(result: Result) -> Result:
    """What a job gave; a score that is not finite, which compares with no other, is a failure."""
    if isinstance(result, Outcome) and not math.isfinite(result.score + result.cost_s):
        return TrainingError(
            TrainingFailure.NOT_FINITE,
            "a score and its seconds must be finite, but are "
            f"{result.score} and {result.cost_s}; mend the evaluator",
        )
    return result


def undone(flight: Flight) -> dict[str, Any]:
    """The attempt of a job that ended by no fault of its own."""
    return {"budget": flight.budget, "deaths": 0}


def rung_of(flight: Flight, outcome: Outcome) -> Rung:
    """An outcome as the study keeps it."""
    return Rung(flight.budget, outcome.score, outcome.cost_s, dict(outcome.metrics))
