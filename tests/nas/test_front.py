"""Fronts against brute force, on points among which many are equal in one aim or in all."""

import math
from collections.abc import Callable
from itertools import combinations, product
from xml.etree.ElementTree import Element, fromstring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.front import NOWHERE, Direction, crowding, hypervolume, non_dominated, ranks
from nas.front_plot import (
    BOTTOM,
    DIGIT,
    FONT,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Dot,
    _Axis,
    front_svg,
    number_text,
)

Point = tuple[float, ...]
Case = tuple[list[Point], list[Direction]]

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
VALUES = st.integers(0, 4).map(float)
ODD = st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def cases(draw: st.DrawFn, values: st.SearchStrategy[float] = VALUES) -> Case:
    aims = draw(st.integers(1, 3))
    directions = draw(st.lists(st.sampled_from(Direction), min_size=aims, max_size=aims))
    points = draw(st.lists(st.tuples(*[values] * aims), max_size=14))
    return points, directions


def beats(one: Point, other: Point, directions: list[Direction]) -> bool:
    signs = [1 if direction is UP else -1 for direction in directions]
    gains = [s * (a - b) for s, a, b in zip(signs, one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def peeled(points: list[Point], directions: list[Direction]) -> list[int]:
    """Ranks, one front after the other, from the definition."""
    found = [NOWHERE] * len(points)
    left = {place for place, point in enumerate(points) if all(map(math.isfinite, point))}
    for rank in range(len(points)):
        front = {i for i in left if not any(beats(points[j], points[i], directions) for j in left)}
        for place in front:
            found[place] = rank
        left -= front
    return found


@given(cases() | cases(VALUES | ODD))
def test_ranks_are_those_of_brute_force(case: Case) -> None:
    points, directions = case
    expected = peeled(points, directions)
    assert ranks(points, directions).tolist() == expected
    assert non_dominated(points, directions) == [i for i, r in enumerate(expected) if r == 0]


@given(cases())
def test_whoever_is_beaten_is_beaten_by_the_front(case: Case) -> None:
    points, directions = case
    front = non_dominated(points, directions)
    for place, point in enumerate(points):
        assert (place in front) != any(beats(points[i], point, directions) for i in front)


@pytest.mark.parametrize("find", [non_dominated, lambda *given: ranks(*given).tolist()])
def test_no_points(find: Callable[..., list[int]]) -> None:
    assert find([], [UP, DOWN]) == []
    assert find([[math.nan, 1.0]], [UP, DOWN]) in ([], [NOWHERE])


def test_equal_points_share_a_rank() -> None:
    points = [(0.9, 5.0), (0.9, 5.0), (0.8, 5.0), (0.8, 4.0), (0.9, 6.0)]
    assert non_dominated(points, [UP, DOWN]) == [0, 1, 3]
    assert ranks(points, [UP, DOWN]).tolist() == [0, 0, 1, 0, 1]


# Crowding -----------------------------------------------------------------------------------------


def test_crowding_by_hand() -> None:
    """A front over scores 0 to 10 and costs 0 to 100."""
    points = [(0.0, 0.0), (2.0, 10.0), (5.0, 30.0), (10.0, 100.0), (1.0, 60.0), (math.nan, 1.0)]
    rank = ranks(points, [UP, DOWN])
    assert rank.tolist() == [0, 0, 0, 0, 1, NOWHERE]
    expected = [math.inf, 0.5 + 0.3, 0.8 + 0.9, math.inf, math.inf, 0.0]
    assert crowding(points, rank) == pytest.approx(expected)


def crowding_by_hand(points: list[Point], rank: list[int]) -> list[float]:
    """Of each distinct point of a rank, by looking for its neighbours in a sorted list."""
    found = [0.0] * len(points)
    for level in set(rank) - {NOWHERE}:
        members = sorted({points[i] for i in range(len(points)) if rank[i] == level})
        for member in members:
            total = 0.0
            for aim in range(len(member)):
                order = sorted(members, key=lambda p: p[aim])
                place, span = order.index(member), order[-1][aim] - order[0][aim]
                if place in (0, len(order) - 1):
                    total = math.inf
                elif span > 0:
                    total += (order[place + 1][aim] - order[place - 1][aim]) / span
            first = next(i for i in range(len(points)) if points[i] == member and rank[i] == level)
            found[first] = total
    return found


@given(cases())
def test_crowding_is_that_of_brute_force(case: Case) -> None:
    points, directions = case
    rank = ranks(points, directions)
    assert crowding(points, rank) == pytest.approx(crowding_by_hand(points, rank.tolist()))


# Hypervolume --------------------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(VALUES, VALUES), max_size=10)


def cells(points: list[Point], reference: tuple[float, float], directions: list[Direction]) -> int:
    """Unit squares between the reference and some point; all coordinates are whole numbers."""
    count = 0
    for corner in product(range(-1, 6), repeat=2):
        middle = (corner[0] + 0.5, corner[1] + 0.5)
        count += beats(middle, reference, directions) and any(
            beats(point, middle, directions) for point in points
        )
    return count


@given(PAIRS, st.tuples(VALUES, VALUES), st.tuples(*[st.sampled_from(Direction)] * 2))
def test_hypervolume_counts_the_cells(
    points: list[Point], reference: tuple[float, float], directions: tuple[Direction, Direction]
) -> None:
    area = hypervolume(points, reference, directions)
    assert area == cells(points, reference, list(directions))
    front = [points[i] for i in non_dominated(points, directions)]
    assert hypervolume(front, reference, directions) == area
    assert hypervolume([*points, (math.nan, 0.0)], reference, directions) == area


def test_hypervolume_by_hand() -> None:
    points = [(0.9, 10.0), (0.7, 4.0), (0.4, 1.0), (0.8, 30.0)]
    # Within 20: 0.4 × 10 for the first, and 0.2 × 6 more for the second; two are outside.
    assert hypervolume(points, (0.5, 20.0), [UP, DOWN]) == pytest.approx(5.2)
    assert hypervolume([], (0.5, 20.0), [UP, DOWN]) == 0.0


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(SettingsError, match="one column for each of 2 directions"):
        ranks([[1.0, 2.0, 3.0]], [UP, DOWN])
    with pytest.raises(SettingsError, match="that of two aims, but there are 3"):
        hypervolume(np.zeros((1, 3)), (0.0, 0.0), [UP] * 3)


# The picture --------------------------------------------------------------------------------------

DOTS = st.lists(
    st.builds(
        Dot,
        st.integers(0, 9999),
        st.floats(0.3, 1.0) | ODD,
        st.floats(1e-3, 1e9) | st.sampled_from([0.0, -1.0, 5.0]) | ODD,
    ),
    max_size=30,
    unique_by=lambda dot: dot.number,
)


def parts(svg: str, name: str, kind: str = "") -> list[Element]:
    root = fromstring(svg)
    found = [part for part in root.iter() if part.tag == f"{{http://www.w3.org/2000/svg}}{name}"]
    return [part for part in found if kind in part.get("class", "").split() or not kind]


def overlap(one: Element, other: Element) -> bool:
    boxes = []
    for text in (one, other):
        right, foot = float(text.get("x", "")), float(text.get("y", ""))
        boxes.append((right - DIGIT * len(text.text or ""), right, foot - FONT, foot))
    (left, right, top, foot), (left2, right2, top2, foot2) = boxes
    slack = 0.11  # places are rounded to a tenth
    return (
        left < right2 - slack
        and left2 < right - slack
        and top < foot2 - slack
        and top2 < foot - slack
    )


@given(DOTS)
def test_every_trial_with_a_place_is_drawn_within_the_plot(dots: list[Dot]) -> None:
    svg = front_svg(dots, "score", "cost")
    drawn = [dot for dot in dots if dot.drawn]
    front = {drawn[i].number for i in non_dominated([(d.score, d.cost) for d in drawn], [UP, DOWN])}
    circles = parts(svg, "circle", "dot") + parts(svg, "circle", "best")
    assert len(circles) == len(drawn)
    assert len(parts(svg, "circle", "best")) == len(front)
    for circle in circles:
        assert LEFT <= float(circle.get("cx", "")) <= WIDTH - RIGHT
        assert TOP <= float(circle.get("cy", "")) <= HEIGHT - BOTTOM
    numbers = parts(svg, "text", "number")
    assert {int(text.text or "") for text in numbers} <= front
    assert not front or numbers
    assert not any(overlap(a, b) for a, b in combinations(numbers, 2))


@given(DOTS)
def test_better_is_higher_and_dearer_is_further_right(dots: list[Dot]) -> None:
    svg = front_svg(dots, "score", "cost")
    places = {}
    for circle in parts(svg, "circle"):
        title = circle[0].text or ""
        number = int(title.removeprefix("trial ").partition(":")[0])
        places[number] = float(circle.get("cx", "")), -float(circle.get("cy", ""))
    for one, other in combinations([dot for dot in dots if dot.drawn], 2):
        (x, y), (x2, y2) = places[one.number], places[other.number]
        assert (x - x2) * (one.cost - other.cost) >= 0
        assert (y - y2) * (one.score - other.score) >= 0


def test_numbers_of_a_dense_front_do_not_cover_one_another() -> None:
    dots = [Dot(1000 + n, 0.9 + n / 1000, 1e4 * 1.05**n) for n in range(40)]
    numbers = parts(front_svg(dots, "score", "cost"), "text", "number")
    assert 8 <= len(numbers) < 40
    assert not any(overlap(a, b) for a, b in combinations(numbers, 2))


def test_a_picture_by_hand() -> None:
    dots = [Dot(0, 0.90, 1e4), Dot(1, 0.92, 1e5), Dot(2, 0.88, 2e4), Dot(3, 0.91, 1e6)]
    svg = front_svg([*dots, Dot(4, 0.5, 5e4)], "a < b", "multiply-adds")
    assert parts(svg, "title")[0].text == "a < b against multiply-adds"
    about = parts(svg, "desc")[0].text
    assert about == "5 trials. On the front: trial 0 with 0.9 at 10 k; trial 1 with 0.92 at 100 k."
    assert [text.text for text in parts(svg, "text", "number")] == ["1", "0"]
    texts = [text.text for text in parts(svg, "text")]
    assert {"10 k", "100 k", "1 M", "0.9", "0.92", "○ below the axis: 1"} <= set(texts)
    assert len(parts(svg, "circle", "low")) == 1
    assert "prefers-color-scheme: dark" in svg
    assert "no trials yet" in front_svg([], "score", "cost")


@given(st.floats(1e-6, 1e9), st.floats(1.001, 1e9), st.booleans())
def test_ticks_are_few_and_within_the_axis(low: float, ratio: float, log: bool) -> None:
    high = low * ratio
    ticks = _Axis(low, high, 0, 1, log=log).ticks
    assert ticks == sorted(set(ticks))
    assert all(low * (1 - 1e-9) <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert 2 <= len(ticks) <= 19


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.96512, "0.9651"), (12, "12"), (77410, "77.41 k"), (9.2e6, "9.2 M"), (2e9, "2 G"), (0, "0")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text
