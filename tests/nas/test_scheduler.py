import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.scheduler import REDUCTION, Decision, decide, rungs

scores = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])
reductions = st.integers(2, 5)


def test_worked_out_by_hand() -> None:
    others = [0.9, 0.8, 0.7, 0.6, 0.5]  # with one more, six: two go on
    assert decide(0.85, others) == Decision(True, "place 2 of 6; the first 2 go on")
    assert decide(0.75, others) == Decision(False, "place 3 of 6 at this rung; the first 2 go on")
    assert decide(0.95, others) == Decision(True, "place 1 of 6; the first 2 go on")
    assert decide(0.1, others) == Decision(False, "place 6 of 6 at this rung; the first 2 go on")
    # With the seventh, a third place opens: 7/3 is rounded up.
    assert decide(0.75, [*others, 0.4]).go_on
    assert not decide(0.65, [*others, 0.4]).go_on


def test_one_in_three_is_the_default() -> None:
    assert REDUCTION == 3
    assert decide(0.5, []) == decide(0.5, [], 3)
    assert decide(0.0, [0.5, 0.6, 0.7], 2) == Decision(
        False, "place 4 of 4 at this rung; the first 2 go on"
    )


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_the_first_go_on_unjudged(reduction: int) -> None:
    for seen in range(reduction - 1):
        decision = decide(0.0, [1.0] * seen, reduction)
        assert decision == Decision(True, f"one of the first {reduction - 1} at this rung")
    assert not decide(0.0, [1.0] * (reduction - 1), reduction).go_on
    assert decide(1.0, [0.5] * (reduction - 1), reduction).go_on


@given(scores, scores, st.lists(scores, max_size=30), reductions)
def test_a_better_score_never_hurts(
    one: float, other: float, others: list[float], reduction: int
) -> None:
    low, high = sorted([one, other])
    assert decide(high, others, reduction).go_on >= decide(low, others, reduction).go_on


@given(scores, st.lists(scores, max_size=30), reductions, st.randoms(use_true_random=False))
def test_the_order_of_the_others_does_not_matter(
    score: float, others: list[float], reduction: int, shuffler: random.Random
) -> None:
    shuffled = others.copy()
    shuffler.shuffle(shuffled)
    assert decide(score, shuffled, reduction) == decide(score, others, reduction)


@given(scores, st.lists(scores, min_size=4, max_size=30), reductions)
def test_it_goes_on_if_and_only_if_few_enough_are_better(
    score: float, others: list[float], reduction: int
) -> None:
    better = sum(other > score for other in others)
    allowed = math.ceil((len(others) + 1) / reduction)
    decision = decide(score, others, reduction)
    assert decision.go_on is (better < allowed)
    assert f"place {better + 1} of {len(others) + 1}" in decision.reason
    assert decision.reason.endswith(f"the first {allowed} go on")


@given(scores, st.integers(0, 30), reductions)
def test_equal_scores_share_the_best_place(score: float, seen: int, reduction: int) -> None:
    assert decide(score, [score] * seen, reduction).go_on


@given(st.lists(scores, min_size=1, max_size=20), reductions)
def test_a_new_best_always_goes_on(others: list[float], reduction: int) -> None:
    assert decide(1.5, others, reduction).go_on


@pytest.mark.parametrize("reduction", [2, 3, 5])
def test_about_one_in_reduction_goes_on(reduction: int) -> None:
    rng = random.Random(reduction)
    count = 3000
    seen: list[float] = []
    went_on = 0
    for _ in range(count):
        score = rng.random()
        went_on += decide(score, seen, reduction).go_on
        seen.append(score)
    # Five standard deviations; the first ones and rounding up add a few.
    assert went_on / count == pytest.approx(1 / reduction, abs=0.045)


def test_a_reason_is_given_whatever_is_decided() -> None:
    assert decide(0.2, [0.5] * 8).reason != decide(0.9, [0.5] * 8).reason


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


@given(st.integers(1, 10_000), reductions)
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
