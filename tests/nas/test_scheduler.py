"""Who goes on: rules worked out by hand, properties, and whole searches in simulation."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.scheduler import REDUCTION, Promotion, Standing, promote, rungs

LADDER = 3


def at(*scores: float, number: int = 0, paused: bool = True) -> Standing:
    return Standing(number, scores, paused)


def numbered(*standings: Standing) -> list[Standing]:
    return [Standing(i, s.scores, s.paused) for i, s in enumerate(standings)]


def test_one_in_three_is_the_default() -> None:
    assert REDUCTION == 3
    three = numbered(at(0.5), at(0.7), at(0.6))
    assert promote(three, 2) == promote(three, 2, reduction=3)


def test_worked_out_by_hand() -> None:
    two = numbered(at(0.9), at(0.8))
    assert promote(two, LADDER) is None  # nothing to be better than yet
    three = [*two, at(0.7, number=2)]
    assert promote(three, LADDER) == Promotion(0, "place 1 of 3; the first 1 go on")
    gone = [at(0.9, 0.95, number=0), *three[1:]]
    assert promote(gone, LADDER) is None
    six = [*gone, at(0.85, number=3), at(0.1, number=4), at(0.2, number=5)]
    assert promote(six, LADDER) == Promotion(3, "place 2 of 6; the first 2 go on")


def test_the_highest_rung_is_served_first() -> None:
    upper = [at(0.9, 0.5), at(0.9, 0.6), at(0.9, 0.7)]
    lower = [at(0.99), *[at(0.1)] * 8]
    assert promote(numbered(*upper, *lower), LADDER) == Promotion(
        2, "place 1 of 3; the first 1 go on"
    )
    assert promote(numbered(*lower, *upper), LADDER, last=True) == Promotion(
        0, "place 1 of 12; the first 4 go on"
    )


def test_at_the_end_one_at_least_is_trained_to_the_end() -> None:
    assert promote([at(0.3)], LADDER) is None
    assert promote([at(0.3)], LADDER, last=True) == Promotion(0, "place 1 of 1; the first 1 go on")
    assert promote([at(0.3, 0.4)], LADDER, last=True) is not None
    assert promote([at(0.3, 0.4, 0.5)], LADDER, last=True) is None


def test_who_failed_or_ended_takes_a_place_and_does_not_go_on() -> None:
    field = numbered(at(0.9, paused=False), at(0.8), at(0.7))
    assert promote(field, LADDER) is None
    assert promote(field, LADDER, last=True) is None
    assert promote([*field, *[at(0.1, number=n) for n in (3, 4, 5)]], LADDER) == Promotion(
        1, "place 2 of 6; the first 2 go on"
    )


def test_of_equal_scores_the_earlier_trial_goes_on() -> None:
    assert promote([at(0.5, number=n) for n in (7, 3, 5)], LADDER) == Promotion(
        3, "place 1 of 3; the first 1 go on"
    )


def test_one_rung_promotes_nobody() -> None:
    assert promote(numbered(at(0.9), at(0.1), at(0.2)), 1, last=True) is None


paths = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=LADDER)
fields = st.lists(st.builds(lambda scores, paused: Standing(0, tuple(scores), paused), paths,
                            st.booleans()), max_size=30).map(lambda f: numbered(*f))  # fmt: skip


@given(fields, st.booleans(), st.integers(2, 5))
def test_who_goes_on_is_paused_below_the_last_rung_and_among_the_best(
    field: list[Standing], last: bool, reduction: int
) -> None:
    promotion = promote(field, LADDER, last=last, reduction=reduction)
    if promotion is None:
        return
    chosen = field[promotion.number]
    rung = len(chosen.scores) - 1
    here = [s for s in field if len(s.scores) > rung]
    better = sum(s.scores[rung] > chosen.scores[rung] for s in here)
    assert chosen.paused
    assert rung < LADDER - 1
    assert better < -(-len(here) // reduction) if last else better < len(here) // reduction


@given(fields, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_standings_does_not_matter(
    field: list[Standing], last: bool, shuffler: random.Random
) -> None:
    shuffled = field.copy()
    shuffler.shuffle(shuffled)
    assert promote(shuffled, LADDER, last=last) == promote(field, LADDER, last=last)


def simulated(scores: Sequence[Sequence[float]]) -> list[int]:
    """How many rungs each genome reached in a search that ends when nobody is left to promote."""
    reached = [0] * len(scores)
    new = 0
    while True:
        field = [Standing(i, tuple(scores[i][:n]), True) for i, n in enumerate(reached) if n]
        promotion = promote(field, LADDER, last=new == len(scores))
        if promotion is not None:
            reached[promotion.number] += 1
        elif new < len(scores):
            reached[new] = 1
            new += 1
        else:
            return reached


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_a_whole_search_trains_the_best_to_the_end_at_about_a_ninth_of_the_cost(
    count: int, random_: random.Random
) -> None:
    ability = [random_.random() for _ in range(count)]
    reached = simulated([[a] * LADDER for a in ability])
    assert reached[ability.index(max(ability))] == LADDER
    second, third = (sum(n >= rung for n in reached) for rung in (2, 3))
    assert -(-count // 3) <= second
    assert -(-second // 3) <= third
    # Those that were promoted before better ones came are the price of not waiting.
    assert second <= count / 3 + 2 * count**0.5 + 1


@pytest.mark.parametrize(
    ("epochs", "ladder"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (1, 3)),
        (6, (2, 6)),
        (9, (1, 3, 9)),
        (10, (1, 3, 10)),
        (27, (1, 3, 9, 27)),
        (100, (1, 3, 11, 33, 100)),
    ],
)
def test_rungs(epochs: int, ladder: tuple[int, ...]) -> None:
    assert rungs(epochs) == ladder


def test_rungs_of_another_reduction() -> None:
    assert rungs(16, 4) == (1, 4, 16)
    assert rungs(7, 2) == (1, 3, 7)


@given(st.integers(1, 10_000), st.integers(2, 5))
def test_rungs_rise_to_the_budget(epochs: int, reduction: int) -> None:
    ladder = rungs(epochs, reduction)
    assert ladder[-1] == epochs
    assert 1 <= ladder[0] < reduction
    for low, high in pairwise(ladder):
        assert low == high // reduction


@pytest.mark.parametrize("epochs", [0, -1])
def test_less_than_one_epoch_is_refused(epochs: int) -> None:
    with pytest.raises(SettingsError, match=f"--epochs must be at least 1, but is {epochs}; 6 is"):
        rungs(epochs)
