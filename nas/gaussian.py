"""A Gaussian process over encoded points and rungs: mean and spread of a score not yet measured.

The kernel is Matérn 5/2 on D = Σ w_c (x_c − x'_c)² with a weight for each column (Rasmussen and
Williams 2006, 4.2 and 5.1); on columns that are one per category, a category has a weight of its
own, and two categories differ by the sum of theirs. Scores at rungs a and b share it by the factor
c_a c_b r^|a−b|: how much one rung tells about another is learned.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]
Rungs = NDArray[np.int64]
_Split = tuple[Array, float, Array, Array, float]

WEIGHT = -1.5
"""Prior mean of log w: a changed category gives a correlation of 0.65. Prior spread is 1."""

NOISE = math.log(1e-2)
ITERATIONS = 30
FIT = 120
"""Points that the kernel's numbers are fitted to: 0.03 s on one core (30 columns), n³ beyond."""

OFFSET = 4.0
"""Variance of the unknown mean of each rung above the first, whose scores are of chosen points."""

JITTER = 1e-6
BLOCK = 48
"""Rows of a covariance that are made at once: with 300 columns, 115 kB, they stay in the cache."""


@dataclass(frozen=True)
class _Layout:
    """Where the logarithms of the kernel's numbers stand in one vector."""

    columns: int
    rungs: int

    @property
    def start(self) -> Array:
        """Prior means: weights, variance, noises, scales c, and the logit of r."""
        more = self.rungs - 1
        rest = [0.0, *[NOISE] * self.rungs, *[0.0] * more, *[2.0] * min(more, 1)]
        return np.array([WEIGHT] * self.columns + rest)

    def split(self, theta: Array) -> _Split:
        """(weights, variance, noises, scales, r); the first rung's scale is 1."""
        weights, rest = np.exp(theta[: self.columns]), theta[self.columns :]
        noises, scales = np.exp(rest[1 : self.rungs + 1]), np.ones(self.rungs)
        scales[1:] = np.exp(rest[self.rungs + 1 : 2 * self.rungs])
        share = float(1 / (1 + np.exp(-rest[-1]))) if self.rungs > 1 else 1.0
        return weights, float(np.exp(rest[0])), noises, scales, share


@dataclass(frozen=True)
class GaussianProcess:
    """Told x [n, columns], rungs [n] from 0 and y [n]; see ``fit``."""

    x: Array
    rungs: Rungs
    y: Array
    theta: Array
    factor: Array

    @classmethod
    def fit(cls, x: Array, rungs: Rungs, y: Array, start: Array | None = None) -> Self:
        """The kernel's numbers by maximum a posteriori from the prior means, then the posterior.

        ``y`` should have a spread of about 1 within each rung. The same data give the same fit.
        Time grows with n³, so the numbers are fitted to FIT points at most, those with the
        highest rungs and then, evenly by order, of the others; the posterior has all points.

        Args:
            x: encoded points, in any order that means something.
            rungs: of the scores.
            y: scores.
            start: ``theta`` of an earlier fit, to set out from instead.
        """
        layout = _Layout(x.shape[1], int(rungs.max()) + 1)
        prior = layout.start
        low = np.flatnonzero(rungs == 0)
        high = np.flatnonzero(rungs > 0)[-FIT // 2 :]
        places = np.unique(np.linspace(0, len(low) - 1, FIT - len(high)).round().astype(int))
        chosen = np.r_[low[places], high]
        done = minimize(
            _loss,
            prior if start is None else start,
            args=(layout, x[chosen], rungs[chosen], y[chosen]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(p - 6, p + 6) for p in prior],
            options={"maxiter": ITERATIONS},
        )
        return cls.given(x, rungs, y, done.x)

    @classmethod
    def given(cls, x: Array, rungs: Rungs, y: Array, theta: Array) -> Self:
        """The posterior with known numbers, as ``theta`` of an earlier fit."""
        split = _Layout(x.shape[1], (len(theta) - x.shape[1]) // 2).split(theta)
        covariance = np.empty((len(x), len(x)))
        for rows, block in _blocks(split, x, rungs, x, rungs):
            covariance[rows] = block
        covariance[np.diag_indices(len(x))] += split[2][rungs] + JITTER
        # Transposed, it is as LAPACK wants it, and its memory is used again.
        factor = cholesky(covariance.T, lower=True, overwrite_a=True, check_finite=False)
        return cls(x, rungs, y, theta, np.asarray(factor))

    def mean(self, x: Array, rung: int) -> Array:
        """Mean at points [m, columns] at a rung."""
        return self.asked(x, rung).mean

    def predict(self, x: Array, rung: int) -> tuple[Array, Array]:
        """Mean and spread (standard deviation, without noise) at points [m, columns] at a rung."""
        asked = self.asked(x, rung)
        return asked.mean, asked.spread(np.arange(len(x)))

    def asked(self, x: Array, rung: int) -> "Asked":
        """The same in two steps, of which the second one takes longer."""
        mean, nearest = np.empty(len(x)), np.empty(len(x))
        for rows, cross in self._cross(x, rung):
            mean[rows] = cross @ self._solved
            cross /= self._own
            nearest[rows] = cross.max(axis=1)
        return Asked(self, x, rung, mean, _root(self._alone(rung) - nearest**2))

    def _cross(self, x: Array, rung: int) -> Iterator[tuple[slice, Array]]:
        """Covariances of scores at x and of those told, some rows at a time."""
        return _blocks(self._split, x, np.full(len(x), rung), self.x, self.rungs)

    def _alone(self, rung: int) -> float:
        """Variance of a score at a rung, if nothing had been told."""
        _, variance, _, scales, _ = self._split
        return float(variance * scales[rung] ** 2 + (OFFSET if rung > 0 else 0.0))

    @cached_property
    def _split(self) -> _Split:
        columns = self.x.shape[1]
        return _Layout(columns, (len(self.theta) - columns) // 2).split(self.theta)

    @cached_property
    def _solved(self) -> Array:
        return np.asarray(cho_solve((self.factor, True), self.y, check_finite=False))

    @cached_property
    def _own(self) -> Array:
        """Standard deviation of each score that was told, noise included; [n]."""
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", self.factor, self.factor)))


@dataclass(frozen=True)
class Asked:
    """What a process says of points at one rung.

    Attributes:
        process: the one asked.
        x: the points, [m, columns].
        rung: at which.
        mean: [m].
        most: what the spread would be if each had been told only the one score nearest to it. More
            scores never make it larger, and this takes no solving; [m].
    """

    process: GaussianProcess
    x: Array
    rung: int
    mean: Array
    most: Array

    def spread(self, places: Rungs) -> Array:
        """Standard deviation, without noise, of some of the points; [places]."""
        process, told = self.process, np.empty(len(places))
        for rows, cross in process._cross(self.x[places], self.rung):
            halved = solve_triangular(
                process.factor, cross.T, lower=True, overwrite_b=True, check_finite=False
            )
            told[rows] = np.einsum("ij,ij->j", halved, halved)
        return _root(process._alone(self.rung) - told)


def _root(variance: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(variance, 1e-10)))


def _blocks(split: _Split, x: Array, a: Rungs, z: Array, b: Rungs) -> Iterator[tuple[slice, Array]]:
    """Prior covariance of scores at (x, a) and (z, b), without noise, some rows at a time.

    As ``_covariance``, but never in large pieces of memory, which cost more than the arithmetic:
    the system gives and takes them page by page. The exponential is taken in single precision: of
    180,000 numbers in 0.1 ms instead of 1.5, best of 20. Its error of 1e-7 is far below the noise.

    Yields:
        Which rows, and their part [rows, len(z)], which may be written.
    """
    root_weights, between = np.sqrt(split[0]), _between(split)
    v = z * root_weights
    square = np.einsum("ij,ij->i", v, v)
    v *= -2
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        u = x[rows] * root_weights
        d = u @ v.T
        d += np.einsum("ij,ij->i", u, u)[:, None]
        d += square
        np.maximum(d, 0, out=d)
        d *= 5
        root = np.sqrt(d)
        d /= 3
        d += root
        d += 1
        d *= np.exp(-root.astype(np.float32))
        if len(between) == 1:
            d *= between[0, 0]
        else:
            d *= between[a[rows]][:, b]
            d += OFFSET * ((a[rows, None] == b) & (b > 0))
        yield rows, d


def _between(split: _Split) -> Array:
    """What scores at rungs a and b share: variance · c_a c_b r^|a−b|, [rungs, rungs]."""
    _, variance, _, scales, share = split
    place = np.arange(len(scales))
    return np.asarray(variance * np.outer(scales, scales) * share ** np.abs(place[:, None] - place))


def _covariance(split: _Split, x: Array, rungs: Rungs) -> tuple[Array, Array]:
    """Prior covariance of scores at (x, rungs), without noise and offset, and its slope by D.

    The derivative of Matérn's function by D is −5/6 (1 + √(5D)) exp(−√(5D)).
    """
    u = x * np.sqrt(split[0])
    square = (u * u).sum(1)
    d = np.maximum(square[:, None] + square - 2 * u @ u.T, 0)
    root = np.sqrt(5 * d)
    fall = np.exp(-root)
    fall *= _between(split)[rungs][:, rungs]
    root += 1
    slope = root * fall
    d *= 5 / 3
    d += root
    d *= fall
    slope *= -5 / 6
    return d, slope


def _loss(theta: Array, layout: _Layout, x: Array, rungs: Rungs, y: Array) -> tuple[float, Array]:
    """Negative log posterior and its gradient (Rasmussen and Williams 2006, equation 5.9)."""
    split = layout.split(theta)
    weights, _, noises, _, share = split
    matern, slope = _covariance(split, x, rungs)
    apart = np.abs(rungs[:, None] - rungs)
    covariance = matern + OFFSET * ((apart == 0) & (rungs > 0))
    covariance[np.diag_indices(len(x))] += noises[rungs] + JITTER
    columns, count = layout.columns, layout.rungs
    try:
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    inverse, _ = dpotri(factor, lower=1)  # its lower half
    inverse += np.tril(inverse, -1).T
    alpha = inverse @ y
    off = theta - layout.start
    loss = y @ alpha / 2 + np.log(np.diag(factor)).sum() + (off**2).sum() / 2
    by_covariance = (inverse - np.outer(alpha, alpha)) / 2
    by_d, by_matern = by_covariance * slope, by_covariance * matern
    gradient = off.copy()
    gradient[:columns] += (
        weights * 2 * ((x * x * by_d.sum(1)[:, None]).sum(0) - ((by_d @ x) * x).sum(0))
    )
    gradient[columns] += by_matern.sum()
    for rung in range(count):
        mine = rungs == rung
        gradient[columns + 1 + rung] += noises[rung] * np.diag(by_covariance)[mine].sum()
        if rung > 0:
            gradient[columns + count + rung] += 2 * by_matern[mine].sum()
    if count > 1:
        gradient[-1] += (1 - share) * (by_matern * apart).sum()
    return float(loss), gradient
