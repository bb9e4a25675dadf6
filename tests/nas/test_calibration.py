import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax as reference
from sklearn.metrics import log_loss

from nas.calibration import (
    HIGHEST,
    LEAST_IMAGES,
    LOWEST,
    fit_temperature,
    negative_log_likelihood,
    prevalence_corrected,
    softmax,
)
from nas.errors import DataError, SettingsError
from nas.metrics import Labels, Probabilities, expected_calibration_error


def drawn(n: int, classes: int, temperature: float, seed: int) -> tuple[Probabilities, Labels]:
    """Logits whose true temperature is known, and labels drawn from what they say at it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    edges = reference(logits, axis=1).cumsum(1)
    labels = np.minimum((rng.random((n, 1)) > edges).sum(1), classes - 1)
    return logits * temperature, labels.astype(np.int64)


# Temperature --------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_true_temperature_is_found(classes: int, temperature: float) -> None:
    fit = fit_temperature(*drawn(8000, classes, temperature, seed=1))
    assert fit.temperature == pytest.approx(temperature, rel=0.08)
    assert fit.n == 8000
    if temperature != 1:
        assert fit.nll_after < fit.nll_before
        assert fit.ece_after < fit.ece_before


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.floats(0.2, 5))
def test_no_neighbour_is_likelier_and_it_never_gets_worse(
    seed: int, classes: int, true: float
) -> None:
    logits, labels = drawn(60, classes, true, seed)
    labels[:2] = (0, 1)
    fit = fit_temperature(logits, labels)
    assert LOWEST <= fit.temperature <= HIGHEST
    assert fit.nll_after <= fit.nll_before
    assert fit.nll_after == pytest.approx(negative_log_likelihood(logits / fit.temperature, labels))
    grid = np.exp(np.linspace(math.log(LOWEST), math.log(HIGHEST), 400))
    best = min(negative_log_likelihood(logits / t, labels) for t in grid)
    assert fit.nll_after <= best + 1e-5
    assert fit_temperature(logits, labels) == fit


def weighted(n: int, share: float, temperature: float) -> tuple[Probabilities, Labels]:
    """Logits of a network that assumes equal classes, where ``share`` of the images is positive."""
    rng = np.random.default_rng(2)
    labels = (rng.random(n) < share).astype(np.int64)
    # Normal values of variance 1 at ±1: the log odds at equal prevalences are twice the value.
    odds = 2 * (rng.standard_normal(n) + 2 * labels - 1)
    return np.stack([np.zeros(n), odds], 1) * temperature, labels


def test_a_network_trained_with_weights_is_fitted_at_what_it_assumes() -> None:
    logits, labels = weighted(8000, 0.8, 2.0)
    fit = fit_temperature(logits, labels, (0.5, 0.5))
    assert fit.temperature == pytest.approx(2, rel=0.06)
    assert fit.prevalences == (0.5, 0.5)
    assert fit.ece_after < 0.02 < fit.ece_before
    chances = softmax(logits, fit.temperature)
    # At the images' own prevalence they mean what they say only after correction.
    assert expected_calibration_error(chances, labels) > 0.08
    shares = (1 - labels.mean(), labels.mean())
    corrected = prevalence_corrected(chances, fit.prevalences, shares)
    assert expected_calibration_error(corrected, labels) < 0.02


def test_own_prevalences_are_those_that_are_meant_without_any() -> None:
    logits, labels = weighted(300, 0.7, 2.0)
    shares = (float((labels == 0).mean()), float((labels == 1).mean()))
    told, meant = fit_temperature(logits, labels, shares), fit_temperature(logits, labels)
    assert told.prevalences == meant.prevalences == pytest.approx(shares)
    assert told.temperature == pytest.approx(meant.temperature, rel=1e-5)
    assert told.ece_after == pytest.approx(meant.ece_after, abs=1e-4)


def test_weights_are_repetitions() -> None:
    """Every negative thrice."""
    logits, labels = weighted(200, 0.75, 1.5)
    times = np.where(labels == 0, 3, 1)
    many = fit_temperature(np.repeat(logits, times, 0), np.repeat(labels, times))
    assert fit_temperature(logits, labels, many.prevalences).temperature == pytest.approx(
        many.temperature, rel=1e-5
    )


def test_prevalences_of_a_class_without_images() -> None:
    logits, labels = drawn(60, 3, 1.0, seed=0)
    two = labels % 2
    assert fit_temperature(logits, two).prevalences[2] == 0
    with pytest.raises(DataError, match="there is none of class 2"):
        fit_temperature(logits, two, (0.3, 0.3, 0.4))
    with pytest.raises(SettingsError, match="prevalences must be 3 numbers"):
        fit_temperature(logits, labels, (0.5, 0.5))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20))
def test_a_temperature_changes_no_prediction(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (20, 3))
    chances = softmax(logits, temperature)
    assert chances.argmax(1).tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(chances, reference(logits / temperature, axis=1), atol=1e-12)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-12)


def test_separated_classes_end_at_the_bound() -> None:
    logits = np.array([[0.1, -0.1], [-0.1, 0.1]] * 20)
    fit = fit_temperature(logits, np.array([0, 1] * 20))
    assert fit.temperature == pytest.approx(LOWEST, rel=1e-3)
    assert math.isfinite(fit.nll_after)


def test_logits_that_are_always_wrong_end_at_the_other() -> None:
    logits = np.array([[1.0, -1.0], [-1.0, 1.0]] * 20)
    fit = fit_temperature(logits, np.array([1, 0] * 20))
    assert fit.temperature == pytest.approx(HIGHEST, rel=1e-3)


def test_huge_logits_overflow_nothing() -> None:
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]] * 20)
    labels = np.array([0, 1] * 19 + [1, 0])
    fit = fit_temperature(logits, labels)
    assert all(math.isfinite(v) for v in (fit.temperature, fit.nll_before, fit.nll_after))
    assert json.loads(json.dumps(fit.to_json(), allow_nan=False)) == fit.to_json()


@given(st.integers(0, 2**32 - 1))
def test_likelihood_against_scikit_learn(seed: int) -> None:
    logits, labels = drawn(30, 3, 1.0, seed)
    expected = log_loss(labels, reference(logits, axis=1), labels=[0, 1, 2])
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((LEAST_IMAGES - 1, 2)), [0, 1] * 9 + [0], f"at least {LEAST_IMAGES} labelled"),
        (np.zeros((40, 2)), [0, 1] * 10, "40 rows of logits and 20 labels"),
        (np.full((20, 2), np.inf), [0, 1] * 10, "those of 20 of 20 images are not"),
        (np.zeros((20, 2)), [1] * 20, "all 20 are of class 1"),
    ],
)
def test_what_no_temperature_can_be_fitted_to(
    logits: Probabilities, labels: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit_temperature(logits, np.array(labels))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(SettingsError, match="1 leaves probabilities as they are"):
        softmax(np.zeros((1, 2)), temperature)


# Prevalence ---------------------------------------------------------------------------------------


def test_prevalence_by_hand() -> None:
    """Odds of 3 at a prevalence of 1/2 are odds of 1/3 where the odds before any image are 1/9."""
    chances = prevalence_corrected(np.array([[0.25, 0.75]]), (0.5, 0.5), (0.9, 0.1))
    assert chances.tolist() == [pytest.approx([0.75, 0.25])]


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_prevalence_there_and_back(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(classes), 10)
    old, new = rng.dirichlet(np.full(classes, 5.0), 2)
    there = prevalence_corrected(chances, old, new)
    np.testing.assert_allclose(there.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(prevalence_corrected(there, new, old), chances, atol=1e-9)
    np.testing.assert_allclose(prevalence_corrected(chances, old, old), chances, atol=1e-12)


def test_corrected_probabilities_are_those_of_the_other_place() -> None:
    """Two normal distributions whose posteriors are known at every prevalence."""
    values = np.linspace(-3, 3, 7)
    odds = np.exp(2 * values)  # of densities at ±1, standard deviation 1

    def posterior(prevalence: float) -> Probabilities:
        positive = prevalence * odds / (prevalence * odds + 1 - prevalence)
        return np.stack([1 - positive, positive], 1)

    found = prevalence_corrected(posterior(0.74), (0.26, 0.74), (0.95, 0.05))
    np.testing.assert_allclose(found, posterior(0.05), atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((0.5, 0.4), (0.5, 0.5)),
        ((0.0, 1.0), (0.5, 0.5)),
        ((0.5, 0.5), (1.5, -0.5)),
        ((0.5, 0.5), (0.2, 0.3, 0.5)),
        ((0.5, 0.5), (math.nan, 0.5)),
    ],
)
def test_prevalences_are_shares(old: tuple[float, ...], new: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="prevalences must be 2 numbers"):
        prevalence_corrected(np.array([[0.5, 0.5]]), old, new)


def test_a_class_that_is_there_is_not_impossible() -> None:
    assert prevalence_corrected(np.array([[0.5, 0.5]]), (0.5, 0.5), (1, 0)).tolist() == [[1, 0]]
    with pytest.raises(SettingsError, match="give every class that occurs a share"):
        prevalence_corrected(np.array([[0.0, 1.0]]), (0.5, 0.5), (1, 0))
