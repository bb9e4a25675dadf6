"""Who trains further. Pure decisions: no torch, no study, no clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import SettingsError

REDUCTION = 3
"""One in three goes on at each rung, as in Hyperband (Li et al. 2018, JMLR 18:185)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a genome stands.

    Attributes:
        number: of its trial; of equal scores the earlier trial is taken for better.
        scores: at the rungs that it reached, the lowest first; higher is better.
        paused: it can go on from its last rung.
    """

    number: int
    scores: tuple[float, ...]
    paused: bool


@dataclass(frozen=True, slots=True)
class Promotion:
    """Which trial goes on to the next rung, and why, in words."""

    number: int
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


def promote(
    standings: Sequence[Standing], rungs: int, *, last: bool = False, reduction: int = REDUCTION
) -> Promotion | None:
    """Who goes on next: a genome among the best 1/reduction at its rung, or nobody.

    Asynchronous successive halving in its promotion form (Li et al. 2020, MLSys, algorithm 2): all
    pause at a rung, the best go on from there when there are enough others to be better than, the
    highest rung first; with nobody to promote a new genome is tried. Nobody waits for anybody, and
    what is promoted later is not trained again.

    Args:
        standings: of all genomes that reached the first rung.
        rungs: how many there are; nobody goes on from the last.
        last: no new genome will come. Then shares are rounded up, so that one at least is trained
            to the end, and the lowest rung is served first, so that every comparison is complete.
        reduction: at least 2.
    """
    below = range(rungs - 1)
    for rung in below if last else reversed(below):
        here = sorted(
            (standing for standing in standings if len(standing.scores) > rung),
            key=lambda standing: (-standing.scores[rung], standing.number),
        )
        places = math.ceil(len(here) / reduction) if last else len(here) // reduction
        for place, standing in enumerate(here[:places], start=1):
            if standing.paused and len(standing.scores) == rung + 1:
                reason = f"place {place} of {len(here)}; the first {places} go on"
                return Promotion(standing.number, reason)
    return None
