import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.calibration import prevalence_corrected
from nas.errors import DataError, SettingsError
from nas.metrics import Labels, Probabilities
from nas.thresholds import LEAST_OF_A_CLASS, Rule, ThresholdPolicy, choose_threshold
from tests.nas.labelled import clinic, two_classes

NAMES = ("youden", "balanced", "sensitivity-0.95", "specificity-0.9", "0.5", "sensitivity-0.999")


def choose(name: str, scores: Probabilities, labels: Labels) -> list[float]:
    found = choose_threshold(ThresholdPolicy.parse(name), scores, labels)
    return [found.value, found.sensitivity, found.specificity]


TEN = np.arange(1, 11) / 100
LABELS = np.repeat([0, 1], 10)
APART = np.r_[TEN, TEN + 0.5]  # negatives 0.01 to 0.1, positives 0.51 to 0.6


# By hand ------------------------------------------------------------------------------------------


def test_classes_apart() -> None:
    assert choose("youden", APART, LABELS) == pytest.approx([0.305, 1, 1])
    # The highest at which nine of ten are found: between 0.51 and 0.52.
    assert choose("sensitivity-0.9", APART, LABELS) == pytest.approx([0.515, 0.9, 1])
    # The lowest at which nine of ten are spared: between 0.09 and 0.1.
    assert choose("specificity-0.9", APART, LABELS) == pytest.approx([0.095, 1, 0.9])
    assert choose("specificity-0.91", APART, LABELS) == pytest.approx([0.305, 1, 1])
    assert choose("0.55", APART, LABELS) == [0.55, 0.6, 1]


def test_a_level_is_kept_by_no_image_more_than_needed() -> None:
    """19 of 20 are 0.95, whatever that is in binary."""
    scores = np.r_[np.zeros(20), np.arange(1, 21) / 21]
    found = choose_threshold(ThresholdPolicy(Rule.SENSITIVITY, 0.95), scores, np.repeat([0, 1], 20))
    assert found.sensitivity == 0.95


def test_of_equals_youden_takes_the_lowest() -> None:
    scores = np.r_[np.tile([0.2, 0.4], 5), np.tile([0.3, 0.5], 5)]
    # Above 0.25: all positives, half of the negatives; above 0.45: half and all.
    assert choose("youden", scores, LABELS) == pytest.approx([0.25, 1, 0.5])


def test_balanced_is_a_half_after_correction_to_a_prevalence_of_a_half() -> None:
    chances, labels = clinic(200)
    labels = np.r_[labels, np.ones(100, dtype=int)]
    scores = np.r_[chances[:, 1], chances[1::2, 1]]  # two positives for a negative
    found = choose_threshold(ThresholdPolicy(Rule.BALANCED), scores, labels)
    assert found.value == pytest.approx(2 / 3)
    corrected = prevalence_corrected(np.stack([1 - scores, scores], 1), (1 / 3, 2 / 3), (0.5, 0.5))
    assert ((scores >= found.value) == (corrected[:, 1] >= 0.5)).all()
    told = choose_threshold(ThresholdPolicy(Rule.BALANCED), scores, labels, prevalence=0.5)
    assert told.value == 0.5


# Properties ---------------------------------------------------------------------------------------

ENOUGH = two_classes(least=LEAST_OF_A_CLASS)


def possible(scores: Probabilities, labels: Labels) -> list[list[float]]:
    """Every threshold that gives other predictions, with its sensitivity and specificity."""
    ends = [0.0, *np.unique(scores).tolist(), 1.0]
    middles = [(a + b) / 2 for a, b in pairwise(ends) if 0 < (a + b) / 2 < 1]
    return [
        [t, float((scores >= t)[labels == 1].mean()), float((scores < t)[labels == 0].mean())]
        for t in middles
    ]


@given(ENOUGH)
@settings(max_examples=60)
def test_youden_against_every_threshold(case: tuple[Probabilities, Labels]) -> None:
    scores, labels = case[0][:, 1], case[1]
    _, sensitivity, specificity = choose("youden", scores, labels)
    best = max(se + sp for _, se, sp in possible(scores, labels))
    assert sensitivity + specificity == pytest.approx(best)


@given(ENOUGH, st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=60)
def test_levels_against_every_threshold(case: tuple[Probabilities, Labels], level: float) -> None:
    scores, labels = case[0][:, 1], case[1]
    points = possible(scores, labels)
    enough = [point for point in points if point[1] >= level - 1e-9]
    if enough:
        assert choose(f"sensitivity-{level}", scores, labels) == pytest.approx(max(enough))
    else:
        with pytest.raises(DataError, match="exactly 0 or 1"):
            choose(f"sensitivity-{level}", scores, labels)
    enough = [point for point in points if point[2] >= level - 1e-9]
    if enough:
        assert choose(f"specificity-{level}", scores, labels) == pytest.approx(min(enough))


@given(ENOUGH, st.sampled_from(NAMES[:2] + NAMES[4:5]))
def test_a_threshold_gives_what_it_says(case: tuple[Probabilities, Labels], name: str) -> None:
    scores, labels = case[0][:, 1], case[1]
    found = choose_threshold(ThresholdPolicy.parse(name), scores, labels)
    assert 0 < found.value < 1
    called = scores >= found.value
    assert found.sensitivity == pytest.approx(called[labels == 1].mean())
    assert found.specificity == pytest.approx((~called[labels == 0]).mean())
    assert found.sensitivity_interval[0] <= found.sensitivity <= found.sensitivity_interval[1]
    assert found.n == len(labels)


# Policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_policies_have_a_name_and_words(name: str) -> None:
    policy = ThresholdPolicy.parse(name)
    assert policy.name == name
    assert str(policy) != name
    plain = choose_threshold(policy, APART, LABELS).to_json()
    assert (plain["policy"], plain["policy_text"]) == (name, str(policy))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(
    "text", ["", "best", "sensitivity", "sensitivity-1.5", "1", "0.0", "fixed"]
)
def test_no_such_policy(text: str) -> None:
    with pytest.raises(SettingsError, match="one of youden, balanced, sensitivity"):
        ThresholdPolicy.parse(text)


def test_a_policy_that_cannot_be() -> None:
    for rule, level in ((Rule.YOUDEN, 0.5), (Rule.SENSITIVITY, None), (Rule.SPECIFICITY, 1.0)):
        with pytest.raises(SettingsError, match="level"):
            ThresholdPolicy(rule, level)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (APART[1:], LABELS[1:], "9 negatives and 10 positives"),
        (APART, np.ones(20, dtype=int), "0 negatives and 20 positives"),
        (APART, np.repeat([0, 2], 10), "10 of them 0 or 1"),
        (APART[1:], LABELS, "19 probabilities for 20 labels"),
        (np.r_[APART[:19], np.nan], LABELS, "1 of 20 are not"),
        (APART * 4, LABELS, "10 of 20 are not"),
    ],
)
def test_what_no_threshold_can_be_chosen_on(
    scores: Probabilities, labels: Labels, message: str
) -> None:
    for name in NAMES:
        with pytest.raises(DataError, match=message):
            choose_threshold(ThresholdPolicy.parse(name), scores, labels)


def test_a_prevalence_is_a_share() -> None:
    with pytest.raises(SettingsError, match="the prevalence must be in"):
        choose_threshold(ThresholdPolicy(Rule.BALANCED), APART, LABELS, prevalence=1.0)


def test_probabilities_that_are_all_certain_reach_no_level() -> None:
    scores = np.r_[np.zeros(10), np.zeros(5), np.ones(5)]
    with pytest.raises(DataError, match=r"sensitivity of 0\.95, but none does"):
        choose("sensitivity-0.95", scores, LABELS)
