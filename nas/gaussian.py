"""A Gaussian process over encoded points and rungs: mean and spread of a score not yet measured.

The kernel is Matérn 5/2 on D = Σ w_c (x_c − x'_c)² with a weight for each column (Rasmussen and
Williams 2006, 4.2 and 5.1); on columns that are one per category, a category has a weight of its
own, and two categories differ by the sum of theirs. Scores at rungs a and b share it by the factor
c_a c_b r^|a−b|: how much one rung tells about another is learned.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
Rungs = NDArray[np.int64]

WEIGHT = -1.5
"""Prior mean of log w: a changed category gives a correlation of 0.65. Prior spread is 1."""

NOISE = math.log(1e-2)
ITERATIONS = 30
FIT = 120
"""Points that the kernel's numbers are fitted to: 0.05 s on one core, and n³ beyond."""

OFFSET = 4.0
"""Variance of the unknown mean of each rung above the first, whose scores are of chosen points."""

JITTER = 1e-6


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

    def split(self, theta: Array) -> tuple[Array, float, Array, Array, float]:
        """(weights, variance, noises, scales, r); the first rung's scale is 1."""
        weights, rest = np.exp(theta[: self.columns]), theta[self.columns :]
        noises, scales = np.exp(rest[1 : self.rungs + 1]), np.ones(self.rungs)
        scales[1:] = np.exp(rest[self.rungs + 1 : 2 * self.rungs])
        share = float(1 / (1 + np.exp(-rest[-1]))) if self.rungs > 1 else 1.0
        return weights, float(np.exp(rest[0])), noises, scales, share


@dataclass(frozen=True)
class GaussianProcess:
    """Fitted to x [n, columns], rungs [n] from 0 and y [n]; see ``fit``."""

    x: Array
    rungs: Rungs
    y: Array
    theta: Array
    factor: Array

    @classmethod
    def fit(cls, x: Array, rungs: Rungs, y: Array) -> Self:
        """The kernel's numbers by maximum a posteriori from the prior means, then the posterior.

        ``y`` should have a spread of about 1 within each rung. The same data give the same fit.
        Time grows with n³, so the numbers are fitted to FIT points at most, those with the
        highest rungs and then, evenly by order, of the others; the posterior has all points.
        """
        layout = _Layout(x.shape[1], int(rungs.max()) + 1)
        start = layout.start
        low = np.flatnonzero(rungs == 0)
        high = np.flatnonzero(rungs > 0)[-FIT // 2 :]
        places = np.unique(np.linspace(0, len(low) - 1, FIT - len(high)).round().astype(int))
        chosen = np.r_[low[places], high]
        done = minimize(
            _loss,
            start,
            args=(layout, x[chosen], rungs[chosen], y[chosen]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(s - 6, s + 6) for s in start],
            options={"maxiter": ITERATIONS},
        )
        return cls.given(x, rungs, y, done.x)

    @classmethod
    def given(cls, x: Array, rungs: Rungs, y: Array, theta: Array) -> Self:
        """The posterior with known numbers, as ``theta`` of an earlier fit."""
        layout = _Layout(x.shape[1], (len(theta) - x.shape[1]) // 2)
        covariance, _ = _covariance(layout.split(theta), x, rungs, x, rungs)
        covariance += np.diag(layout.split(theta)[2][rungs] + JITTER)
        return cls(x, rungs, y, theta, np.asarray(np.linalg.cholesky(covariance), np.float64))

    def predict(self, x: Array, rung: int) -> tuple[Array, Array]:
        """Mean and spread (standard deviation, without noise) at points [m, columns] at a rung."""
        layout = _Layout(x.shape[1], (len(self.theta) - x.shape[1]) // 2)
        split = layout.split(self.theta)
        there = np.full(len(x), rung)
        cross, _ = _covariance(split, x, there, self.x, self.rungs)
        mean = cross @ cho_solve((self.factor, True), self.y)
        halved = solve_triangular(self.factor, cross.T, lower=True)
        prior = split[1] * split[3][rung] ** 2 + (OFFSET if rung > 0 else 0.0)
        return mean, np.sqrt(np.maximum(prior - (halved**2).sum(axis=0), 1e-10))


def _covariance(
    split: tuple[Array, float, Array, Array, float], x: Array, a: Rungs, z: Array, b: Rungs
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Prior covariance of scores at (x, a) and (z, b), without noise, and what made it."""
    weights, variance, _, scales, share = split
    u, v = x * np.sqrt(weights), z * np.sqrt(weights)
    d = np.maximum((u * u).sum(1)[:, None] + (v * v).sum(1) - 2 * u @ v.T, 0)
    root = np.sqrt(5 * d)
    fall = np.exp(-root)
    between = np.outer(scales[a], scales[b]) * share ** np.abs(a[:, None] - b)
    matern = (1 + root + 5 / 3 * d) * fall
    offset = OFFSET * ((a[:, None] == b) & (b > 0))
    # Matérn's derivative by d is −5/6 (1 + √(5d)) exp(−√(5d)).
    return variance * between * matern + offset, (
        variance * between * matern,
        variance * between * (-5 / 6) * (1 + root) * fall,
        np.abs(a[:, None] - b),
    )


def _loss(theta: Array, layout: _Layout, x: Array, rungs: Rungs, y: Array) -> tuple[float, Array]:
    """Negative log posterior and its gradient (Rasmussen and Williams 2006, equation 5.9)."""
    split = layout.split(theta)
    weights, _, noises, _, share = split
    covariance, (matern, slope, apart) = _covariance(split, x, rungs, x, rungs)
    n, columns, count = len(y), layout.columns, layout.rungs
    try:
        factor = np.linalg.cholesky(covariance + np.diag(noises[rungs] + JITTER))
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    inverse = cho_solve((factor, True), np.eye(n))
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
