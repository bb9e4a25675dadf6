"""Making probabilities mean what they say: temperature scaling, and another prevalence.

Fitted on out-of-fold logits only: of images that the network which gave them was not trained on.

A network that is trained with weights or sampling by class says what would be so if all classes
were equally frequent. A temperature does not change that: fitted to images of another prevalence it
mends little (chest X-rays, 74 % positive, a small network: calibration error 0.285 before, 0.280
after). Such a network is fitted at the prevalences that it assumes, and corrected afterwards.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from nas.errors import DataError, SettingsError
from nas.metrics import Labels, Probabilities, expected_calibration_error

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures. Where classes are separated without error, the likelihood has no maximum: the
lowest temperature is where certainty ends."""

LEAST_IMAGES = 20
"""Below so many a temperature says more of chance than of the network: of 20 images with a true
temperature of 1, the middle half of estimates is 0.65 to 1.24 (1,000 simulated sets of two classes,
logit differences of standard deviation 2)."""

EDGE = 1e-9
"""The smallest prevalence that one may divide by."""

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A temperature, and what it brought on the images that it was fitted on.

    Attributes:
        temperature: logits are divided by it; above 1 it makes probabilities less certain.
        n: images.
        prevalences: of the classes, that the probabilities assume; figures below are at these.
        nll_before: mean negative log-likelihood in nats, at temperature 1.
        nll_after: at the temperature; never more.
        ece_before: expected calibration error, see nas.metrics, at temperature 1.
        ece_after: at the temperature.
    """

    temperature: float
    n: int
    prevalences: tuple[float, ...]
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "prevalences": list(self.prevalences)}


def fit_temperature(
    logits: Logits, labels: Labels, prevalences: npt.ArrayLike | None = None
) -> TemperatureFit:
    """The temperature with the highest likelihood (Guo et al. 2017, arXiv:1706.04599, section 4.2).

    The likelihood is concave in 1/T, so there is one maximum; it is looked for within
    [LOWEST, HIGHEST] by Brent's method, which draws no random number.

    Args:
        logits: (N, K) float64, out of fold.
        labels: (N,) in [0, K).
        prevalences: (K,) shares of the classes that the network assumes, above 0; equal ones after
            a training with weights or sampling by class. Images count as much as makes the classes
            have these shares; every class must occur then. None is the shares among ``labels``.

    Raises:
        DataError: too few images, a class without images, or logits that are not finite.
        SettingsError: prevalences that are not shares.
    """
    _check(logits, labels)
    shares = np.bincount(labels, minlength=logits.shape[1]) / len(labels)
    assumed = shares if prevalences is None else _shares(prevalences, logits.shape[1], least=EDGE)
    if prevalences is not None and not shares.all():
        raise DataError(
            "a temperature at given prevalences needs images of every class, but there is none of "
            f"class {int(shares.argmin())}; add some, or leave the prevalences out"
        )
    weights = np.ones(len(labels)) if prevalences is None else (assumed / shares)[labels]

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits / math.exp(log_temperature), labels, weights)

    found = minimize_scalar(
        loss,
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    before = loss(0.0)
    # The search ends short of a bound, and near a flat minimum by rounding a little above it.
    log_temperature = min((float(found.x), 0.0), key=loss)
    temperature = math.exp(log_temperature)
    return TemperatureFit(
        temperature=temperature,
        n=len(labels),
        prevalences=tuple(float(share) for share in assumed),
        nll_before=before,
        nll_after=loss(log_temperature),
        ece_before=expected_calibration_error(softmax(logits), labels, weights),
        ece_after=expected_calibration_error(softmax(logits, temperature), labels, weights),
    )


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """(N, K) logits to (N, K) probabilities; rows add up to 1.

    Raises:
        SettingsError: the temperature is not a finite number above 0.
    """
    if not 0 < temperature < math.inf:
        raise SettingsError(
            f"a temperature must be a finite number above 0, but is {temperature!r}; "
            "1 leaves probabilities as they are"
        )
    chances: Probabilities = np.exp(log_softmax(logits / temperature, axis=1))
    chances /= chances.sum(1, keepdims=True)
    return chances


def negative_log_likelihood(
    logits: Logits, labels: Labels, weights: npt.NDArray[np.float64] | None = None
) -> float:
    """Mean over images, in nats; (N, K) logits, (N,) labels in [0, K), (N,) weights above 0."""
    losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return float(np.average(losses, weights=weights))


def prevalence_corrected(
    probabilities: Probabilities, assumed: npt.ArrayLike, real: npt.ArrayLike
) -> Probabilities:
    """Probabilities where classes are as frequent as ``real`` says, instead of ``assumed``.

    Bayes' rule with other priors: each class times real/assumed, divided by the sum (Saerens et
    al. 2002, Neural Computation 14:21, equation 2.4). It holds where images of a class look alike
    in both places and only the classes' shares differ.

    Args:
        probabilities: (N, K), rows add up to 1.
        assumed: (K,) shares of the classes that the probabilities are calibrated to, all above 0.
        real: (K,) shares where they will be used.

    Raises:
        SettingsError: shares that are not shares.
    """
    classes = probabilities.shape[1]
    old, new = _shares(assumed, classes, least=EDGE), _shares(real, classes, least=0.0)
    weighted = probabilities * (new / old)
    total = weighted.sum(1, keepdims=True)
    if (total == 0).any():
        raise SettingsError(
            "a class that an image surely is must have a prevalence above 0, but one of "
            f"{new.tolist()} is 0; give every class that occurs a share"
        )
    corrected: Probabilities = weighted / total
    return corrected


def _shares(values: npt.ArrayLike, classes: int, *, least: float) -> npt.NDArray[np.float64]:
    shares = np.asarray(values, dtype=np.float64)
    fits = shares.shape == (classes,) and bool((shares >= least).all())
    if not fits or not math.isclose(shares.sum(), 1, abs_tol=1e-6):
        raise SettingsError(
            f"prevalences must be {classes} numbers of {least:g} or more that add up to 1, but are "
            f"{shares.tolist()}; give each class's share of the images"
        )
    return shares


def _check(logits: Logits, labels: Labels) -> None:
    if len(labels) < LEAST_IMAGES or logits.shape[0] != len(labels):
        raise DataError(
            f"a temperature needs logits of at least {LEAST_IMAGES} labelled images, but there "
            f"are {logits.shape[0]} rows of logits and {len(labels)} labels; add folds or images"
        )
    if not np.isfinite(logits).all():
        broken = int((~np.isfinite(logits)).any(1).sum())
        raise DataError(
            f"logits must be finite, but those of {broken} of {len(labels)} images are not; "
            "train again with a lower learning rate"
        )
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"a temperature needs images of two classes or more, but all {len(labels)} are of "
            f"class {int(labels[0])}; add images of the others"
        )
