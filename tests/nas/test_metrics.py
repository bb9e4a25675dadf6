import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from nas.metrics import (
    Evaluation,
    Labels,
    Probabilities,
    auroc,
    balanced_accuracy,
    delong_interval,
    evaluate,
    predict,
)

Z95 = 1.959964


def pair(scores: list[float], labels: list[int]) -> tuple[Probabilities, Labels]:
    """Probabilities of two classes, from those of class 1."""
    second = np.array(scores, dtype=np.float64)
    return np.stack([1 - second, second], 1), np.array(labels, dtype=np.int64)


@st.composite
def two_classes(draw: st.DrawFn, least: int = 1) -> tuple[Probabilities, Labels]:
    """Few different scores, so that ties are many."""
    positive = draw(st.integers(least, 12))
    negative = draw(st.integers(least, 12))
    count = positive + negative
    eighths = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    labels = draw(st.permutations([1] * positive + [0] * negative))
    return pair([eighth / 8 for eighth in eighths], labels)


@st.composite
def many_classes(draw: st.DrawFn) -> tuple[Probabilities, Labels]:
    classes = draw(st.integers(3, 5))
    count = draw(st.integers(classes, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.dirichlet(np.ones(classes), count)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    return probabilities, labels.astype(np.int64)


# By hand ------------------------------------------------------------------------------------------

SCORES = [0.1, 0.4, 0.35, 0.8, 0.5]
LABELS = [0, 0, 1, 1, 0]


def test_two_classes_by_hand() -> None:
    result = evaluate(*pair(SCORES, LABELS))
    # Predicted: 0 0 0 1 1. Of the pairs positive-negative, 0.35 wins 1 of 3 and 0.8 wins 3 of 3.
    assert result.n == 5
    assert result.confusion == ((2, 1), (1, 1))
    assert result.accuracy == pytest.approx(3 / 5)
    assert result.sensitivity == pytest.approx(1 / 2)
    assert result.specificity == pytest.approx(2 / 3)
    assert result.balanced_accuracy == pytest.approx(7 / 12)
    assert result.f1 == pytest.approx(1 / 2)
    assert result.auroc == pytest.approx(4 / 6)


def test_delong_by_hand() -> None:
    """V10 = (1/3, 1), V01 = (1, 1/2, 1/2): variance (2/9)/2 + (1/12)/3 = 5/36."""
    scores, labels = np.array(SCORES), np.array(LABELS)
    half = math.sqrt(5 / 36)
    low, high = delong_interval(scores, labels, z=0.5)
    assert (low, high) == pytest.approx((2 / 3 - half / 2, 2 / 3 + half / 2))
    # 2/3 ± 1.96 · 0.373 passes 0 and 1, where it is cut.
    assert delong_interval(scores, labels) == (0.0, 1.0)


def test_three_classes_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    result = evaluate(probabilities, np.array([0, 1, 1, 2]))
    assert result.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert result.accuracy == pytest.approx(3 / 4)
    assert result.balanced_accuracy == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert result.f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert result.auroc == pytest.approx((1 + 1 + 1) / 3)
    assert (result.sensitivity, result.specificity, result.auroc_interval) == (None, None, None)


def test_no_positive_predicted_gives_zero_and_no_warning() -> None:
    result = evaluate(*pair([0.1, 0.2, 0.3], [0, 1, 1]))
    assert (result.f1, result.sensitivity, result.specificity) == (0.0, 0.0, 1.0)


# Prediction ---------------------------------------------------------------------------------------


def test_the_threshold_belongs_to_the_positive_class() -> None:
    probabilities, labels = pair([0.29, 0.3, 0.31], [0, 1, 1])
    assert predict(probabilities, 0.3).tolist() == [0, 1, 1]
    assert predict(probabilities).tolist() == [0, 0, 0]
    assert predict(pair([0.5], [0])[0]).tolist() == [1]
    assert evaluate(probabilities, labels, 0.3).accuracy == 1
    assert evaluate(probabilities, labels, 0.305).confusion == ((1, 0), (1, 1))


def test_with_more_classes_the_threshold_is_unused() -> None:
    probabilities = np.array([[0.2, 0.3, 0.5], [0.4, 0.35, 0.25], [0.1, 0.6, 0.3]])
    assert predict(probabilities, 0.9).tolist() == [2, 0, 1]
    assert predict(probabilities).dtype == np.int64


# Against scikit-learn -----------------------------------------------------------------------------


@given(two_classes(), st.sampled_from([0.125, 0.3, 0.5, 0.875]))
@settings(max_examples=60)
def test_two_classes_against_scikit_learn(
    case: tuple[Probabilities, Labels], threshold: float
) -> None:
    probabilities, labels = case
    scores = probabilities[:, 1]
    predicted = (scores >= threshold).astype(int)
    result = evaluate(probabilities, labels, threshold)
    assert result.n == len(labels)
    assert result.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert result.f1 == pytest.approx(reference.f1_score(labels, predicted, zero_division=0.0))
    assert result.auroc == pytest.approx(reference.roc_auc_score(labels, scores))
    assert result.sensitivity == pytest.approx(reference.recall_score(labels, predicted))
    assert result.specificity == pytest.approx(
        reference.recall_score(labels, predicted, pos_label=0)
    )
    counts = reference.confusion_matrix(labels, predicted, labels=[0, 1])
    assert [list(row) for row in result.confusion] == counts.tolist()
    assert result.auroc_interval == delong_interval(scores, labels)


@given(many_classes())
def test_more_classes_against_scikit_learn(case: tuple[Probabilities, Labels]) -> None:
    probabilities, labels = case
    classes = list(range(probabilities.shape[1]))
    predicted = probabilities.argmax(1)
    result = evaluate(probabilities, labels)
    assert result.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert result.f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    one_against_rest = [
        reference.roc_auc_score(labels == label, probabilities[:, label]) for label in classes
    ]
    assert result.auroc == pytest.approx(np.mean(one_against_rest))
    counts = reference.confusion_matrix(labels, predicted, labels=classes)
    assert [list(row) for row in result.confusion] == counts.tolist()


@given(two_classes() | many_classes())
def test_balanced_accuracy_alone_is_that_of_the_evaluation(
    case: tuple[Probabilities, Labels],
) -> None:
    assert balanced_accuracy(*case) == pytest.approx(evaluate(*case).balanced_accuracy)
    assert auroc(*case) == evaluate(*case).auroc


# DeLong -------------------------------------------------------------------------------------------


def slow_delong(scores: Probabilities, labels: Labels, z: float) -> tuple[float, float]:
    """The definition: every positive against every negative (DeLong et al. 1988, section 2)."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = [[float(x > y) + 0.5 * float(x == y) for y in negative] for x in positive]
    m, n = len(positive), len(negative)
    area = sum(map(sum, wins)) / (m * n)
    v10 = [sum(row) / n for row in wins]
    v01 = [sum(row[j] for row in wins) / m for j in range(n)]
    s10 = sum((v - area) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (n - 1)
    half = z * math.sqrt(s10 / m + s01 / n)
    return max(0.0, area - half), min(1.0, area + half)


@given(two_classes(least=2), st.sampled_from([0.3, Z95]))
@settings(max_examples=100)
def test_delong_against_its_definition(case: tuple[Probabilities, Labels], z: float) -> None:
    scores, labels = case[0][:, 1], case[1]
    expected = slow_delong(scores, labels, z)
    assert delong_interval(scores, labels, z) == pytest.approx(expected, abs=1e-9)


@given(two_classes())
def test_interval_holds_the_area_and_stays_in_range(case: tuple[Probabilities, Labels]) -> None:
    low, high = delong_interval(case[0][:, 1], case[1])
    assert 0 <= low <= auroc(*case) + 1e-12
    assert auroc(*case) - 1e-12 <= high <= 1


def test_default_is_95_percent() -> None:
    scores, labels = np.linspace(0, 1, 40), np.tile([0, 1, 1, 0], 10)
    assert delong_interval(scores, labels) == delong_interval(scores, labels, Z95)
    narrow, wide = delong_interval(scores, labels, 1.0), delong_interval(scores, labels)
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(Z95)


def test_perfect_and_constant_scores() -> None:
    labels = np.array([0, 0, 1, 1])
    assert delong_interval(np.array([0.1, 0.2, 0.8, 0.9]), labels) == (1.0, 1.0)
    assert delong_interval(np.array([0.8, 0.9, 0.1, 0.2]), labels) == (0.0, 0.0)
    assert delong_interval(np.full(4, 0.5), labels) == (0.5, 0.5)


def test_one_image_of_a_class_gives_a_wide_interval_instead_of_nan() -> None:
    low, high = delong_interval(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 0, 1]))
    assert low == pytest.approx(1 - Z95 / 2)
    assert high == 1


def test_coverage_of_the_interval() -> None:
    """Normal scores a standard deviation apart: the true area is Φ(1/√2)."""
    rng = np.random.default_rng(0)
    true_area = 0.5 * (1 + math.erf(0.5))
    positives, negatives, rounds = 40, 60, 1500
    labels = np.repeat([1, 0], [positives, negatives])
    covered = 0
    for _ in range(rounds):
        scores = rng.standard_normal(positives + negatives) + labels
        low, high = delong_interval(scores, labels)
        covered += low <= true_area <= high
    # Three standard deviations of the simulation, and a little less than 95 % for small n.
    assert 0.925 <= covered / rounds <= 0.97


# Form ---------------------------------------------------------------------------------------------


@given(two_classes() | many_classes())
def test_figures_are_plain_json(case: tuple[Probabilities, Labels]) -> None:
    result = evaluate(*case)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()
    assert list(result.to_json()) == list(Evaluation.__dataclass_fields__)
    numbers = [result.accuracy, result.balanced_accuracy, result.f1, result.auroc]
    assert all(type(number) is float for number in numbers)
    assert all(type(count) is int for row in result.confusion for count in row)


def test_json_by_hand() -> None:
    values = evaluate(*pair([0.1, 0.9], [0, 1])).to_json()
    assert values["confusion"] == [[1, 0], [0, 1]]
    assert values["auroc_interval"] == [0.0, 1.0]
    three = evaluate(np.eye(3), np.arange(3)).to_json()
    assert three["auroc_interval"] is None
