import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from nas.metrics import Labels, Probabilities, auroc
from nas.paired import delong_test, mcnemar
from tests.nas.labelled import clinic, two_classes

# DeLong -------------------------------------------------------------------------------------------


def slow_test(first: Probabilities, second: Probabilities, labels: Labels) -> tuple[float, float]:
    """Difference and its variance by the covariance matrices of DeLong et al. 1988, equation 5."""
    components = []
    for scores in (first, second):
        positive, negative = scores[labels == 1], scores[labels == 0]
        wins = [[float(x > y) + 0.5 * float(x == y) for y in negative] for x in positive]
        components.append((np.mean(wins, axis=1), np.mean(wins, axis=0)))
    (v10, v01), (w10, w01) = components
    s10, s01 = np.cov(v10, w10), np.cov(v01, w01)
    covariance = s10 / len(v10) + s01 / len(v01)
    contrast = np.array([1, -1])
    return float(v10.mean() - w10.mean()), float(contrast @ covariance @ contrast)


@given(two_classes(least=2), st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_delong_against_its_definition(case: tuple[Probabilities, Labels], seed: int) -> None:
    first, labels = case[0][:, 1], case[1]
    second = np.random.default_rng(seed).integers(0, 9, len(labels)) / 8
    difference, variance = slow_test(first, second, labels)
    found = delong_test(first, second, labels)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    half = 1.959964 * math.sqrt(max(variance, 0))
    assert found.interval == pytest.approx(
        (max(-1, difference - half), min(1, difference + half)), abs=1e-6
    )
    if variance > 1e-9:
        expected = 2 * norm.sf(abs(difference) / math.sqrt(variance))
        assert found.p == pytest.approx(expected, abs=1e-6)


@given(two_classes())
def test_a_model_is_no_better_than_itself(case: tuple[Probabilities, Labels]) -> None:
    scores, labels = case[0][:, 1], case[1]
    found = delong_test(scores, scores, labels)
    assert (found.difference, found.p) == (0, 1)
    # What keeps the order keeps the area.
    assert delong_test(scores, scores**3 / 2, labels).p == 1


@given(two_classes(least=2), st.integers(0, 2**32 - 1))
def test_the_other_way_round_is_the_opposite(case: tuple[Probabilities, Labels], seed: int) -> None:
    first, labels = case[0][:, 1], case[1]
    second = np.random.default_rng(seed).random(len(labels))
    one, other = delong_test(first, second, labels), delong_test(second, first, labels)
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert (one.p is None) == (other.p is None)
    assert one.p is None or one.p == pytest.approx(other.p)
    assert one.difference == pytest.approx(
        auroc(np.stack([1 - first, first], 1), labels)
        - auroc(np.stack([1 - second, second], 1), labels)
    )


def test_without_variance_the_test_says_nothing() -> None:
    labels = np.array([0, 0, 1, 1])
    found = delong_test(np.array([0.1, 0.2, 0.8, 0.9]), np.full(4, 0.5), labels)
    assert (found.difference, found.p) == (0.5, None)


def test_one_image_of_a_class_is_not_significant() -> None:
    labels = np.array([0, 0, 0, 1])
    found = delong_test(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0.4, 0.6, 0.5, 0.3]), labels)
    assert found.difference == 1
    assert found.p is not None
    assert found.p > 0.3


def test_p_values_of_equal_models_are_uniform() -> None:
    """Two models that see the same signal through noise of their own."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    ps = []
    for _ in range(600):
        signal = labels + rng.standard_normal(120)
        p = delong_test(
            signal + rng.standard_normal(120), signal + rng.standard_normal(120), labels
        ).p
        assert p is not None
        ps.append(p)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(ps) < level) == pytest.approx(level, abs=0.06)


def test_a_better_model_is_told_apart() -> None:
    better, labels = clinic(400, shift=3)
    worse, _ = clinic(400, seed=1, shift=1)
    found = delong_test(better[:, 1], worse[:, 1], labels)
    assert found.interval[0] > 0
    assert found.p is not None
    assert found.p < 0.001


# McNemar ------------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    first = np.array([1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    second = np.array([0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (5, 1)
    # 0, 1, 5 or 6 of 6: (1 + 6 + 6 + 1) / 64
    assert found.p == pytest.approx(14 / 64)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=80)
def test_mcnemar_against_the_binomial(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    found = mcnemar(first, second)
    ours = sum(a and not b for a, b in pairs)
    theirs = sum(b and not a for a, b in pairs)
    assert (found.only_first, found.only_second) == (ours, theirs)
    expected = min(1.0, 2 * binom.cdf(min(ours, theirs), ours + theirs, 0.5))
    assert found.p == pytest.approx(expected)


def test_models_that_never_differ() -> None:
    right = np.array([True, False, True])
    assert mcnemar(right, right).p == 1
