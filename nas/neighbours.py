"""Points near others: moves, neighbours, mutations and crossings of rows, and what was seen.

Rows are as nas.axes has them. All is done for many rows at once: as dictionaries, one at a time,
the candidates of a proposal took most of its time.
"""

import numpy as np
from numpy.typing import NDArray

from nas.axes import Array, Axes, Ints

HALVINGS = 5
"""A number moves by 1/2 of its range, 1/4, … down to 1/32, or to one step if that is larger."""


def moves(axes: Axes, rows: Array) -> tuple[Array, Ints]:
    """The other values that one change leads to.

    A category changes to any other. A number goes up or down by a half, a quarter, … of its range
    (see HALVINGS) and by one step: near and far at once, without all values of a long range.

    Returns:
        The values [rows, parameters, most], and how many of them count [rows, parameters]; the rest
        is NaN. A parameter that a row lacks has none.
    """
    most = max(int(axes.choices.max(initial=1)) - 1, 2 * HALVINGS + 2)
    found = np.full((*rows.shape, most), np.nan)
    place = np.arange(most)
    kinds = rows[:, axes.kind, None]
    others = place + (place >= kinds)  # all but the own one
    fits = (others < axes.choices[axes.kind, None]) & ~np.isnan(kinds)
    found[:, axes.kind] = np.where(fits, others, np.nan)
    found[:, axes.number, : 2 * HALVINGS + 2] = _number_moves(axes, rows)
    return found, (~np.isnan(found)).sum(2)


def _number_moves(axes: Axes, rows: Array) -> Array:
    """Rising, [rows, numbers, 2 * HALVINGS + 2], NaN where there are fewer."""
    units = axes.units(rows)[:, None]
    sizes = 2.0 ** -np.arange(1, HALVINGS + 1)
    wishes = units + np.r_[-sizes, sizes][:, None]
    wishes[(wishes < -1e-9) | (wishes > 1 + 1e-9)] = np.nan
    values = rows[:, None, axes.number]
    steps = values + np.array([-1.0, 1.0])[:, None] * axes.step
    # A step is rounded to the same bits as a fraction of the range that comes out the same.
    steps = np.where((steps < axes.low) | (steps > axes.high), np.nan, steps)
    found = np.concatenate([axes.nearest(wishes), _rounded(axes, steps)], axis=1)
    found[found == _rounded(axes, values)] = np.nan
    found.sort(axis=1)
    found[:, 1:][found[:, 1:] == found[:, :-1]] = np.nan
    found.sort(axis=1)
    return found.transpose(0, 2, 1)


def _rounded(axes: Axes, values: Array) -> Array:
    exact = axes.low + axes.step * np.rint((values - axes.low) / axes.step)
    return np.where(np.isnan(axes.step), values, exact)


def neighbours(axes: Axes, rows: Array) -> Array:
    """All that differ from one of the rows in exactly one of its parameters, [m, parameters]."""
    options, _ = moves(axes, rows)
    place, parameter, which = np.nonzero(~np.isnan(options))
    near = rows[place]
    near[np.arange(len(near)), parameter] = options[place, parameter, which]
    return near


def mutated(
    axes: Axes, parents: Array, which: Ints, changes: Ints, rng: np.random.Generator
) -> Array:
    """Copies in which some parameters, each equally likely, took another value.

    Args:
        axes: of the rows.
        parents: rows.
        which: parent of each copy; int64 [copies].
        changes: how many parameters of each change, at most; at least 1.
        rng: draws them.
    """
    options, counts = moves(axes, parents)
    free = counts[which] > 0
    order = np.where(free, rng.random(free.shape), 2.0).argsort(1)
    child, every = parents[which], np.arange(len(which))
    for turn in range(min(int(changes.max(initial=0)), len(axes.space))):
        parameter = order[:, turn]
        count = counts[which, parameter]
        chosen = np.minimum((rng.random(len(which)) * count).astype(np.int64), count - 1)
        value = options[which, parameter, chosen]
        changed = (turn < changes) & free[every, parameter]
        child[every[changed], parameter[changed]] = value[changed]
    return child


def crossed(one: Array, other: Array, rng: np.random.Generator) -> Array:
    """Copies of ``one``'s rows in which about half of what both have is ``other``'s."""
    taken = (rng.random(one.shape) < 0.5) & ~np.isnan(one) & ~np.isnan(other)
    return np.where(taken, other, one)


class Seen:
    """Points that need not be proposed again.

    A point counts as seen if a known point's parameters are all in it with the same values: a
    conditional space asks only for some parameters, and ignores what else is proposed. A known
    point without parameters tells nothing.
    """

    def __init__(self, rows: Array | None = None, base: "Seen | None" = None) -> None:
        """Count ``rows`` as seen, and what ``base`` does."""
        self._base = base
        self._groups: dict[bytes, tuple[NDArray[np.bool_], set[bytes]]] = {}
        self.parameters = 0
        if rows is not None:
            self.add(rows)

    def add(self, rows: Array) -> None:
        """Count further rows as seen from now on."""
        self.parameters = rows.shape[1]
        for row, has in zip(rows, ~np.isnan(rows), strict=True):
            if has.any():
                group = self._groups.setdefault(has.tobytes(), (has, set()))
                group[1].add(row[has].tobytes())

    def and_alike(self, rows: Array) -> "Seen":
        """With those of further rows that have the same parameters as a known one."""
        same = [has.tobytes() in self._groups for has in ~np.isnan(rows)]
        return Seen(rows[same], self) if any(same) else self

    def among(self, rows: Array) -> NDArray[np.bool_]:
        """Which of the rows were seen, [rows]."""
        seen = np.zeros(len(rows), bool) if self._base is None else self._base.among(rows)
        for has, known in list(self._groups.values()):  # another thread may add
            found = [row.tobytes() in known for row in rows[:, has]]
            seen |= np.array(found, bool)
        return seen
