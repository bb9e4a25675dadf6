import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.splits import TEST_SHARE, VALIDATION_SHARE, hold_out
from nas.errors import DataError

Cohort = tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]

SHARES = st.sampled_from([1 / 2, 1 / 3, 1 / 4, TEST_SHARE, VALIDATION_SHARE])
SEEDS = st.integers(0, 2**31 - 1)


def cohort_of(classes: list[list[int]]) -> Cohort:
    """For every class, how many images each of its patients has."""
    labels, patients = [], []
    for label, counts in enumerate(classes):
        for number, count in enumerate(counts):
            labels += [label] * count
            patients += [f"patient {label}-{number}"] * count
    return np.array(labels, dtype=np.int64), np.array(patients)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Patients of one class each, at least two per class, in any order."""
    one_class = st.lists(st.integers(1, 6), min_size=2, max_size=15)
    labels, patients = cohort_of(draw(st.lists(one_class, min_size=2, max_size=4)))
    order = np.random.default_rng(draw(SEEDS)).permutation(len(labels))
    return labels[order], patients[order]


@st.composite
def mixed_cohorts(draw: st.DrawFn) -> Cohort:
    """Patients who may have images of several classes."""
    images = st.tuples(st.integers(0, 2), st.integers(0, 6))
    table = draw(st.lists(images, min_size=4, max_size=20))
    labels = np.array([label for label, _ in table], dtype=np.int64)
    return labels, np.array([f"p{patient}" for _, patient in table])


def check_sides(cohort: Cohort, held: npt.NDArray[np.bool_]) -> None:
    labels, patients = cohort
    assert held.dtype == np.bool_
    assert held.shape == labels.shape
    assert not set(patients[held]) & set(patients[~held])
    assert set(labels[held]) == set(labels[~held]) == set(labels)


@settings(deadline=None)
@given(cohorts(), SHARES, SEEDS)
def test_whole_patients_and_every_class_on_both_sides(
    cohort: Cohort, share: float, seed: int
) -> None:
    check_sides(cohort, hold_out(*cohort, share, seed))


@settings(deadline=None)
@given(cohorts(), SHARES, SEEDS)
def test_the_share_is_kept_in_every_class_up_to_one_patient(
    cohort: Cohort, share: float, seed: int
) -> None:
    labels, patients = cohort
    held = hold_out(labels, patients, share, seed)
    fewest = min(len(set(patients[labels == label])) for label in set(labels))
    part = 1 / min(round(1 / share), fewest)
    for label in set(labels):
        largest = max(np.unique(patients[labels == label], return_counts=True)[1])
        count = (labels == label).sum()
        assert abs(held[labels == label].sum() - part * count) <= largest


@settings(deadline=None, max_examples=50)
@given(cohorts(), SHARES, SEEDS)
def test_the_result_is_a_function_of_its_arguments(cohort: Cohort, share: float, seed: int) -> None:
    state = np.random.get_state(legacy=False)
    first = hold_out(*cohort, share, seed)
    assert np.array_equal(first, hold_out(*cohort, share, seed))
    after = np.random.get_state(legacy=False)
    assert str(state) == str(after)


@settings(deadline=None, max_examples=200)
@given(mixed_cohorts(), SHARES, SEEDS)
def test_patients_of_several_classes_are_split_right_or_refused(
    cohort: Cohort, share: float, seed: int
) -> None:
    try:
        held = hold_out(*cohort, share, seed)
    except DataError:
        return
    check_sides(cohort, held)


@pytest.mark.parametrize(("share", "images"), [(TEST_SHARE, 40), (VALIDATION_SHARE, 33)])
def test_the_usual_shares(share: float, images: int) -> None:
    labels, patients = cohort_of([[1] * 100, [2] * 50])
    held = hold_out(labels, patients, share, 0)
    assert held.sum() == pytest.approx(images, abs=3)
    assert held[labels == 0].sum() == pytest.approx(held[labels == 1].sum(), abs=2)


def test_another_seed_holds_out_others() -> None:
    cohort = cohort_of([[2] * 30, [1] * 40])
    chosen = {hold_out(*cohort, TEST_SHARE, seed).tobytes() for seed in range(8)}
    assert len(chosen) == 8


def test_series_with_any_index_and_labels_with_gaps() -> None:
    labels, patients = cohort_of([[2] * 6, [1] * 8])
    index = np.arange(len(labels))[::-1] + 100
    series = pd.Series(labels * 7 + 3, index=index), pd.Series(patients, index=index)
    held = hold_out(*series, TEST_SHARE, 5)
    assert np.array_equal(held, hold_out(labels, patients, TEST_SHARE, 5))


def test_a_class_with_one_patient_is_refused() -> None:
    labels, patients = cohort_of([[1] * 20, [9]])
    with pytest.raises(DataError, match=r"at least two patients.*one has 1; add patients"):
        hold_out(labels, patients, TEST_SHARE, 0)


def test_two_patients_a_class_are_enough() -> None:
    cohort = cohort_of([[5, 1], [1, 3]])
    check_sides(cohort, hold_out(*cohort, TEST_SHARE, 0))


def test_where_the_first_fold_misses_a_class_another_is_taken() -> None:
    """Found by trying: the first of scikit-learn's folds has class 0 only here."""
    labels = np.array([0, 1, 1, 1, 0, 0, 1], dtype=np.int64)
    patients = np.array(["p2", "p2", "p0", "p1", "p0", "p3", "p0"])
    check_sides((labels, patients), hold_out(labels, patients, TEST_SHARE, 0))


def test_patients_who_bind_classes_together_are_refused() -> None:
    """Three patients, each with two of three classes: one side always lacks a class."""
    labels = np.array([0, 1, 1, 2, 2, 0])
    patients = np.array(["a", "a", "b", "b", "c", "c"])
    with pytest.raises(DataError, match=r"both sides.*; add patients who have one class only"):
        hold_out(labels, patients, TEST_SHARE, 0)
