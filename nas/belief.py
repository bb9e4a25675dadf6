"""What is thought of every point of a space, given a study: the surrogate's view, without choosing.

A Gaussian process over encoded points is fitted to scores at low rungs and full scores jointly, and
a second one to where limits were passed. The samplers' surrogate proposes by it, and whom to
promote can be read from it. All of it runs on one thread: that is faster at this size, and the sums
do not depend on how many cores are there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri
from threadpoolctl import ThreadpoolController

from nas.gaussian import Array, GaussianProcess
from nas.neighbours import Point, encoded
from nas.observations import Observation, Observations

Describe = Callable[[Point], Mapping[str, float]]
"""Figures of a point that are known before training, such as parameters; always the same names."""

ENOUGH = 10
"""Scores at a rung from which on new points are judged there."""

MOST = 300
"""Trials that the process is told: its time grows with n³."""

MOST_BUDGETS = 4
"""Budgets that count as rungs; of more, such as every epoch's, evenly spaced ones do."""


@dataclass(frozen=True)
class Belief:
    """What is thought of every point, given a study.

    Attributes:
        trials: those the process was fitted to, best first at the lowest budget.
        budgets: rising; the process's rungs.
        aim: the rung at which new points are judged: the highest with at least ENOUGH scores.
            With fewer, the unknown level of a rung would pass for promise: NAS-Bench-201
            (CIFAR-100, 8 seeds, cost 10) gave 72.19 ± 1.67 when the last rung was aimed at from
            its first score on, and 72.66 ± 0.68 when the lowest was.
        best: the highest expected score among ``trials`` at ``aim``, in the process's units.
    """

    trials: tuple[Observation, ...]
    budgets: tuple[float, ...]
    aim: int
    best: float
    _scores: GaussianProcess
    _limits: GaussianProcess | None
    _columns: Callable[[Sequence[Point]], Array]

    @classmethod
    def of(cls, known: Observations, describe: Describe | None = None) -> "Belief":
        """Fitted to the study; ``known.scored`` must not be empty."""
        with _threads().limit(limits=1):
            return cls._of(known, describe)

    @classmethod
    def _of(cls, known: Observations, describe: Describe | None) -> "Belief":
        trials = _informative(known)
        columns = _columns([one.point for one in trials], known, describe)
        budgets = _rungs(sorted({budget for one in trials for budget in one.scores}))
        x = columns([one.point for one in trials])
        rows: list[int] = []
        rungs: list[int] = []
        y: list[float] = []
        for rung, budget in enumerate(budgets):
            there = [i for i, one in enumerate(trials) if budget in one.scores]
            rows += there
            rungs += [rung] * len(there)
            y += list(_scaled(np.array([trials[i].scores[budget] for i in there]), rung))
        scores = GaussianProcess.fit(x[rows], np.array(rungs), np.array(y))
        scores = _with_pending(scores, known, columns)
        aim = max((r for r in range(len(budgets)) if rungs.count(r) >= ENOUGH), default=0)
        best = float(scores.predict(x, aim)[0].max())
        return cls(tuple(trials), budgets, aim, best, scores, _limits(known, columns), columns)

    def predict(self, points: Sequence[Point], rung: int = -1) -> tuple[Array, Array]:
        """Mean and spread at a rung, the last one unless told, in the units of the process."""
        with _threads().limit(limits=1):
            return self._scores.predict(self._columns(points), range(len(self.budgets))[rung])

    def promise(self, points: Sequence[Point]) -> Array:
        """Logarithm of the expected improvement at ``aim`` (Jones et al. 1998, equation 15).

        With limits, the logarithm of the probability of being within them is added.
        """
        x = self._columns(points)
        with _threads().limit(limits=1):
            return self._promise(x)

    def _promise(self, x: Array) -> Array:
        mean, spread = self._scores.predict(x, self.aim)
        promise = log_improvement(mean, spread, self.best)
        if self._limits is not None:
            mean, spread = self._limits.predict(x, 0)
            promise += np.log(np.maximum(ndtr(-mean / spread), 1e-12))
        return promise


@cache
def _threads() -> ThreadpoolController:
    """Found once a process: looking through all loaded libraries takes milliseconds."""
    return ThreadpoolController()


def log_improvement(mean: Array, spread: Array, best: float) -> Array:
    """Logarithm of the expected improvement over ``best`` of normal scores, element by element."""
    u = (mean - best) / spread
    density = np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    # Far below the best the two terms cancel; the tail is then density / u².
    gain = np.where(u > -6, u * ndtr(u) + density, density / np.maximum(u * u, 1))
    tail = -u * u / 2 - math.log(math.sqrt(2 * math.pi)) - 2 * np.log(np.maximum(np.abs(u), 1))
    return np.log(spread) + np.where(gain > 1e-300, np.log(np.maximum(gain, 1e-300)), tail)


def _informative(known: Observations) -> list[Observation]:
    """At most MOST scored trials: the furthest trained, the best, and for the rest the latest."""
    ranked = sorted(known.scored, key=lambda one: (-known.score(one), one.number))
    if len(ranked) <= MOST:
        return ranked
    far = sorted(ranked, key=lambda one: -len(one.scores))[: MOST // 2]
    latest = sorted(known.scored, key=lambda one: -one.number)
    chosen = {one.number: one for one in far[: MOST // 2]}
    for one in (*ranked[: MOST // 4], *latest):
        if len(chosen) < MOST:
            chosen[one.number] = one
    return [one for one in ranked if one.number in chosen]


def _rungs(budgets: Sequence[float]) -> tuple[float, ...]:
    """At most MOST_BUDGETS of rising budgets, the lowest and the highest among them."""
    count = min(len(budgets), MOST_BUDGETS)
    return tuple(budgets[int(i)] for i in np.linspace(0, len(budgets) - 1, count).round())


def _scaled(scores: Array, rung: int) -> Array:
    """Scores of one rung with a spread of about 1.

    At the lowest rung by normal quantiles of their ranks: a few failures do not squeeze the rest
    together. On higher rungs, where only chosen points are, linearly from the median, because
    there the distances at the top are what is asked for.
    """
    if rung == 0:
        _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = (counts.cumsum() - counts / 2)[place]  # equal scores share the middle of theirs
        return np.asarray(ndtri(ranks / len(scores)))
    spread = float(scores.std())
    return np.clip((scores - np.median(scores)) / (spread or 1.0), -3, 3)


def _columns(
    points: Sequence[Point], known: Observations, describe: Describe | None
) -> Callable[[Sequence[Point]], Array]:
    """How a point is encoded: its parameters, and its figures, scaled by those of ``points``."""
    if describe is None:
        return lambda given: encoded(given, known.space)
    names = sorted(describe(points[0]))

    def figures(given: Sequence[Point]) -> Array:
        rows = [[describe(point)[name] for name in names] for point in given]
        return np.sign(rows) * np.log1p(np.abs(rows))

    there = figures(points)
    middle, spread = there.mean(0), np.maximum(there.std(0), 1e-9)
    return lambda given: np.hstack(
        [encoded(given, known.space), (figures(given) - middle) / spread / 2]
    )


def _with_pending(
    process: GaussianProcess, known: Observations, columns: Callable[[Sequence[Point]], Array]
) -> GaussianProcess:
    """The process as if pending points had scored what is expected (Ginsbourger et al. 2010)."""
    waiting = [one.point for one in known.every if one.pending and not one.scores]
    if not waiting:
        return process
    x = columns(waiting[:MOST])
    rungs = np.zeros(len(x), np.int64)
    return GaussianProcess.given(
        np.vstack([process.x, x]),
        np.r_[process.rungs, rungs],
        np.r_[process.y, process.predict(x, 0)[0]],
        process.theta,
    )


def _limits(
    known: Observations, columns: Callable[[Sequence[Point]], Array]
) -> GaussianProcess | None:
    """A process above 0 where a limit is likely passed; None if none was passed so far."""
    if all(one.allowed for one in known.every):
        return None
    latest = [one for one in known.every if not one.pending][-MOST:]
    # A trial within its limits keeps no figure of how far within.
    excess = [-0.5 if one.excess is None else one.excess for one in latest]
    y = np.clip(excess, -1, 1)
    y[[not one.allowed for one in latest]] += 0.1
    x = columns([one.point for one in latest])
    return GaussianProcess.fit(x, np.zeros(len(x), np.int64), y)
