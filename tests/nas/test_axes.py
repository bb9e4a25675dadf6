"""Rows of numbers: there and back, drawing, and the encoding."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.axes import Axes
from tests.nas.spaces import DISTRIBUTIONS, allowed

AXES = Axes(DISTRIBUTIONS)


@given(st.integers(0, 2**32), st.sets(st.sampled_from(sorted(DISTRIBUTIONS))))
def test_a_point_comes_back_from_its_row(seed: int, lacking: set[str]) -> None:
    row = AXES.drawn(1, np.random.default_rng(seed))[0]
    point = {k: v for k, v in AXES.point(row).items() if k not in lacking}
    assert all(allowed(name, value) for name, value in point.items())
    back = AXES.rows([point])
    assert AXES.point(back[0]) == point
    assert set(np.array(list(AXES.space))[np.isnan(back[0])]) == lacking


def test_other_parameters_are_left_out() -> None:
    assert AXES.rows([{"unknown": 1}, {"depth": 4, "unknown": 1}]).shape == (2, len(DISTRIBUTIONS))
    assert AXES.point(AXES.rows([{"depth": 4, "unknown": 1}])[0]) == {"depth": 4}


def test_every_value_is_drawn_equally_often() -> None:
    rows = AXES.drawn(6000, np.random.default_rng(0))
    points = [AXES.point(row) for row in rows]
    for name, count in {"kind": 4, "depth": 7, "even": 16, "tenth": 11}.items():
        drawn = [point[name] for point in points]
        shares = [drawn.count(value) / len(drawn) * count for value in set(drawn)]
        assert len(shares) == count
        assert 0.8 < min(shares) <= max(shares) < 1.2


def test_a_logarithmic_number_is_drawn_on_its_scale() -> None:
    rows = AXES.drawn(4000, np.random.default_rng(0))
    names = list(AXES.space)
    rate, width = rows[:, names.index("rate")], rows[:, names.index("width")]
    assert np.mean(rate < 10**-2.5) == pytest.approx(0.5, abs=0.04)
    # From half a step below 1 to half a step above 1024.
    assert np.mean(width < 32) == pytest.approx(np.log2(63) / np.log2(2049), abs=0.04)
    assert set(width) >= {1, 2, 3}
    assert width.max() > 1000


@given(st.integers(0, 2**32))
def test_what_is_there_stays_when_the_rest_is_filled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = AXES.drawn(3, rng)
    rows[rng.random(rows.shape) < 0.5] = np.nan
    full = AXES.filled(rows, rng)
    assert not np.isnan(full).any()
    assert (full == rows)[~np.isnan(rows)].all()


def test_the_encoding() -> None:
    axes = Axes({name: DISTRIBUTIONS[name] for name in ("kind", "depth", "rate", "still")})
    points: list[dict[str, Any]] = [{"kind": 2, "depth": 5, "rate": 1e-4, "still": 3}, {"depth": 8}]
    rows = axes.encoded(axes.rows(points))
    assert rows == pytest.approx(np.array([[0, 0, 0, 1, 0, -1, 0], [1, 0, 0, 0, 0, 0, 0]]))
    assert axes.encoded(axes.rows([])).shape == (0, axes.columns) == (0, 7)
    assert Axes({}).encoded(Axes({}).rows([{}])).shape == (1, 0)
