"""Neighbours, mutations, crossings, and what counts as seen."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.axes import Array, Axes
from nas.neighbours import Seen, crossed, moves, mutated, neighbours
from tests.nas.spaces import CELL, DISTRIBUTIONS, allowed

AXES = Axes(DISTRIBUTIONS)
seeds = st.integers(0, 2**32)


def changed(one: Array, other: Array) -> int:
    return int((one != other).sum())


def test_a_cell_has_24_neighbours() -> None:
    """The number that Dong and Yang 2020 give for NAS-Bench-201."""
    axes = Axes(CELL)
    row = axes.drawn(1, np.random.default_rng(0))
    near = neighbours(axes, row)
    assert len({tuple(n) for n in near}) == len(near) == 24
    assert all(changed(n, row[0]) == 1 for n in near)


@given(seeds)
def test_neighbours_differ_in_exactly_one_parameter_and_are_allowed(seed: int) -> None:
    row = AXES.drawn(1, np.random.default_rng(seed))
    near = neighbours(AXES, row)
    assert len(near) == moves(AXES, row)[1].sum() == len({tuple(n) for n in near})
    for one in near:
        assert changed(one, row[0]) == 1
        assert all(allowed(name, value) for name, value in AXES.point(one).items())


def test_what_a_point_lacks_does_not_change() -> None:
    row = AXES.rows([{"depth": 2, "share": 1.0}])
    near = [AXES.point(one) for one in neighbours(AXES, row)]
    assert all(n.keys() == {"depth", "share"} for n in near)
    assert {n["depth"] for n in near} == {2, 3, 4, 5}
    assert {n["share"] for n in near} == {1.0, 0.0, 0.5, 0.75, 0.875, 0.9375}


@given(seeds, st.integers(1, 4))
def test_mutations_change_at_most_as_many_as_asked(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    parents = AXES.drawn(3, rng)
    which, changes = rng.integers(3, size=20), rng.integers(1, most + 1, size=20)
    for child, place, count in zip(
        mutated(AXES, parents, which, changes, rng), which, changes, strict=True
    ):
        assert changed(child, parents[place]) == count
        assert all(allowed(name, value) for name, value in AXES.point(child).items())


def test_a_mutation_changes_no_more_than_there_is() -> None:
    rng = np.random.default_rng(0)
    row = AXES.rows([{"still": 3, "depth": 5, "one": "only"}])
    children = mutated(AXES, row, np.zeros(50, np.int64), np.full(50, 30), rng)
    found = [AXES.point(child) for child in children]
    assert {point["depth"] for point in found} == {2, 4, 6, 8}
    assert all((point["still"], point["one"], len(point)) == (3, "only", 3) for point in found)


@given(seeds)
def test_a_crossing_has_nothing_but_its_parents_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = AXES.drawn(1, rng), AXES.drawn(1, rng)
    other[0, 2:] = np.nan
    child = crossed(one, other, rng)
    assert ((child == one) | (child == other)).all()
    assert (child[0, 2:] == one[0, 2:]).all()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("depth", 2, [3, 4, 5]),
        ("depth", 8, [5, 6, 7]),
        ("even", 0, [2, 4, 8, 16]),
        ("still", 3, []),
        ("one", "only", []),
        ("kind", None, [True, 2, "x"]),
    ],
)
def test_moves(name: str, value: object, expected: list[object]) -> None:
    axes = Axes({name: DISTRIBUTIONS[name]})
    values, counts = moves(axes, axes.rows([{name: value}]))
    found = [axes.point(np.array([v]))[name] for v in values[0, 0] if v == v]
    assert len(found) == counts[0, 0]
    assert set(found) >= set(expected)
    assert len(found) == len(expected) or name == "even"


@given(st.integers(0, 10))
def test_steps_that_are_no_binary_fractions_come_up_once(place: int) -> None:
    axes = Axes({"tenth": DISTRIBUTIONS["tenth"]})
    values, _ = moves(axes, np.array([[0.1 * place]]))
    found = values[0, 0, ~np.isnan(values[0, 0])]
    assert np.diff(found).min() > 0.05
    assert np.abs(found - 0.1 * place).min() == pytest.approx(0.1)


@given(st.lists(st.lists(st.sampled_from([None, 0, 1]), min_size=3, max_size=3)), seeds)
def test_a_point_is_seen_if_a_known_one_is_part_of_it(
    known: list[list[int | None]], seed: int
) -> None:
    rows = np.array(known, np.float64).reshape(len(known), 3)
    asked = np.array(list(itertools.product([np.nan, 0, 1], repeat=3)))
    expected = [
        any(
            any(v is not None for v in one)
            and all(v is None or v == a for v, a in zip(one, row, strict=True))
            for one in known
        )
        for row in asked.tolist()
    ]
    assert Seen(rows).among(asked).tolist() == expected


def test_more_can_be_seen_later_and_only_whole_points_count() -> None:
    rows = np.array([[0.0, 1.0], [2.0, 3.0], [np.nan, 5.0], [0.0, 5.0]])
    seen = Seen(rows[:1])
    alike = seen.and_alike(rows[1:3])
    assert alike.among(rows).tolist() == [True, True, False, False]
    assert seen.among(rows).tolist() == [True, False, False, False]
    seen.add(rows[2:3])
    assert seen.among(rows).tolist() == [True, False, True, True]
    assert seen.and_alike(rows[:0]) is seen
