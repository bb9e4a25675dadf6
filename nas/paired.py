"""Two models on the same images: is one better, or was it lucky?

Both tests take images for independent. Where patients have several, p values are too small by
what the images of a patient share.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from nas.intervals import Z95, Interval, mean_variance, placements
from nas.metrics import Labels, Scores

Right = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AurocDifference:
    """DeLong's test of two AUROCs on the same images.

    Attributes:
        difference: AUROC of the first model minus that of the second, in [-1, 1].
        interval: its 95 % interval, clipped to [-1, 1].
        p: two-sided; None where the areas differ and yet the variance is 0, which happens when
            both rank every image like all others of its class: the test says nothing then.
    """

    difference: float
    interval: Interval
    p: float | None


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test of two models' decisions on the same images.

    Attributes:
        only_first: images that the first model alone decides rightly.
        only_second: that the second alone does.
        p: two-sided; 1 where they never differ.
    """

    only_first: int
    only_second: int
    p: float


def delong_test(first: Scores, second: Scores, labels: Labels) -> AurocDifference:
    """Compare the AUROCs of two models (DeLong, DeLong and Clarke-Pearson 1988, section 3).

    Args:
        first: (N,) scores of a model, higher for class 1.
        second: (N,) of another, for the same images.
        labels: (N,) 0 or 1; both occur.
    """
    one, other = placements(first, labels), placements(second, labels)
    gains = [mine - theirs for mine, theirs in zip(one, other, strict=True)]
    difference = float(gains[0].mean())
    # Of one image alone a gain is in [-1, 1], so its variance is at most four times a placement's.
    variance = sum(mean_variance(gain) if len(gain) > 1 else 1.0 for gain in gains)
    half = Z95 * math.sqrt(variance)
    return AurocDifference(
        difference=difference,
        interval=(max(-1.0, difference - half), min(1.0, difference + half)),
        p=_two_sided(difference, variance),
    )


def mcnemar(first: Right, second: Right) -> McNemar:
    """Compare two models' decisions by the images on which one alone is right (McNemar 1947).

    If they were equally good, each such image would be either's with probability 1/2; the p value
    is that of the binomial distribution, not of its approximation.

    Args:
        first: (N,) whether a model decides rightly.
        second: (N,) of another, for the same images.
    """
    ours, theirs = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(ours, ours + theirs, 0.5).pvalue) if ours + theirs else 1.0
    return McNemar(ours, theirs, p)


def _two_sided(difference: float, variance: float) -> float | None:
    # Gains are differences of ranks that are whole or half numbers, divided by counts: what is
    # below this is rounding.
    if abs(difference) < 1e-12:
        return 1.0
    if variance < 1e-24:
        return None
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
