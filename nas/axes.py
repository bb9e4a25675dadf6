"""A search space as arrays: points are rows of numbers, drawn and encoded many at once.

A row is float64 [parameters], by name: of a category its position among the choices, of a number
its value, and NaN where the point lacks the parameter. Nothing here knows what a parameter means,
so it serves every space.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Point = Mapping[str, Any]
Space = Mapping[str, BaseDistribution]
Array = NDArray[np.float64]
Ints = NDArray[np.int64]

Used = Callable[[Mapping[str, Array]], Mapping[str, NDArray[np.bool_]]]
"""Columns of rows by parameter -> where each parameter makes a difference; one that always does may
be left out. See search_spaces.base.SparseSpace."""


class Axes:
    """The parameters of a space.

    Attributes:
        space: distributions, sorted by name, as the columns of rows are.
        choices: how many choices each category has, 0 for numbers; int64 [parameters].
        kind: columns of categories; ``number``: those of numbers.
        step: between two allowed values of each number, NaN where all are; float64 [numbers].
    """

    def __init__(self, space: Space) -> None:
        self.space: Space = dict(sorted(space.items()))
        every = list(self.space.values())
        self.choices: Ints = np.array(
            [len(d.choices) if isinstance(d, CategoricalDistribution) else 0 for d in every],
            np.int64,
        )
        self.kind: Ints = np.flatnonzero(self.choices)
        self.number: Ints = np.flatnonzero(self.choices == 0)
        numbers = [d for d in every if isinstance(d, IntDistribution | FloatDistribution)]
        steps = [np.nan if d.step is None else float(d.step) for d in numbers]
        self.low: Array = np.array([d.low for d in numbers], np.float64)
        self.high: Array = np.array([d.high for d in numbers], np.float64)
        self.step: Array = np.array(steps, np.float64)
        self._log = np.array([d.log for d in numbers], bool)
        self._start, self._end = self._scaled(self.low), self._scaled(self.high)
        widths = np.maximum(self.choices, 1)
        self._first: Ints = np.cumsum(widths) - widths
        self.columns = int(widths.sum())

    def rows(self, points: Sequence[Point]) -> Array:
        """Points as rows [points, parameters]; other parameters that they have are left out."""
        found = [
            [d.to_internal_repr(p[name]) if name in p else np.nan for name, d in self.space.items()]
            for p in points
        ]
        return np.array(found, np.float64).reshape(len(points), len(self.space)) + 0.0

    def point(self, row: Array) -> dict[str, Any]:
        """A row as a point, without what it lacks."""
        values = zip(self.space.items(), row.tolist(), strict=True)
        return {name: d.to_external_repr(v) for (name, d), v in values if v == v}

    def drawn(self, count: int, rng: np.random.Generator) -> Array:
        """Rows [count, parameters] of which each value is equally likely.

        On a logarithmic scale where a distribution has one.
        """
        part = rng.random((count, len(self.space)))
        rows = np.empty_like(part)
        choices = self.choices[self.kind]
        rows[:, self.kind] = np.minimum(np.floor(part[:, self.kind] * choices), choices - 1)
        # Half a step further at both ends, so that these are as likely as others.
        half = np.nan_to_num(self.step / 2)
        low = np.where(self._log, np.maximum(self.low - half, self.low / 2), self.low - half)
        start, end = self._scaled(low), self._scaled(self.high + half)
        rows[:, self.number] = self._allowed(start + part[:, self.number] * (end - start))
        return rows

    def filled(self, rows: Array, rng: np.random.Generator) -> Array:
        """Rows with drawn values for what they lack."""
        return np.where(np.isnan(rows), self.drawn(len(rows), rng), rows)

    def units(self, rows: Array) -> Array:
        """Where the numbers of rows lie in their ranges, 0 to 1; [rows, numbers]."""
        span = self._end - self._start
        there = self._scaled(rows[:, self.number]) - self._start
        return np.where(span > 0, there / np.where(span > 0, span, 1.0), 0.5 + 0 * there)

    def nearest(self, units: Array) -> Array:
        """The allowed values nearest to places in the ranges, [..., numbers]."""
        return self._allowed(self._start + units * (self._end - self._start))

    def encoded(self, rows: Array) -> Array:
        """Rows for a kernel, float64 [rows, columns].

        A category is one column per choice, 1 or 0; a number is one column in [-1, 1] (on its own
        scale). A parameter that a point lacks is 0 throughout.
        """
        out = np.zeros((len(rows), self.columns))
        out[:, self._first[self.number]] = np.nan_to_num(2 * self.units(rows) - 1)
        kinds = rows[:, self.kind]
        place, which = np.nonzero(~np.isnan(kinds))
        out[place, self._first[self.kind][which] + kinds[place, which].astype(np.int64)] = 1
        return out

    def without(self, rows: Array, used: Used) -> Array:
        """Rows that lack whatever makes no difference in them."""
        columns = {name: rows[:, place] for place, name in enumerate(self.space)}
        told = used(columns)
        lacking = [~told[name] if name in told else np.zeros(len(rows), bool) for name in columns]
        return np.where(np.array(lacking).T, np.nan, rows)

    def _scaled(self, values: Array) -> Array:
        """Values of numbers, their logarithm where the scale is logarithmic; [..., numbers]."""
        if not self._log.any():
            return values
        return np.where(self._log, np.log(np.where(self._log, values, 1.0)), values)

    def _allowed(self, scaled: Array) -> Array:
        """The allowed values nearest to values on their scale."""
        wish = np.where(self._log, np.exp(np.where(self._log, scaled, 0.0)), scaled)
        steps = np.rint((wish - self.low) / self.step)
        wish = np.where(np.isnan(self.step), wish, self.low + self.step * steps)
        return np.clip(wish, self.low, self.high)
