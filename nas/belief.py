"""What is thought of every point of a space, given a study: the surrogate's view, without choosing.

A Gaussian process over encoded points is told scores at low rungs and full scores jointly, and a
second one where limits were passed. The samplers' surrogate proposes by it, and whom to promote can
be read from it. All of it runs on one thread: that is faster at this size, and the sums do not
depend on how many cores are there.

Fitting a kernel's numbers takes longer than all the rest, and with many trials one more changes
them little. So they are fitted every now and then, left in the study as a note of the trial that
was proposed by them, and read from there until they are due again: a search that was killed reads
the same ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from threadpoolctl import ThreadpoolController

from nas.axes import Array, Axes, Ints, Point, Used
from nas.gaussian import GaussianProcess
from nas.observations import Observations

Describe = Callable[[Point], Mapping[str, float]]
"""Figures of a point that are known before training, such as parameters; always the same names."""

Columns = Callable[[Array], Array]
"""Rows of points -> columns of the process."""

ENOUGH = 10
"""Scores at a rung from which on new points are judged there."""

MOST = 240
"""Scores that the process is told: its time grows with n³. With 300 a trial of a search of 1,000
took 23 ms beside training, with 240 18 (processor time, median, quiet machine, one run each)."""

MOST_BUDGETS = 4
"""Budgets that count as rungs; of more, such as every epoch's, evenly spaced ones do."""

BATCH = 48
"""Rows that are looked at closely at once."""

SHARE = 25
"""With n scored trials the kernel is fitted again after every n / SHARE further ones. On
NAS-Bench-201 (CIFAR-10, 30 seeds, 100 full trainings) that gave 94.36 ± 0.07, and a fit for every
proposal 94.37 ± 0.00."""


@dataclass(frozen=True)
class Belief:
    """What is thought of every point, given a study.

    Attributes:
        known: the study.
        places: of the trials that the process was told, best first at the lowest budget.
        budgets: rising; the process's rungs.
        aim: the rung at which new points are judged: the highest with at least ENOUGH scores.
            With fewer, the unknown level of a rung would pass for promise: NAS-Bench-201
            (CIFAR-100, 8 seeds, cost 10) gave 72.19 ± 1.67 when the last rung was aimed at from
            its first score on, and 72.66 ± 0.68 when the lowest was.
        means: expected scores of ``places`` at ``aim``, in the process's units.
        note: to be left in the study; None where nothing was fitted anew.
    """

    known: Observations
    places: Ints
    budgets: tuple[float, ...]
    aim: int
    means: Array
    note: Mapping[str, Any] | None
    _scores: GaussianProcess
    _limits: GaussianProcess | None
    _columns: Columns

    @classmethod
    def of(
        cls, known: Observations, describe: Describe | None = None, used: Used | None = None
    ) -> "Belief":
        """Fitted to the study; ``known.scored`` must not be empty.

        Args:
            known: the study.
            describe: further columns of a point.
            used: which parameters count; see search_spaces.base.SparseSpace.
        """
        with _threads().limit(limits=1):
            return cls._of(known, describe, used)

    @classmethod
    def _of(cls, known: Observations, describe: Describe | None, used: Used | None) -> "Belief":
        rungs = _rungs(known)
        places = _informative(known, rungs)
        columns = _columns(known, places, describe, used)
        x = columns(known.rows[places])
        scores = known.scores[np.ix_(places, rungs)]
        rung, row = np.nonzero(~np.isnan(scores).T)
        y = np.concatenate([_scaled(scores[row[rung == r], r], r) for r in range(len(rungs))])
        fit = _fitted(known, "scores", x[row], rung, y)
        process = _with_pending(fit.process, known, columns)
        counts = np.bincount(rung, minlength=len(rungs))
        aim = int(np.flatnonzero(counts >= ENOUGH)[-1]) if counts.max() >= ENOUGH else 0
        limits = _limits(known, columns)
        notes = [one.note for one in (fit, limits) if one is not None and one.note is not None]
        note = {**known.note, **{name: value for one in notes for name, value in one.items()}}
        return cls(
            known=known,
            places=places,
            budgets=tuple(known.budgets[r] for r in rungs),
            aim=aim,
            means=process.mean(x, aim),
            note=note if notes else None,
            _scores=process,
            _limits=None if limits is None else limits.process,
            _columns=columns,
        )

    def predict(self, points: Sequence[Point], rung: int = -1) -> tuple[Array, Array]:
        """Mean and spread at a rung, the last one unless told, in the units of the process."""
        x = self._columns(self.known.axes.rows(points))
        with _threads().limit(limits=1):
            return self._scores.predict(x, range(len(self.budgets))[rung])

    def expected(self, numbers: Sequence[int]) -> Array:
        """Mean at the last rung of trials of the study, by number, in the units of the process."""
        places = np.searchsorted(self.known.numbers, numbers)
        x = self._columns(self.known.rows[places])
        with _threads().limit(limits=1):
            return self._scores.mean(x, len(self.budgets) - 1)

    def most_promising(self, rows: Array, above: float = -math.inf) -> tuple[int, float] | None:
        """Place and promise of the row that promises most, if that is more than ``above``.

        A row's promise is the logarithm of the expected improvement at ``aim`` (Jones et al. 1998,
        equation 15), and of the probability of being within the limits, if there are any. Rows
        that cannot promise more than another one are not looked at closely.
        """
        x = self._columns(rows)
        with _threads().limit(limits=1):
            asked = self._scores.asked(x, self.aim)
            best = float(self.means.max())
            ceiling = log_improvement(asked.mean, asked.most, best)
            order = np.argsort(-ceiling, kind="stable")
            found = None
            for start in range(0, len(order), BATCH):
                some = order[start : start + BATCH]
                if ceiling[some[0]] <= above:
                    break
                promise = log_improvement(asked.mean[some], asked.spread(some), best)
                if self._limits is not None:
                    mean, spread = self._limits.predict(x[some], 0)
                    promise += np.log(np.maximum(ndtr(-mean / spread), 1e-12))
                if promise.max() > above:
                    above = float(promise.max())
                    found = int(some[promise.argmax()]), above
        return found


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


def _rungs(known: Observations) -> Ints:
    """Columns of at most MOST_BUDGETS of the budgets, the lowest and the highest among them."""
    there = np.flatnonzero((~np.isnan(known.scores[known.scored])).any(0))
    count = min(len(there), MOST_BUDGETS)
    return np.asarray(there[np.linspace(0, len(there) - 1, count).round().astype(int)])


def _informative(known: Observations, rungs: Ints) -> Ints:
    """Places of trials with at most MOST scores, best first.

    Half are those of the furthest trained, a quarter of the best, and the rest of the latest.
    """
    scored = known.scored
    ranked = scored[np.argsort(-known.scores[scored, 0], kind="stable")]
    weight = (~np.isnan(known.scores[ranked][:, rungs])).sum(1)
    if weight.sum() <= MOST:
        return np.asarray(ranked)
    far, latest = np.argsort(-weight, kind="stable"), np.argsort(-ranked)
    chosen: set[int] = set()
    told, weights = 0, weight.tolist()
    for order, part in ((far, 1 / 2), (np.arange(len(ranked)), 3 / 4), (latest, 1)):
        for place in order[:MOST].tolist():
            if place not in chosen and told + weights[place] <= part * MOST:
                chosen.add(place)
                told += weights[place]
    return np.asarray(ranked[sorted(chosen)])


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


@dataclass(frozen=True)
class _Fit:
    """A process, and what is to be noted if its numbers were fitted anew."""

    process: GaussianProcess
    note: Mapping[str, Any] | None


def _fitted(known: Observations, name: str, x: Array, rungs: Ints, y: Array) -> _Fit:
    """A process with the numbers that the study has under a name, or new ones if they are due."""
    count, last = len(known.scored), known.note.get(name)
    start = None
    if last is not None and last["shape"] == [x.shape[1], int(rungs.max())]:
        start = np.array(last["theta"])
        wait = max(1, count // SHARE)
        if 0 <= count - last["count"] < wait:
            return _Fit(GaussianProcess.given(x, rungs, y, start), None)
    process = GaussianProcess.fit(x, rungs, y, start)
    shape = [x.shape[1], int(rungs.max())]
    return _Fit(process, {name: {"count": count, "shape": shape, "theta": process.theta.tolist()}})


def _columns(
    known: Observations, places: Ints, describe: Describe | None, used: Used | None
) -> Columns:
    """How a point is encoded: its parameters, and its figures, scaled by those of ``places``."""
    axes: Axes = known.axes

    def encoded(rows: Array) -> Array:
        return axes.encoded(rows if used is None else axes.without(rows, used))

    if describe is None:
        return encoded
    names = sorted(describe(axes.point(known.rows[places[0]])))

    def figures(rows: Array) -> Array:
        told = [describe(axes.point(row)) for row in rows]
        every = np.array([[one[name] for name in names] for one in told], np.float64)
        every = every.reshape(len(rows), len(names))
        return np.asarray(np.sign(every) * np.log1p(np.abs(every)))

    there = figures(known.rows[places])
    middle, spread = there.mean(0), np.maximum(there.std(0), 1e-9)
    return lambda rows: np.c_[encoded(rows), (figures(rows) - middle) / spread / 2]


def _with_pending(
    process: GaussianProcess, known: Observations, columns: Columns
) -> GaussianProcess:
    """The process as if pending points had scored what is expected (Ginsbourger et al. 2010)."""
    waiting = np.flatnonzero(known.pending & np.isnan(known.scores).all(1))[:MOST]
    if not len(waiting):
        return process
    x = columns(known.rows[waiting])
    rungs = np.zeros(len(x), np.int64)
    return GaussianProcess.given(
        np.vstack([process.x, x]),
        np.r_[process.rungs, rungs],
        np.r_[process.y, process.mean(x, 0)],
        process.theta,
    )


def _limits(known: Observations, columns: Columns) -> _Fit | None:
    """A process above 0 where a limit is likely passed; None if none was passed so far."""
    if known.allowed.all():
        return None
    latest = np.flatnonzero(~known.pending)[-MOST:]
    # A trial within its limits keeps no figure of how far within.
    excess = known.excess[latest]
    y = np.clip(np.where(np.isnan(excess), -0.5, excess), -1, 1)
    y[~known.allowed[latest]] += 0.1
    x = columns(known.rows[latest])
    return _fitted(known, "limits", x, np.zeros(len(x), np.int64), y)
