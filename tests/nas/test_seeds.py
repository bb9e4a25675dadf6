import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.seeds import derive

parts = st.lists(st.integers() | st.text(max_size=4), max_size=4)


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        ((), 8203414616412130826),
        ((0,), 3696793467068528757),
        ((0, "trial", 12), 4771109008047042305),
        ((7, "fold", 2, "epoch", 30), 5300881264503994008),
        (("äöü",), 8842496702342147924),
    ],
)
def test_seeds_do_not_change_between_machines_and_versions(
    place: tuple[int | str, ...], seed: int
) -> None:
    """A run that is taken up again must draw what it would have drawn."""
    assert derive(*place) == seed


@given(parts)
def test_seeds_fit_every_generator(place: list[int | str]) -> None:
    seed = derive(*place)
    assert type(seed) is int
    assert 0 <= seed < 2**63
    assert derive(*place) == seed


@given(parts, parts)
def test_other_places_give_other_seeds(one: list[int | str], other: list[int | str]) -> None:
    assert (derive(*one) == derive(*other)) is (one == other)


def test_types_and_borders_matter() -> None:
    places: list[tuple[int | str, ...]] = [
        (1,),
        ("1",),
        ("int:1",),
        (1, 1),
        (11,),
        ("11",),
        (1, "1"),
        ("1", 1),
        ("1", "1"),
        (-1,),
        ("",),
        ("", ""),
        (),
        ("a", "b"),
        ("b", "a"),
        ("ab",),
        ("a\0str:b",),
        ("a\0", "b"),
        ("a", "\0b"),
        ("a\0b",),
    ]
    assert len({derive(*place) for place in places}) == len(places)


def test_neighbouring_places_have_unrelated_seeds() -> None:
    """Every bit is set in about half of the seeds: a plain sum would keep the high ones at 0."""
    seeds = [derive(0, "trial", number) for number in range(2000)]
    assert len(set(seeds)) == len(seeds)
    for bit in range(63):
        share = sum(seed >> bit & 1 for seed in seeds) / len(seeds)
        assert share == pytest.approx(0.5, abs=0.06)  # five standard deviations
