"""The Gaussian process: its gradient, its interpolation, and what one rung tells about another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from nas.gaussian import OFFSET, GaussianProcess, _blocks, _covariance, _Layout, _loss


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_the_gradient_is_the_losss(seed: int, rungs: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.random((12, 3)), rng.normal(size=12)
    rung = np.arange(12) % rungs
    layout = _Layout(3, rungs)
    theta = layout.start + rng.normal(size=len(layout.start)) * 0.3
    _, gradient = _loss(theta, layout, x, rung, y)
    numeric = approx_fprime(theta, lambda t: _loss(t, layout, x, rung, y)[0], 1e-6)
    assert gradient == pytest.approx(numeric, abs=1e-3, rel=1e-3)


def test_knows_what_it_was_told_and_is_unsure_far_away() -> None:
    x = np.linspace(-1, 1, 15)[:, None]
    y = np.sin(3 * x[:, 0])
    process = GaussianProcess.fit(x, np.zeros(15, np.int64), y)
    mean, spread = process.predict(np.array([[0.05], [5.0]]), 0)
    assert mean[0] == pytest.approx(np.sin(0.15), abs=0.05)
    assert spread[0] < 0.2 < spread[1]


def test_a_low_rung_tells_about_a_high_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2)) * 2 - 1
    low = np.sin(2 * x[:, 0]) + x[:, 1]
    chosen = np.argsort(-low)[:8]
    high = (low[chosen] - low[chosen].mean()) * 3
    process = GaussianProcess.fit(
        np.vstack([x, x[chosen]]), np.repeat([0, 1], [60, 8]), np.r_[low, high]
    )
    others = np.argsort(-low)[8:40]
    mean, _ = process.predict(x[others], 1)
    assert np.corrcoef(mean, low[others])[0, 1] > 0.95


def some(seed: int, rungs: int, n: int = 70) -> GaussianProcess:
    """A process with drawn numbers, told n scores."""
    rng = np.random.default_rng(seed)
    layout = _Layout(3, rungs)
    theta = layout.start + rng.normal(size=len(layout.start)) * 0.3
    where = np.sort(np.arange(n) % rungs)
    return GaussianProcess.given(rng.random((n, 3)), where, rng.normal(size=n), theta)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_the_quick_covariance_is_the_exact_one(seed: int, rungs: int) -> None:
    rng = np.random.default_rng(seed)
    x, a = rng.random((60, 3)), np.arange(60) % rungs
    layout = _Layout(3, rungs)
    split = layout.split(layout.start + rng.normal(size=len(layout.start)))
    exact, _ = _covariance(split, x, a)
    exact += OFFSET * ((a[:, None] == a) & (a > 0))
    found = np.empty((60, 9))
    for rows, block in _blocks(split, x, a, x[:9], a[:9]):
        found[rows] = block
    assert found == pytest.approx(exact[:, :9], abs=1e-6 * split[1] * split[3].max() ** 2)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_no_spread_is_above_what_the_nearest_score_leaves(seed: int, rungs: int) -> None:
    process = some(seed, rungs)
    x = np.vstack([np.random.default_rng(seed).random((40, 3)) * 1.5, process.x])
    for rung in range(rungs):
        asked = process.asked(x, rung)
        mean, spread = process.predict(x, rung)
        assert (spread <= asked.most * (1 + 1e-9)).all()
        assert (asked.most**2 <= process._alone(rung) * (1 + 1e-9)).all()
        assert (mean == process.mean(x, rung)).all()
        chosen = np.array([3, 1, 50])
        assert asked.spread(chosen) == pytest.approx(spread[chosen], rel=1e-6)


def test_a_higher_rung_without_scores_has_a_level_of_its_own() -> None:
    process, layout = some(0, 1), _Layout(3, 2)
    theta = layout.start
    alone = GaussianProcess.given(process.x, process.rungs, process.y, theta)
    _, variance, _, scales, _ = layout.split(theta)
    far = np.full((1, 3), 50.0)
    assert alone.predict(far, 0)[1] ** 2 == pytest.approx(variance)
    assert alone.predict(far, 1)[1] ** 2 == pytest.approx(variance * scales[1] ** 2 + OFFSET)


def test_a_fit_may_set_out_from_another() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 4))
    y = np.sin(3 * x[:, 0]) - x[:, 1]
    rungs = np.zeros(40, np.int64)
    first = GaussianProcess.fit(x, rungs, y)
    again = GaussianProcess.fit(x, rungs, y, first.theta)
    layout = _Layout(4, 1)
    losses = [_loss(p.theta, layout, x, rungs, y)[0] for p in (first, again)]
    assert losses[1] <= losses[0] + 1e-6


def test_the_same_data_give_the_same_fit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4)), rng.normal(size=20)
    first, second = (GaussianProcess.fit(x, np.zeros(20, np.int64), y) for _ in range(2))
    assert (first.theta == second.theta).all()
