"""Who trains further. Pure decisions: no torch, no study, no clock, no randomness.

All genomes pause at a rung and may go on from there later, so nothing is trained twice. A scheduler
is asked whenever a worker is free; what it is told and answers are plain values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Protocol

from nas.errors import SettingsError

REDUCTION = 3
"""One in three goes on at each rung, as in Hyperband (Li et al. 2018, JMLR 18:185)."""

MOST_WAITING = 200
"""Of those that wait, so many with the best scores of their own are looked at more closely."""

EXPLORING = 0.5
"""Share of the total cost that Expecting spends at the lowest budget."""

NOISE_SHARE, NOISE_WEIGHT = 0.36, 2.0
"""Spread of one genome's scores between seeds, as a share of the spread between genomes, and how
many pairs of trainings this guess counts for. On the public chest X-rays the two were 0.004 and
0.011 (AUROC, 16 genomes, 2 seeds each)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a genome stands.

    Attributes:
        number: of its trial; of equal scores the earlier trial is taken for better.
        scores: at the rungs that it reached, the lowest first; higher is better. Where it was
            trained from several seeds, their mean.
        paused: it can go on from its last rung.
        seeds: how many trainings each score is of; one each where nothing is said.
    """

    number: int
    scores: tuple[float, ...]
    paused: bool
    seeds: tuple[int, ...] = ()

    def trained(self, rung: int) -> int:
        """From how many seeds it was trained to a rung."""
        return self.seeds[rung] if self.seeds else 1


@dataclass(frozen=True, slots=True)
class Promotion:
    """Which trial goes on to the next rung, and why, in words."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """Which trial is trained from another seed up to a rung, and why, in words."""

    number: int
    rung: int
    reason: str


@dataclass(frozen=True, slots=True)
class New:
    """A new genome is tried; and why, in words."""

    reason: str


Step = Promotion | Repeat | New


@dataclass(frozen=True)
class Field:
    """What a scheduler decides on.

    Attributes:
        standings: of all genomes that reached the first rung.
        rungs: how many there are; nobody goes on from the last.
        coming: a new genome may be tried.
        settled: none is on its way to the first rung.
        idle: no training is under way.
        explored: cost so far of trainings to the first rung, those under way included.
        promoted: cost so far of everything beyond it, in the same unit.
        total: cost of the whole search, above 0.
        price: of one more training to the first rung.
        climb: cost from the first rung to the last.
        timed: time ends the search, so all that is left of it may be used.
        repeats: trainings from another seed that may still be spent.
        spread: of scores between seeds at a rung; None where it is not known.
        expected: what the last rung's score of trials is expected to be, by their numbers.
    """

    standings: Sequence[Standing]
    rungs: int
    coming: bool
    settled: bool
    idle: bool
    explored: float
    promoted: float
    total: float
    price: float
    climb: float
    timed: bool
    repeats: int
    spread: Callable[[int], float | None]
    expected: Callable[[Sequence[int]], Sequence[float]]


class Scheduler(Protocol):
    """Decides what a free worker does."""

    def next(self, field: Field) -> Step | None:
        """What to do; None if there is nothing, or nothing before a training under way ends."""


class Halving:
    """Asynchronous successive halving in its promotion form; see ``promote``."""

    def next(self, field: Field) -> Step | None:
        """See Scheduler."""
        step: Step | None = promote(field.standings, field.rungs)
        if step is not None:
            return step
        if field.coming:
            return New("nobody is to be promoted")
        if not field.settled:
            return None
        for rung in range(field.rungs):
            places = math.ceil(len(_at(field.standings, rung)) / REDUCTION)
            last = rung == field.rungs - 1
            step = tie(field, rung, 1 if last else places)
            if step is None and not last:
                step = promote(field.standings, field.rungs, last=True, only=rung)
            if step is not None:
                return step
        return None


class Expecting:
    """Explores first, then trains in full whatever is expected to be best, one after the other.

    Each result changes what is expected of the others, and nothing is judged before there is
    something to compare it with: on NAS-Bench-201 (CIFAR-100, 8 seeds) full trainings spread evenly
    over the search reached 72.66 ± 0.68 test accuracy at a cost of 10, and 73.15 ± 0.14 at 15.
    Exploring first reached 73.40 ± 0.17 at 12 (7 other seeds), and 73.11 ± 0.03 (6 of them) where
    the best at the lowest budget were promoted in place of the best expected.

    Trials that were promoted go through to the last rung. At the end, a tie between the best two is
    resolved.
    """

    def next(self, field: Field) -> Step | None:
        """See Scheduler."""
        if field.coming and explores(field.explored, field.total, field.price):
            goal = EXPLORING * field.total
            return New(f"{field.explored:.4g} of {goal:.4g} spent on exploring")
        between = [s for s in field.standings if s.paused and 1 < len(s.scores) < field.rungs]
        if between:
            return Promotion(between[0].number, "on its way to the last rung")
        waiting = [s for s in field.standings if s.paused and len(s.scores) < field.rungs]
        best = nlargest(MOST_WAITING, waiting, key=lambda s: (s.scores[-1], -s.number))
        numbers = sorted(s.number for s in best)
        left = field.total - field.explored
        room = field.timed or field.promoted + field.climb <= left * (1 + 1e-9)
        if numbers and (room or not field.promoted):
            expected = zip(field.expected(numbers), numbers, strict=True)
            _, chosen = max(expected, key=lambda pair: (pair[0], -pair[1]))
            return Promotion(chosen, f"expected to be the best of {len(numbers)} that wait")
        if field.coming and field.timed:
            return New("nobody waits to be trained further")
        return tie(field, field.rungs - 1, 1)


def explores(explored: float, total: float, price: float) -> bool:
    """Whether one more training at the lowest budget stays within the share for exploring.

    Args:
        explored: cost so far of trainings at the lowest budget.
        total: of the whole search, in the same unit.
        price: of one more.
    """
    goal = EXPLORING * total
    # Sums of prices are rounded: without the margin one training could be missing.
    return explored < goal and explored + price <= goal * (1 + 1e-9)


SCHEDULERS: Mapping[str, Callable[[], Scheduler]] = {"expecting": Expecting, "halving": Halving}


def make_scheduler(name: str) -> Scheduler:
    """A scheduler by its name.

    Raises:
        SettingsError: no such scheduler.
    """
    if name not in SCHEDULERS:
        raise SettingsError(
            f"--scheduler must be one of {', '.join(SCHEDULERS)}, but is {name!r}; choose one"
        )
    return SCHEDULERS[name]()


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
    standings: Sequence[Standing],
    rungs: int,
    *,
    last: bool = False,
    only: int | None = None,
    reduction: int = REDUCTION,
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
        only: the one rung to look at.
        reduction: at least 2.
    """
    below = range(rungs - 1) if only is None else range(only, only + 1)
    for rung in below if last else reversed(below):
        here = _at(standings, rung)
        places = math.ceil(len(here) / reduction) if last else len(here) // reduction
        waiting = [s for s in here if s.paused and len(s.scores) == rung + 1]
        if not waiting or not places:
            continue
        # Without sorting: with thousands of genomes this is asked thousands of times.
        best = min(waiting, key=lambda s: (-s.scores[rung], s.number))
        mark = (-best.scores[rung], best.number)
        place = 1 + sum((-s.scores[rung], s.number) < mark for s in here)
        if place <= places:
            reason = f"place {place} of {len(here)}; the first {places} go on"
            return Promotion(best.number, reason)
    return None


def tie(field: Field, rung: int, places: int) -> Repeat | None:
    """Whom to train from another seed, since who is among the first ``places`` is not clear.

    The last one within and the first one outside are near if their means differ by less than one
    standard error of the difference. Of the two, the one that was trained from fewer seeds is
    trained again. Seeds and not folds, because scores of different folds do not compare.
    """
    if field.repeats < 1 or not field.idle:
        return None
    here = sorted(_at(field.standings, rung), key=lambda s: (-s.scores[rung], s.number))
    if not 0 < places < len(here):
        return None
    within, outside = here[places - 1], here[places]
    spread = field.spread(rung)
    if spread is None or len(within.scores) > rung + 1 or len(outside.scores) > rung + 1:
        return None  # it was decided already
    error = spread * math.sqrt(1 / within.trained(rung) + 1 / outside.trained(rung))
    gap = within.scores[rung] - outside.scores[rung]
    if gap >= error:
        return None
    chosen = min((within, outside), key=lambda s: (s.trained(rung), s.number))
    reason = f"places {places} and {places + 1} differ by {gap:.4f}, within {error:.4f} by chance"
    return Repeat(chosen.number, rung, reason)


def noise(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation of a score between seeds, from all genomes' scores at one rung.

    The pooled variance within genomes that were trained from several seeds, together with a first
    guess from the spread between genomes, which is that of the upper half: failures should not
    count. (The posterior mean of a scaled inverse chi-square; Gelman et al. 2013, 2.6.)

    Args:
        groups: of each genome, its scores from different seeds, at least one.

    Returns:
        None with fewer than four genomes: nothing is known then.
    """
    if len(groups) < 4:
        return None
    means = sorted(sum(group) / len(group) for group in groups)[len(groups) // 2 :]
    middle = sum(means) / len(means)
    between = sum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
    within = sum((score - sum(group) / len(group)) ** 2 for group in groups for score in group)
    freedom = sum(len(group) - 1 for group in groups)
    guess = NOISE_WEIGHT * NOISE_SHARE**2 * between
    return math.sqrt((guess + within) / (NOISE_WEIGHT + freedom))


def _at(standings: Sequence[Standing], rung: int) -> list[Standing]:
    return [standing for standing in standings if len(standing.scores) > rung]
