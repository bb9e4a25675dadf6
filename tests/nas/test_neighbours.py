"""Points: neighbours, mutations, drawing, what counts as seen, and the encoding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nas.neighbours import Seen, crossed, draw, encoded, filled, moves, mutated, neighbours, unseen

CELL = {f"edge_{i}": CategoricalDistribution(("none", "skip", "a", "b", "c")) for i in range(6)}

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution((None, True, 2, "x")),
    "one": CategoricalDistribution(("only",)),
    "depth": IntDistribution(2, 8),
    "even": IntDistribution(0, 30, step=2),
    "width": IntDistribution(1, 1024, log=True),
    "still": IntDistribution(3, 3),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "share": FloatDistribution(-1.0, 1.0),
    "tenth": FloatDistribution(0.0, 1.0, step=0.1),
}
seeds = st.integers(0, 2**32)


def allowed(name: str, value: object) -> bool:
    distribution = DISTRIBUTIONS[name]
    if isinstance(distribution, IntDistribution):
        assert type(value) is int
    return distribution._contains(distribution.to_internal_repr(value))


def test_a_cell_has_24_neighbours() -> None:
    """The number that Dong and Yang 2020 give for NAS-Bench-201."""
    point = filled({}, CELL, np.random.default_rng(0))
    near = list(neighbours(point, CELL))
    assert len({tuple(sorted(n.items())) for n in near}) == len(near) == 24
    assert all(sum(n[name] != point[name] for name in CELL) == 1 for n in near)


@given(seeds)
def test_neighbours_differ_in_exactly_one_parameter_and_are_allowed(seed: int) -> None:
    point = filled({}, DISTRIBUTIONS, np.random.default_rng(seed))
    assert all(allowed(name, value) for name, value in point.items())
    for near in neighbours(point, DISTRIBUTIONS):
        changed = [name for name in point if near[name] != point[name]]
        assert len(changed) == 1
        assert near.keys() == point.keys()
        assert allowed(changed[0], near[changed[0]])


@given(seeds, st.integers(1, 4))
def test_mutations_change_at_most_as_many_as_asked(seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    point = filled({}, DISTRIBUTIONS, rng)
    child = mutated(point, DISTRIBUTIONS, rng, changes)
    assert 1 <= sum(child[name] != point[name] for name in point) <= changes
    assert all(allowed(name, value) for name, value in child.items())


@given(seeds)
def test_a_crossing_has_nothing_but_its_parents_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (filled({}, DISTRIBUTIONS, rng) for _ in range(2))
    child = crossed(one, {"depth": other["depth"]}, rng)
    assert all(child[name] in (one[name], other[name]) for name in one)
    assert all(child[name] == one[name] for name in one if name != "depth")


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
    found = moves(DISTRIBUTIONS[name], value)
    assert found == expected or name == "even"
    assert set(expected) <= set(found)
    assert value not in found


def test_every_value_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    for name, count in {"kind": 4, "depth": 7, "even": 16, "tenth": 11}.items():
        drawn = [draw(DISTRIBUTIONS[name], rng) for _ in range(count * 60)]
        assert len(set(drawn)) == count
        assert min(drawn.count(value) for value in set(drawn)) > 25


def test_a_known_part_makes_a_point_seen() -> None:
    seen = Seen([{"a": 1, "b": 2}, {"a": 3}, {}])
    assert {"b": 2, "a": 1, "c": 0} in seen
    assert {"a": 3, "b": 7} in seen
    assert {"a": 1, "b": 3} not in seen
    assert {"b": 2} not in seen
    assert {} not in seen


def test_unseen_ends_even_where_all_is_seen() -> None:
    seen = Seen([{"a": 1}])
    values = iter((1, 1, 2, 1))
    assert unseen(lambda: {"a": next(values)}, seen) == {"a": 2}
    assert unseen(lambda: {"a": 1}, seen, tries=3) == {"a": 1}


def test_the_encoding() -> None:
    space = {name: DISTRIBUTIONS[name] for name in ("kind", "depth", "rate")}
    rows = encoded([{"kind": 2, "depth": 5, "rate": 1e-4}, {"depth": 8}], space)
    assert rows == pytest.approx(np.array([[0, 0, 0, 1, 0, -1], [1, 0, 0, 0, 0, 0]]))
    assert encoded([], space).shape == (0, 6)
    assert encoded([{}], {}).shape == (1, 0)
