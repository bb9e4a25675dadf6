import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from nas.metrics import (
    Labels,
    Probabilities,
    auroc,
    average_precision,
    balanced_accuracy,
    brier_score,
    confusion,
    expected_calibration_error,
    predict,
    reliability,
    sensitivity_at_specificity,
)
from tests.nas.labelled import many_classes, pair, two_classes

Case = tuple[Probabilities, Labels]

# Prediction ---------------------------------------------------------------------------------------


def test_the_threshold_belongs_to_the_positive_class() -> None:
    probabilities, _ = pair([0.29, 0.3, 0.31], [0, 1, 1])
    assert predict(probabilities, 0.3).tolist() == [0, 1, 1]
    assert predict(probabilities).tolist() == [0, 0, 0]
    assert predict(pair([0.5], [0])[0]).tolist() == [1]


def test_with_more_classes_the_threshold_is_unused() -> None:
    probabilities = np.array([[0.2, 0.3, 0.5], [0.4, 0.35, 0.25], [0.1, 0.6, 0.3]])
    assert predict(probabilities, 0.9).tolist() == [2, 0, 1]
    assert predict(probabilities).dtype == np.int64


@given(two_classes() | many_classes())
def test_confusion_against_scikit_learn(case: Case) -> None:
    probabilities, labels = case
    classes = probabilities.shape[1]
    predicted = predict(probabilities, 0.3)
    expected = reference.confusion_matrix(labels, predicted, labels=list(range(classes)))
    assert confusion(predicted, labels, classes).tolist() == expected.tolist()


# Areas --------------------------------------------------------------------------------------------


@given(two_classes())
@settings(max_examples=60)
def test_areas_of_two_classes_against_scikit_learn(case: Case) -> None:
    probabilities, labels = case
    assert auroc(*case) == pytest.approx(reference.roc_auc_score(labels, probabilities[:, 1]))
    expected = reference.average_precision_score(labels, probabilities[:, 1])
    assert average_precision(*case) == pytest.approx(expected)


@given(two_classes())
def test_the_area_of_the_complement_is_the_complement_of_the_area(case: Case) -> None:
    probabilities, labels = case
    assert auroc(probabilities[:, ::-1], labels) == pytest.approx(1 - auroc(*case))
    assert auroc(probabilities[:, ::-1], 1 - labels) == pytest.approx(auroc(*case))


@given(two_classes())
def test_average_precision_against_its_definition(case: Case) -> None:
    """Each score, from the highest: precision there times what recall gained."""
    scores, labels = case[0][:, 1], case[1]
    total, recall_before = 0.0, 0.0
    for level in sorted(set(scores.tolist()), reverse=True):
        called = scores >= level
        hits = int(labels[called].sum())
        recall = hits / int(labels.sum())
        total += (recall - recall_before) * hits / int(called.sum())
        recall_before = recall
    assert average_precision(*case) == pytest.approx(total)


@given(many_classes())
def test_areas_of_more_classes_are_means_of_one_against_the_rest(case: Case) -> None:
    probabilities, labels = case
    pairs = [(labels == k, probabilities[:, k]) for k in range(probabilities.shape[1])]
    assert auroc(*case) == pytest.approx(np.mean([reference.roc_auc_score(*p) for p in pairs]))
    expected = np.mean([reference.average_precision_score(*p) for p in pairs])
    assert average_precision(*case) == pytest.approx(expected)


@given(two_classes() | many_classes())
def test_balanced_accuracy_is_the_mean_recall(case: Case) -> None:
    probabilities, labels = case
    predicted = predict(probabilities)
    expected = reference.recall_score(labels, predicted, average="macro", zero_division=0.0)
    assert balanced_accuracy(*case) == pytest.approx(expected)


# Sensitivity at a specificity ---------------------------------------------------------------------


def test_sensitivity_at_a_specificity_by_hand() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.15, 0.35, 0.5, 0.6])
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    # Above 0.5: one of four. Above 0.4 (one of five negatives wrong): two of four.
    assert sensitivity_at_specificity(scores, labels, 1.0) == 1 / 4
    assert sensitivity_at_specificity(scores, labels, 0.9) == 1 / 4
    assert sensitivity_at_specificity(scores, labels, 0.8) == 2 / 4
    assert sensitivity_at_specificity(scores, labels, 0.0) == 1


def test_rounding_costs_no_negative() -> None:
    """0.95 × 20 is more than 19 in binary."""
    scores = np.r_[np.arange(20) / 20, 0.945]
    labels = np.r_[np.zeros(20, dtype=int), 1]
    assert sensitivity_at_specificity(scores, labels, 0.95) == 1


@given(two_classes(), st.sampled_from([0.5, 0.9, 0.95]))
@settings(max_examples=60)
def test_sensitivity_at_a_specificity_against_every_threshold(case: Case, wanted: float) -> None:
    scores, labels = case[0][:, 1], case[1]
    best = 0.0
    for threshold in [*np.unique(scores), 2.0]:
        called = scores >= threshold
        if (~called[labels == 0]).mean() >= wanted:
            best = max(best, called[labels == 1].mean())
    assert sensitivity_at_specificity(scores, labels, wanted) == pytest.approx(best)


# Calibration --------------------------------------------------------------------------------------


@given(two_classes())
def test_brier_score_against_scikit_learn(case: Case) -> None:
    expected = reference.brier_score_loss(case[1], case[0][:, 1])
    assert brier_score(*case) == pytest.approx(expected)


def test_brier_score_of_three_classes_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    # (0.25 + 0.09 + 0.04) and (1 + 0 + 1)
    assert brier_score(probabilities, np.array([0, 0])) == pytest.approx((0.38 + 2) / 2)


def test_calibration_error_by_hand() -> None:
    """Bins of 1/15: 0.61 and 0.65 share the tenth, [0.6, 0.667); 0.9 and 1 have one each."""
    case = pair([0.61, 0.65, 0.9, 1.0], [1, 0, 1, 0])
    counts, claimed, so = reliability(*case)
    assert counts.tolist() == [2, 1, 1]
    assert claimed.tolist() == pytest.approx([0.63, 0.9, 1.0])
    assert so.tolist() == [0.5, 1, 0]
    assert expected_calibration_error(*case) == pytest.approx((2 * 0.13 + 0.1 + 1) / 4)


def test_calibration_error_of_three_classes_is_of_the_predicted_one() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.68, 0.22]])
    assert expected_calibration_error(probabilities, np.array([0, 2])) == pytest.approx(0.19)


@given(two_classes() | many_classes())
def test_calibration_error_is_a_share(case: Case) -> None:
    assert 0 <= expected_calibration_error(*case) <= 1
    assert reliability(*case)[0].sum() == len(case[1])


def test_certain_and_right_is_calibrated() -> None:
    assert expected_calibration_error(*pair([0.0, 1.0, 1.0], [0, 1, 1])) == 0
    assert expected_calibration_error(*pair([0.0, 1.0], [1, 0])) == 1
