"""Several aims at once: who is beaten by nobody, ranks and crowding, and the hypervolume.

A point dominates another if it is at least as good in every aim and better in one. So equal points
do not dominate each other: they share a rank. A point with an aim that is not finite belongs to no
front: it has the rank NOWHERE, dominates nobody and adds no volume.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import SettingsError

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]

NOWHERE = -1


class Direction(StrEnum):
    """Which way an aim goes."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


def non_dominated(points: ArrayLike, directions: Sequence[Direction]) -> list[int]:
    """Positions, rising, of the points that no other dominates.

    Args:
        points: [n, aims].
        directions: one for each aim.

    Raises:
        SettingsError: there are not as many directions as aims.
    """
    table = _rising(points, directions)
    finite = np.isfinite(table).all(axis=1)
    return np.flatnonzero(finite & ~_dominates(table).any(axis=0)).tolist()


def ranks(points: ArrayLike, directions: Sequence[Direction]) -> Ranks:
    """[n] 0 for the front, 1 for the front of what is left without it, and so on.

    Fast non-dominated sorting (Deb et al. 2002, A fast and elitist multiobjective genetic
    algorithm: NSGA-II, section III A).

    Args:
        points: [n, aims].
        directions: one for each aim.

    Raises:
        SettingsError: there are not as many directions as aims.
    """
    table = _rising(points, directions)
    dominates = _dominates(table)
    above = dominates.sum(axis=0)
    found = np.full(len(table), NOWHERE)
    open_ = np.isfinite(table).all(axis=1)
    rank = 0
    while open_.any():
        front = open_ & (above == 0)
        found[front] = rank
        open_ &= ~front
        above -= dominates[front].sum(axis=0)
        rank += 1
    return found


def crowding(points: ArrayLike, rank: Ranks) -> Array:
    """[n] how far apart the neighbours of a point are within its rank; infinite at the ends.

    The crowding distance of Deb et al. 2002, section III B: over the aims, the sum of the
    differences between the next higher and the next lower value, as shares of the rank's range. Of
    equal points the first has the distance and the others have 0, as have points of no front.

    Args:
        points: [n, aims]; directions do not matter.
        rank: [n] of ``ranks``.
    """
    table = np.asarray(points, dtype=np.float64)
    found = np.zeros(len(table))
    for level in np.unique(rank[rank != NOWHERE]):
        places = np.flatnonzero(rank == level)
        distinct, first = np.unique(table[places], axis=0, return_index=True)
        found[places[first]] = _distances(distinct)
    return found


def hypervolume(
    points: ArrayLike, reference: tuple[float, float], directions: Sequence[Direction]
) -> float:
    """The area that points of two aims dominate, bounded by a reference; exact, and 0 for none.

    Args:
        points: [n, 2]; one that is not better than the reference in both aims adds nothing.
        reference: the worst values that count, such as a score of 0.5 and the highest cost.
        directions: of both aims.

    Raises:
        SettingsError: there are not two aims and two directions.
    """
    table = _rising(points, directions)
    if len(directions) != 2:
        raise SettingsError(
            f"the hypervolume is that of two aims, but there are {len(directions)}; choose two"
        )
    gains = table - _rising([reference], directions)
    gains = gains[np.isfinite(gains).all(axis=1) & (gains > 0).all(axis=1)]
    # From the best in the first aim on, each adds a strip: what it has more of the second.
    gains = gains[np.argsort(-gains[:, 0], kind="stable")]
    heights = np.maximum.accumulate(gains[:, 1])
    return float((gains[:, 0] * np.diff(heights, prepend=0.0)).sum())


def _rising(points: ArrayLike, directions: Sequence[Direction]) -> Array:
    """A copy [n, aims] in which higher is better."""
    table = np.array(points, dtype=np.float64)
    if table.size == 0:
        table = table.reshape(0, len(directions))
    if table.ndim != 2 or table.shape[1] != len(directions):
        raise SettingsError(
            f"points must have one column for each of {len(directions)} directions, but their "
            f"shape is {table.shape}; give a direction for each aim"
        )
    return table * [1.0 if Direction(one) is Direction.MAXIMIZE else -1.0 for one in directions]


def _dominates(table: Array) -> NDArray[np.bool_]:
    """[n, n] whether the row's point dominates the column's; comparisons with NaN are False."""
    finite = np.isfinite(table).all(axis=1)
    no_worse, better = np.outer(finite, finite), np.zeros((len(table), len(table)), dtype=bool)
    for aim in table.T:  # aim by aim: [n, n, aims] would be the largest thing here
        no_worse &= aim[:, None] >= aim
        better |= aim[:, None] > aim
    return no_worse & better


def _distances(distinct: Array) -> Array:
    """Of different points [n, aims], in any order."""
    total = np.zeros(len(distinct))
    for aim in distinct.T:
        order = np.argsort(aim, kind="stable")
        span = aim[order[-1]] - aim[order[0]]
        total[order[[0, -1]]] = np.inf
        if span > 0:
            total[order[1:-1]] += (aim[order[2:]] - aim[order[:-2]]) / span
    return total
