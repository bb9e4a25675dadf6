"""The Gaussian process: its gradient, its interpolation, and what one rung tells about another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from nas.gaussian import GaussianProcess, _Layout, _loss


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


def test_the_same_data_give_the_same_fit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4)), rng.normal(size=20)
    first, second = (GaussianProcess.fit(x, np.zeros(20, np.int64), y) for _ in range(2))
    assert (first.theta == second.theta).all()
