import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from nas.intervals import (
    Bootstrap,
    bootstrap,
    delong_interval,
    weighted_areas,
    wilson_interval,
)
from nas.metrics import Labels, Probabilities, auroc, average_precision, predict
from tests.nas.labelled import clinic, many_classes, two_classes

Z95 = 1.959964
Case = tuple[Probabilities, Labels]

# Wilson -------------------------------------------------------------------------------------------


@given(st.integers(1, 700).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_against_scipy(case: tuple[int, int]) -> None:
    hits, n = case
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(hits, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    assert 0 <= low <= hits / n <= high <= 1


# DeLong -------------------------------------------------------------------------------------------

SCORES = [0.1, 0.4, 0.35, 0.8, 0.5]
LABELS = [0, 0, 1, 1, 0]


def test_delong_by_hand() -> None:
    """V10 = (1/3, 1), V01 = (1, 1/2, 1/2): variance (2/9)/2 + (1/12)/3 = 5/36."""
    scores, labels = np.array(SCORES), np.array(LABELS)
    half = math.sqrt(5 / 36)
    low, high = delong_interval(scores, labels, z=0.5)
    assert (low, high) == pytest.approx((2 / 3 - half / 2, 2 / 3 + half / 2))
    # 2/3 ± 1.96 · 0.373 passes 0 and 1, where it is cut.
    assert delong_interval(scores, labels) == (0.0, 1.0)


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
def test_delong_against_its_definition(case: Case, z: float) -> None:
    scores, labels = case[0][:, 1], case[1]
    expected = slow_delong(scores, labels, z)
    assert delong_interval(scores, labels, z) == pytest.approx(expected, abs=1e-9)


@given(two_classes())
def test_interval_holds_the_area_and_stays_in_range(case: Case) -> None:
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


# Weighted areas -----------------------------------------------------------------------------------


@given(two_classes(), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_weights_are_repetitions(case: Case, seed: int) -> None:
    scores, labels = case[0][:, 1], case[1]
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(labels))).astype(np.float64)
    for label in (0, 1):  # of each class one image weighs something
        weights[:, np.flatnonzero(labels == label)[0]] += 1
    aurocs, precisions = weighted_areas(scores, labels == 1, weights)
    for row, area, precision in zip(weights, aurocs, precisions, strict=True):
        times = row.astype(int)
        repeated = (np.repeat(labels, times), np.repeat(scores, times))
        assert area == pytest.approx(reference.roc_auc_score(*repeated))
        assert precision == pytest.approx(reference.average_precision_score(*repeated))


# Bootstrap ----------------------------------------------------------------------------------------


def resampled(case: Case, groups: object = None, **options: int) -> Bootstrap:
    probabilities, labels = case
    names = np.arange(len(labels)) if groups is None else np.asarray(groups)
    return bootstrap(probabilities, labels, predict(probabilities), names, **options)


def test_two_thousand_resamples_of_six_hundred_images_are_quick() -> None:
    started = time.process_time()
    result = resampled(clinic(600))
    assert time.process_time() - started < 3
    assert (result.resamples, result.groups) == (2000, 600)


def test_the_intervals_hold_the_figures() -> None:
    probabilities, labels = clinic(400)
    result = resampled((probabilities, labels))
    right = predict(probabilities) == labels
    for interval, figure in (
        (result.auroc, auroc(probabilities, labels)),
        (result.auprc, average_precision(probabilities, labels)),
        (result.accuracy, right.mean()),
        (result.balanced_accuracy, (right[labels == 0].mean() + right[labels == 1].mean()) / 2),
        (result.sensitivity, right[labels == 1].mean()),
        (result.specificity, right[labels == 0].mean()),
    ):
        assert interval is not None
        assert interval[0] < figure < interval[1]


def test_without_patients_of_several_images_the_intervals_are_the_known_ones() -> None:
    probabilities, labels = clinic(600)
    result = resampled((probabilities, labels))
    assert result.auroc == pytest.approx(delong_interval(probabilities[:, 1], labels), abs=0.004)
    hits = int((predict(probabilities) == labels)[labels == 1].sum())
    assert result.sensitivity == pytest.approx(wilson_interval(hits, 300), abs=0.006)


def test_images_that_repeat_each_other_count_once() -> None:
    """Four copies of every image tell nothing new; as independent images they halve the width."""
    probabilities, labels = clinic(120)
    once = resampled((probabilities, labels))
    copies = (np.repeat(probabilities, 4, 0), np.repeat(labels, 4))
    known = resampled(copies, np.repeat(np.arange(120), 4))
    taken_for_others = resampled(copies)
    assert once.auroc
    assert known.auroc
    assert taken_for_others.auroc
    assert known.auroc == pytest.approx(once.auroc, abs=1e-12)
    ratio = np.ptp(taken_for_others.auroc) / np.ptp(known.auroc)
    assert ratio == pytest.approx(0.5, abs=0.06)


@given(two_classes() | many_classes(), st.integers(1, 6))
def test_every_resample_has_every_class_and_figures_are_shares(case: Case, patients: int) -> None:
    probabilities, labels = case
    groups = np.arange(len(labels)) % patients
    result = resampled(case, groups, resamples=50)
    assert result.groups == min(patients, len(labels))
    two = probabilities.shape[1] == 2
    assert (result.sensitivity is None, result.specificity is None) == (not two, not two)
    for interval in (result.auroc, result.auprc, result.accuracy, result.balanced_accuracy):
        assert interval is not None
        assert 0 <= interval[0] <= interval[1] <= 1 + 1e-12


def test_one_class_has_what_it_can_have() -> None:
    probabilities, _ = clinic(40)
    positives = resampled((probabilities, np.ones(40, dtype=np.int64)))
    assert positives.sensitivity == positives.accuracy
    assert positives.auroc is positives.auprc is positives.specificity is None
    assert positives.balanced_accuracy is None


def test_the_seed_decides_and_the_order_of_turns_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = clinic(60)
    assert resampled(case) == resampled(case)
    assert resampled(case).auroc != resampled(case, seed=1).auroc
    whole = resampled(case)
    monkeypatch.setattr("nas.intervals.CELLS", 6000)  # 100 resamples at a time
    parts = resampled(case)
    assert parts.auroc
    assert whole.auroc
    assert parts.auroc == pytest.approx(whole.auroc, abs=0.02)
