import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from nas import metrics
from nas.errors import DataError
from nas.evaluation import Evaluation, evaluate
from nas.intervals import bootstrap, delong_interval, wilson_interval
from nas.metrics import Labels, Probabilities
from tests.nas.labelled import clinic, many_classes, names, pair, two_classes

Case = tuple[Probabilities, Labels]
TWO = ("NORMAL", "PNEUMONIA")


def figures(case: Case, threshold: float = 0.5) -> Evaluation:
    return evaluate(*case, names(case[0]), threshold=threshold)


# By hand ------------------------------------------------------------------------------------------

SCORES = [0.1, 0.4, 0.35, 0.8, 0.5]
LABELS = [0, 0, 1, 1, 0]


def test_two_classes_by_hand() -> None:
    result = evaluate(*pair(SCORES, LABELS), TWO)
    # Predicted: 0 0 0 1 1. Of the pairs positive-negative, 0.35 wins 1 of 3 and 0.8 wins 3 of 3.
    assert result.n == 5
    assert result.confusion == ((2, 1), (1, 1))
    assert result.accuracy == result.accuracy_at_half == pytest.approx(3 / 5)
    assert result.sensitivity == pytest.approx(1 / 2)
    assert result.specificity == pytest.approx(2 / 3)
    assert result.balanced_accuracy == pytest.approx(7 / 12)
    assert result.f1 == pytest.approx(1 / 2)
    assert result.auroc == pytest.approx(4 / 6)
    # 0.8 first: precision 1; then 0.5 and 0.4, negative; 0.35: 2 of 4.
    assert result.auprc == pytest.approx((1 + 1 / 2) / 2)
    assert result.sensitivity_at_specificity_90 == pytest.approx(1 / 2)
    assert result.brier == pytest.approx((0.01 + 0.16 + 0.65**2 + 0.04 + 0.25) / 5)
    normal, pneumonia = result.classes["NORMAL"], result.classes["PNEUMONIA"]
    assert (normal.n, normal.precision, normal.recall) == (3, 2 / 3, 2 / 3)
    assert (pneumonia.n, pneumonia.precision, pneumonia.recall) == (2, 1 / 2, 1 / 2)
    assert normal.auroc == pytest.approx(4 / 6)
    assert pneumonia.auroc == pytest.approx(4 / 6)
    assert (result.bootstrap, result.domains) == (None, {})


def test_three_classes_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    result = evaluate(probabilities, np.array([0, 1, 1, 2]), ("A", "B", "C"), threshold=0.9)
    assert result.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert result.accuracy == result.accuracy_at_half == pytest.approx(3 / 4)
    assert result.balanced_accuracy == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert result.f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert result.auroc == pytest.approx((1 + 1 + 1) / 3)
    assert (result.sensitivity, result.specificity, result.auroc_interval) == (None, None, None)
    assert result.sensitivity_at_specificity_90 is None
    assert (result.classes["A"].precision, result.classes["A"].recall) == (1 / 2, 1)


def test_no_positive_predicted_gives_zero_and_no_warning() -> None:
    result = evaluate(*pair([0.1, 0.2, 0.3], [0, 1, 1]), TWO)
    assert (result.f1, result.sensitivity, result.specificity) == (0.0, 0.0, 1.0)
    assert result.classes["PNEUMONIA"].precision is None


def test_the_threshold_decides() -> None:
    case = pair([0.29, 0.3, 0.31], [0, 1, 1])
    assert evaluate(*case, TWO, threshold=0.3).accuracy == 1
    result = evaluate(*case, TWO, threshold=0.305)
    assert result.confusion == ((1, 0), (1, 1))
    assert result.accuracy_at_half == 1 / 3


# Against scikit-learn -----------------------------------------------------------------------------


@given(two_classes(), st.sampled_from([0.125, 0.3, 0.5, 0.875]))
@settings(max_examples=60)
def test_two_classes_against_scikit_learn(case: Case, threshold: float) -> None:
    probabilities, labels = case
    scores = probabilities[:, 1]
    predicted = (scores >= threshold).astype(int)
    result = figures(case, threshold)
    assert result.n == len(labels)
    assert result.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert result.f1 == pytest.approx(reference.f1_score(labels, predicted, zero_division=0.0))
    assert result.sensitivity == pytest.approx(reference.recall_score(labels, predicted))
    assert result.specificity == pytest.approx(
        reference.recall_score(labels, predicted, pos_label=0)
    )
    assert result.auroc == metrics.auroc(*case)
    assert result.auprc == metrics.average_precision(*case)
    assert result.auroc_interval == delong_interval(scores, labels)


@given(many_classes())
def test_more_classes_against_scikit_learn(case: Case) -> None:
    probabilities, labels = case
    predicted = probabilities.argmax(1)
    result = figures(case)
    assert result.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert result.f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert result.auroc == metrics.auroc(*case)
    assert result.auprc == metrics.average_precision(*case)


@given(two_classes() | many_classes())
def test_classes_against_scikit_learn(case: Case) -> None:
    probabilities, labels = case
    predicted = metrics.predict(probabilities)
    result = figures(case)
    table = reference.precision_recall_fscore_support(
        labels, predicted, labels=list(range(probabilities.shape[1])), zero_division=0.0
    )
    for found, precision, recall, f1, n in zip(result.classes.values(), *table, strict=True):
        assert (found.precision or 0.0) == pytest.approx(precision)
        assert (found.recall, found.f1, found.n) == (pytest.approx(recall), pytest.approx(f1), n)
    means = [found.auroc for found in result.classes.values()]
    assert result.auroc == pytest.approx(np.mean([mean for mean in means if mean is not None]))


@given(two_classes() | many_classes())
def test_balanced_accuracy_alone_is_that_of_the_evaluation(case: Case) -> None:
    assert metrics.balanced_accuracy(*case) == pytest.approx(figures(case).balanced_accuracy)


# Patients and domains -----------------------------------------------------------------------------


def test_patients_give_a_bootstrap() -> None:
    probabilities, labels = clinic(60)
    patients = np.repeat(np.arange(30), 2).astype(np.str_)
    result = evaluate(probabilities, labels, TWO, threshold=0.3, groups=patients)
    assert result.bootstrap == bootstrap(
        probabilities, labels, metrics.predict(probabilities, 0.3), patients
    )
    assert result.bootstrap.groups == 30


def test_domains_have_what_their_classes_allow() -> None:
    case = pair([0.1, 0.6, 0.2, 0.8, 0.4, 0.9], [0, 0, 0, 1, 1, 1])
    domains = np.array(["IM", "IM", "mixed", "mixed", "virus", ""])
    found = evaluate(*case, TWO, domains=domains).domains
    assert list(found) == ["IM", "mixed", "virus"]
    normal, mixed, virus = found.values()
    assert (normal.n, normal.classes) == (2, {"NORMAL": 2, "PNEUMONIA": 0})
    assert (normal.sensitivity, normal.sensitivity_interval, normal.auroc) == (None, None, None)
    assert (normal.specificity, normal.accuracy) == (0.5, 0.5)
    assert normal.specificity_interval == wilson_interval(1, 2)
    assert (virus.specificity, virus.specificity_interval) == (None, None)
    assert (virus.sensitivity, virus.sensitivity_interval) == (0, wilson_interval(0, 1))
    assert (mixed.sensitivity, mixed.specificity, mixed.auroc) == (1, 1, 1)


def test_one_domain_is_no_division() -> None:
    case = pair([0.1, 0.9], [0, 1])
    assert evaluate(*case, TWO, domains=np.array(["A", "A"])).domains == {}
    assert evaluate(*case, TWO, domains=np.array(["", ""])).domains == {}


@given(many_classes())
def test_domains_of_more_classes_add_up(case: Case) -> None:
    domains = np.array(["a", "b"])[np.arange(len(case[1])) % 2]
    result = evaluate(*case, names(case[0]), domains=domains)
    assert sum(found.n for found in result.domains.values()) == result.n
    right = sum(found.accuracy * found.n for found in result.domains.values())
    assert right == pytest.approx(result.accuracy * result.n)
    assert all(found.sensitivity is None for found in result.domains.values())


# One class only -----------------------------------------------------------------------------------


def test_a_class_alone_has_sensitivity_or_specificity() -> None:
    scores = [0.2, 0.6, 0.9, 0.95]
    positives = evaluate(*pair(scores, [1] * 4), TWO, groups=np.arange(4).astype(np.str_))
    assert (positives.sensitivity, positives.specificity) == (3 / 4, None)
    assert positives.accuracy == 3 / 4
    for name in ("auroc", "auroc_interval", "auprc", "f1", "balanced_accuracy"):
        assert getattr(positives, name) is None
    assert positives.sensitivity_at_specificity_95 is None
    assert positives.bootstrap
    assert positives.bootstrap.sensitivity
    negatives = evaluate(*pair(scores, [0] * 4), TWO)
    assert (negatives.sensitivity, negatives.specificity) == (None, 1 / 4)
    assert negatives.classes["PNEUMONIA"].recall is None


def test_a_missing_class_of_three() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]])
    result = evaluate(probabilities, np.array([0, 1]), ("A", "B", "C"))
    assert (result.accuracy, result.auroc, result.f1) == (1, None, None)
    assert (result.classes["A"].auroc, result.classes["C"].auroc) == (1, None)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.5, 0.5]], [0, 1], "one row per image"),
        ([[0.2, 0.3, 0.5]], [0], "one row per image"),
        (np.empty((0, 2)), [], "one or more images"),
        ([[0.5, float("nan")], [0.5, 0.5]], [0, 1], "1 of 2 rows are not"),
        ([[2.0, -1.0]], [0], "apply a softmax"),
        ([[0.5, 0.4]], [0], "sums go from 0.9 to 0.9"),
        ([[0.5, 0.5]], [2], "from 0 to 1, but go from 2 to 2"),
        ([[0.5, 0.5]], [-1], "from 0 to 1, but go from -1"),
    ],
)
def test_what_is_no_evaluation_gets_one_sentence(
    probabilities: object, labels: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(np.array(probabilities), np.array(labels, dtype=np.int64), TWO)


# Form ---------------------------------------------------------------------------------------------


@given(two_classes() | many_classes())
def test_figures_are_plain_json(case: Case) -> None:
    probabilities, labels = case
    groups = np.arange(len(labels)).astype(np.str_)
    result = evaluate(probabilities, labels, names(probabilities), groups=groups, domains=groups)
    plain = result.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert list(plain) == list(Evaluation.__dataclass_fields__)
    assert all(type(count) is int for row in result.confusion for count in row)


def test_json_by_hand() -> None:
    plain = evaluate(*pair([0.1, 0.9], [0, 1]), TWO).to_json()
    assert plain["confusion"] == [[1, 0], [0, 1]]
    assert plain["auroc_interval"] == [0.0, 1.0]
    assert plain["classes"]["NORMAL"]["recall_interval"] == list(wilson_interval(1, 1))
