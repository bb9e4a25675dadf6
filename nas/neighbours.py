"""Points of a search space, as Optuna parameters: drawing, changing, comparing and encoding them.

A point is a mapping from parameter names to values; a space is a mapping from names to Optuna
distributions. Nothing here knows what a parameter means, so it serves every space.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

HALVINGS = 5
"""A number moves by 1/2 of its range, 1/4, … down to 1/32, or to one step if that is larger."""


def draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """A value, each equally likely (on a logarithmic scale where the distribution has one)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    low, high, step, log = _number(distribution)
    if step is not None and not log:
        steps = round((high - low) / step)
        return _value(distribution, low + step * float(rng.integers(steps + 1)))
    if step is not None:
        low, high = max(low - step / 2, low / 2), high + step / 2
    return _value(distribution, math.exp(rng.uniform(math.log(low), math.log(high))) if log
                  else rng.uniform(low, high))  # fmt: skip


def moves(distribution: BaseDistribution, value: Any) -> list[Any]:
    """The other values that one change leads to.

    A category changes to any other. A number goes up or down by a half, a quarter, … of its range
    (see HALVINGS) and by one step: near and far at once, without all values of a long range.
    """
    if isinstance(distribution, CategoricalDistribution):
        own = distribution.to_internal_repr(value)
        return [c for i, c in enumerate(distribution.choices) if i != own]
    low, high, step, _ = _number(distribution)
    if high == low:
        return []
    here = _unit(distribution, value)
    found = []
    for size in (2.0**-k for k in range(1, HALVINGS + 1)):
        found += [_value(distribution, _scaled(distribution, here + s * size))
                  for s in (-1, 1) if -1e-9 <= here + s * size <= 1 + 1e-9]  # fmt: skip
    if step is not None:
        found += [_value(distribution, v) for v in (value - step, value + step) if low <= v <= high]
    return sorted({v for v in found if v != value})


def neighbours(point: Point, space: Space) -> Iterator[dict[str, Any]]:
    """All points that differ from ``point`` in exactly one of its own parameters."""
    for name in sorted(point):
        if name in space:
            for value in moves(space[name], point[name]):
                yield {**point, name: value}


def mutated(
    point: Point, space: Space, rng: np.random.Generator, changes: int = 1
) -> dict[str, Any]:
    """A copy in which up to ``changes`` parameters, each equally likely, took another value."""
    free = [name for name in sorted(point) if name in space and not space[name].single()]
    child = dict(point)
    for place in rng.permutation(len(free))[:changes]:
        options = moves(space[free[place]], point[free[place]])
        if options:
            child[free[place]] = options[rng.integers(len(options))]
    return child


def crossed(one: Point, other: Point, rng: np.random.Generator) -> dict[str, Any]:
    """A copy of ``one`` in which about half of what both have is ``other``'s."""
    return {
        name: other[name] if name in other and rng.random() < 0.5 else value
        for name, value in sorted(one.items())
    }


def filled(point: Point, space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """The point with drawn values for parameters of the space that it lacks."""
    return {
        name: point[name] if name in point else draw(space[name], rng) for name in sorted(space)
    }


class Seen:
    """Points that need not be proposed again.

    A point counts as seen if a known point's parameters are all in it with the same values: a
    conditional space asks only for some parameters, and ignores what else is proposed.
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._known: dict[tuple[str, ...], set[tuple[Any, ...]]] = {}
        for point in points:
            self.add(point)

    def add(self, point: Point) -> None:
        """Count ``point`` as seen from now on; one without parameters tells nothing."""
        if point:
            self._known.setdefault(tuple(point), set()).add(tuple(point.values()))

    def __contains__(self, point: Point) -> bool:
        return any(
            all(name in point for name in names) and tuple(point[name] for name in names) in values
            for names, values in self._known.items()
        )


def unseen(make: Callable[[], dict[str, Any]], seen: Seen, tries: int = 100) -> dict[str, Any]:
    """A made point that was not seen; after ``tries``, the last one even so."""
    for _ in range(tries):
        point = make()
        if point not in seen:
            break
    return point


def encoded(points: Sequence[Point], space: Space) -> NDArray[np.float64]:
    """Points as rows of numbers, float64 [points, columns].

    A category is one column per choice, 1 or 0; a number is one column in [-1, 1] (on its own
    scale). A parameter that a point lacks is 0 throughout.
    """
    columns = []
    for name, distribution in sorted(space.items()):
        values = [point.get(name, _ABSENT) for point in points]
        if isinstance(distribution, CategoricalDistribution):
            block = np.zeros((len(points), len(distribution.choices)))
            for row, value in enumerate(values):
                if value is not _ABSENT:
                    block[row, int(distribution.to_internal_repr(value))] = 1
        else:
            block = np.array(
                [[0.0 if v is _ABSENT else 2 * _unit(distribution, v) - 1] for v in values]
            ).reshape(len(points), 1)
        columns.append(block)
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(points), 0))


_ABSENT = object()


def _number(distribution: BaseDistribution) -> tuple[float, float, float | None, bool]:
    """(low, high, step or None, whether logarithmic) of a numeric distribution."""
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high, distribution.step, distribution.log


def _unit(distribution: BaseDistribution, value: float) -> float:
    low, high, _, log = _number(distribution)
    if high == low:
        return 0.5
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _scaled(distribution: BaseDistribution, unit: float) -> float:
    low, high, _, log = _number(distribution)
    return low * (high / low) ** unit if log else low + unit * (high - low)


def _value(distribution: BaseDistribution, wish: float) -> float | int:
    """The allowed value nearest to a wish."""
    low, high, step, _ = _number(distribution)
    if step is not None:
        wish = low + step * round((wish - low) / step)
    wish = min(max(wish, low), high)
    return int(wish) if isinstance(distribution, IntDistribution) else float(wish)
