"""Who trains further. Pure decisions: no torch, no study, no clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import SettingsError

REDUCTION = 3
"""One in three goes on at each rung, as in Hyperband (Li et al. 2018, JMLR 18:185)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a genome goes on, and why, in words."""

    go_on: bool
    reason: str


def rungs(epochs: int, reduction: int = REDUCTION) -> tuple[int, ...]:
    """Budgets at which genomes are compared: ``epochs`` and its thirds, ninths, …, down to 1.

    >>> rungs(9), rungs(6), rungs(1)
    ((1, 3, 9), (2, 6), (1,))

    Raises:
        SettingsError: ``epochs`` is below 1.
    """
    if epochs < 1:
        raise SettingsError(f"--epochs must be at least 1, but is {epochs}; 6 is a good start")
    ladder = [epochs]
    while ladder[0] // reduction >= 1:
        ladder.insert(0, ladder[0] // reduction)
    return tuple(ladder)


def decide(score: float, others: Sequence[float], reduction: int = REDUCTION) -> Decision:
    """Decide at a rung below the last: among those seen so far, the best 1/reduction go on.

    The asynchronous rule of ASHA (Li et al. 2020, MLSys) in its stopping form: nobody waits for
    anybody. The first genomes go on unjudged, since there is nothing yet to judge them by.

    Args:
        score: of this genome at this rung; higher is better.
        others: scores of all earlier genomes at the same rung.
        reduction: at least 2.
    """
    seen = len(others) + 1
    if seen < reduction:
        return Decision(True, f"one of the first {reduction - 1} at this rung")
    places = math.ceil(seen / reduction)
    better = sum(other > score for other in others)
    if better < places:
        return Decision(True, f"place {better + 1} of {seen}; the first {places} go on")
    return Decision(False, f"place {better + 1} of {seen} at this rung; the first {places} go on")
