"""How far figures of a sample may be from the truth: 95 % intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.metrics import Labels, Probabilities, Scores

Interval = tuple[float, float]

Z95 = 1.959964
"""Of the normal distribution, 95 % are within so many standard deviations."""

RESAMPLES = 2000
"""Efron and Tibshirani 1993, section 14.2, want at least 1,000 for the ends of an interval."""

SEED = 303030
"""Of resampling: the same images always get the same interval."""

CELLS = 2_000_000
"""Weights that are held at once, 16 MB: more images are resampled in more turns."""


def wilson_interval(hits: int, n: int, z: float = Z95) -> Interval:
    """Interval of a share, ``hits`` of ``n``, for independent images (Wilson 1927, JASA 22:209).

    It stays within [0, 1] and keeps its width where all or none are hits.
    """
    share, square = hits / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    # At 0 and 1 an end is the share itself, which rounding may miss.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def delong_interval(scores: Scores, labels: Labels, z: float = Z95) -> Interval:
    """Interval of the AUROC of ``scores`` for class 1, 95 % by default, clipped to [0, 1].

    The variance is that of DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837), by
    midranks as in Sun and Xu 2014 (IEEE Signal Processing Letters 21:1389).
    """
    over_negatives, over_positives = placements(scores, labels)
    area = float(over_negatives.mean())
    variance = mean_variance(over_negatives) + mean_variance(over_positives)
    half = z * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


def placements(scores: Scores, labels: Labels) -> tuple[Scores, Scores]:
    """Of each image the share of the other class that it is ranked rightly against; ties half.

    Returns:
        (m,) of the images of class 1, (n,) of the others, in their order; both have the AUROC as
        their mean.
    """
    positive, negative = scores[labels == 1], scores[labels != 1]
    m, n = len(positive), len(negative)
    ranks = _midranks(np.concatenate([positive, negative]))
    return (ranks[:m] - _midranks(positive)) / n, 1 - (ranks[m:] - _midranks(negative)) / m


def mean_variance(values: Scores) -> float:
    """Variance of a mean of placements; of one alone nothing is known but that they are in [0, 1].

    The 1/4 is the largest variance that values in [0, 1] can have.
    """
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.25


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Intervals that know of patients: whole groups were drawn, not images.

    Attributes:
        resamples: how many sets were drawn.
        seed: of drawing.
        groups: how many groups (patients) there are.
        auroc: see nas.metrics; None, as below, where the images do not give the figure.
        auprc: likewise.
        accuracy: at the threshold.
        balanced_accuracy: at the threshold.
        sensitivity: two classes only.
        specificity: two classes only.
    """

    resamples: int
    seed: int
    groups: int
    auroc: Interval | None
    auprc: Interval | None
    accuracy: Interval | None
    balanced_accuracy: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None


def bootstrap(
    probabilities: Probabilities,
    labels: Labels,
    predicted: Labels,
    groups: npt.NDArray[Any],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Bootstrap:
    """95 % intervals by resampling whole groups with replacement (percentiles; Efron 1979).

    Images of one patient resemble each other, so that intervals for independent images are too
    narrow. Groups are drawn among those that have the same classes: every resample has every
    class, and as many groups of it.

    Args:
        probabilities: (N, K), rows add up to 1.
        labels: (N,) in [0, K).
        predicted: (N,) in [0, K).
        groups: (N,) names of patients, or whatever belongs together.
        resamples: how often to draw.
        seed: of drawing.
    """
    classes = probabilities.shape[1]
    positives = (1,) if classes == 2 else tuple(range(classes))
    complete = bool(np.isin(np.arange(classes), labels).all())
    right = (predicted == labels).astype(np.float64)
    _, group = np.unique(groups, return_inverse=True)
    strata = _strata(group, labels, classes)
    rng = np.random.default_rng(seed)
    found: dict[str, list[Scores]] = {}
    done, turn = 0, max(1, CELLS // len(labels))
    while done < resamples:
        count = min(turn, resamples - done)
        weights = _drawn(strata, count, rng)[:, group]
        recalls = np.full((count, classes), np.nan)
        for label in np.unique(labels):
            mine = labels == label
            recalls[:, label] = weights[:, mine] @ right[mine] / weights[:, mine].sum(1)
        values = {
            "accuracy": weights @ right / weights.sum(1),
            "balanced_accuracy": recalls.mean(1),
            "sensitivity": recalls[:, 1],
            "specificity": recalls[:, 0],
        }
        if complete:
            areas = [weighted_areas(probabilities[:, k], labels == k, weights) for k in positives]
            values["auroc"], values["auprc"] = np.mean(areas, axis=0)
        for name, column in values.items():
            found.setdefault(name, []).append(column)
        done += count

    def interval(name: str, *, wanted: bool = True) -> Interval | None:
        values = np.concatenate(found.get(name, [np.array([np.nan])]))
        if not wanted or np.isnan(values).any():
            return None
        low, high = np.quantile(values, (0.025, 0.975))
        return float(low), float(high)

    return Bootstrap(
        resamples=resamples,
        seed=seed,
        groups=int(group.max()) + 1,
        auroc=interval("auroc"),
        auprc=interval("auprc"),
        accuracy=interval("accuracy"),
        balanced_accuracy=interval("balanced_accuracy"),
        sensitivity=interval("sensitivity", wanted=classes == 2),
        specificity=interval("specificity", wanted=classes == 2),
    )


def weighted_areas(
    scores: Scores, positive: npt.NDArray[np.bool_], weights: Scores
) -> tuple[Scores, Scores]:
    """AUROC and average precision of the same scores under many weightings of the images.

    Args:
        scores: (N,) higher for positives.
        positive: (N,).
        weights: (B, N) not negative; in each row a positive and a negative weigh something.

    Returns:
        (B,) AUROC, ties counted half, and (B,) average precision; see nas.metrics.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # equal scores are one level
    sorted_weights, sides = weights[:, order], positive[order]
    hits = np.add.reduceat(sorted_weights * sides, starts, axis=1)
    misses = np.add.reduceat(sorted_weights * ~sides, starts, axis=1)
    below = misses.cumsum(1)
    all_hits, all_misses = hits.sum(1, keepdims=True), below[:, -1:]
    auroc = (hits * (below - misses / 2)).sum(1) / (all_hits * all_misses)[:, 0]
    hits_from = all_hits - hits.cumsum(1) + hits  # with a score of this level or more
    called = hits_from + all_misses - below + misses
    # Where nothing is called positive there is no hit either: the term is 0 whatever divides it.
    precision = hits_from / np.where(called > 0, called, 1)
    return auroc, (hits * precision).sum(1) / all_hits[:, 0]


def _strata(
    group: npt.NDArray[np.int64], labels: Labels, classes: int
) -> list[npt.NDArray[np.int64]]:
    """The groups, by which classes they have."""
    has = np.zeros((group.max() + 1, classes), dtype=bool)
    has[group, labels] = True
    _, kind = np.unique(has, axis=0, return_inverse=True)
    return [np.flatnonzero(kind == one) for one in range(kind.max() + 1)]


def _drawn(
    strata: list[npt.NDArray[np.int64]], count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(count, groups): how often each group was drawn."""
    result = np.zeros((count, sum(map(len, strata))))
    for members in strata:
        size = len(members)
        chosen = rng.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
        result[:, members] = np.bincount(chosen.ravel(), minlength=count * size).reshape(count, -1)
    return result


def _midranks(values: Scores) -> Scores:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: Scores = (last - (counts - 1) / 2)[inverse]
    return ranks
