"""How well a few numbers tell two sets of images apart, by groups that were not learned from.

One gradient-boosted classifier answers every question. On the 5,216 chest X-rays of train it tells
the label with AUROC 0.933, a standardised logistic regression with 0.921, file size alone with
0.900; twice the trees with four times the leaves add 0.006.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from nas.data.statistics import STATISTICS
from nas.data.table import Source
from nas.thumbnails import Features

TELLING_VERSION = "1"
"""To be raised when the same statistics give other answers."""

FOLDS = 5

LEAST_IMAGES = 20
"""On each side of a question: with fewer the standard error of an AUROC of 0.5 exceeds 0.09."""

MOST_IMAGES = 10_000
"""Of more, whole groups are drawn: the standard error is below 0.01 then, and the time bounded."""

SEED = 505050

Mask = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """Images to ask about, divided once into folds of whole groups.

    Attributes:
        classes: names.
        labels, splits, domains, groups, folds: (N,) each; folds in [0, FOLDS), or empty.
        names: (K,) statistics that vary.
        features: (N, K).
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    splits: Names
    domains: Names
    groups: Names
    folds: npt.NDArray[np.int64]
    names: tuple[str, ...]
    features: Features

    @property
    def learned(self) -> Mask:
        """(N,) what a search may look at."""
        return np.asarray(self.splits != "test")

    def of_class(self, name: str) -> Mask:
        """(N,) images of a class."""
        return np.asarray(self.labels == self.classes.index(name))


def draw_sample(source: Source, frame: pd.DataFrame) -> Sample:
    """At most about MOST_IMAGES images, whole groups, the same every time.

    Args:
        source: the one that ``frame`` is of.
        frame: from nas.data.statistics.
    """
    all_groups = source.groups.to_numpy(dtype=np.str_)[frame.index]
    kept = frame[_drawn(all_groups)]
    table = source.table.loc[kept.index]
    labels = table["label"].to_numpy(dtype=np.int64)
    splits = table["split"].to_numpy(dtype=np.str_)
    domains = table["domain"].to_numpy(dtype=np.str_)
    groups = source.groups.loc[kept.index].to_numpy(dtype=np.str_)
    # No label of the test split has a part in how the others are divided.
    seen = np.where(splits == "test", -1, labels).astype(np.str_)
    strata = np.array(["\0".join(parts) for parts in zip(splits, seen, domains, strict=True)])
    values = kept[list(STATISTICS)]
    varying = [name for name in STATISTICS if values[name].nunique() > 1]
    if not {"width", "height"} & set(varying) and varying:
        varying = [name for name in varying if name != "bytes_per_pixel"]  # the file size again
    return Sample(
        classes=source.classes,
        labels=labels,
        splits=splits,
        domains=domains,
        groups=groups,
        folds=_folds(strata, groups),
        names=tuple(varying),
        features=values[varying].to_numpy(dtype=np.float64),
    )


def clustered_interval(
    scores: Features, positive: Mask, groups: npt.NDArray[Any], z: float = 1.959964
) -> Interval:
    """95 % interval of an AUROC whose images come in groups, clipped to [0, 1].

    Images of a patient are alike, so an interval for independent images is too narrow. The
    variance is that of Obuchowski 1997 (Biometrics 53:567); where each image is a group of its
    own, it is DeLong's.

    Args:
        scores: (N,) higher for positives.
        positive: (N,) at least two groups have a positive, and two a negative.
        groups: (N,) names.
    """
    ranks = rankdata(scores)
    m, n = int(positive.sum()), int((~positive).sum())
    right = np.empty(len(scores))  # of the other side, the share that an image is right against
    right[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    right[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    area = float(right[positive].mean())
    _, group = np.unique(groups, return_inverse=True)
    excess = right - area
    above = np.bincount(group, np.where(positive, excess, 0)) / m
    below = np.bincount(group, np.where(positive, 0, excess)) / n
    variance = (
        _corrected(len(np.unique(group[positive]))) * float(above @ above)
        + _corrected(len(np.unique(group[~positive]))) * float(below @ below)
        + _corrected(len(above)) * 2 * float(above @ below)
    )
    half = z * max(variance, 0.0) ** 0.5
    return max(0.0, area - half), min(1.0, area + half)


def _corrected(count: int) -> float:
    return count / (count - 1)


def _drawn(groups: Names) -> Mask:
    """(N,) whole groups in a random order, until MOST_IMAGES are had; at least one group."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(sizes))
    fits = np.cumsum(sizes[order]) <= MOST_IMAGES
    fits[:1] = True
    return np.isin(group, order[fits])


def _folds(strata: Names, groups: Names) -> npt.NDArray[np.int64]:
    """(N,) the fold of each image, strata in proportion; empty where there is too little."""
    _, code, counts = np.unique(strata, return_inverse=True, return_counts=True)
    if len(np.unique(groups)) < FOLDS or len(strata) < 2 * LEAST_IMAGES:
        return np.empty(0, dtype=np.int64)
    # Strata that cannot be in every fold are no strata: scikit-learn warns of them.
    code = np.where(counts[code] < FOLDS, counts.argmax(), code)
    folds = np.empty(len(strata), dtype=np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for number, (_, held) in enumerate(splitter.split(code, code, groups)):
        folds[held] = number
    return folds


def enough(sample: Sample, first: Mask, second: Mask) -> bool:
    """Whether a question about two sets can be answered."""
    return bool(len(sample.folds) and len(sample.names)) and all(
        side.sum() >= LEAST_IMAGES and len(np.unique(sample.groups[side])) >= FOLDS
        for side in (first, second)
    )


def told(sample: Sample, first: Mask, second: Mask) -> tuple[float | None, Interval | None]:
    """AUROC of telling the first set from the second, by groups not learned from; its interval."""
    if not enough(sample, first, second):
        return None, None
    rows = first | second
    positive, groups = first[rows], sample.groups[rows]
    scores = np.empty(len(positive))
    for learn, held in _parts(sample.folds[rows]):
        if len(np.unique(positive[learn])) < 2:
            return None, None  # one fold has all groups of a side
        scores[held] = _scores(sample.features[rows], positive, learn, held)
    return _area(scores, positive), clustered_interval(scores, positive, groups)


def _parts(folds: npt.NDArray[np.int64]) -> Iterator[tuple[Mask, Mask]]:
    for number in np.unique(folds):
        held = folds == number
        yield ~held, held


def _scores(features: Features, positive: Mask, learn: Mask, held: Mask) -> Features:
    """(held,) probabilities of a classifier that learned from the others."""
    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, max_bins=63, early_stopping=False, random_state=SEED
    )
    # Its threads wait for each other in a loop: two on a busy machine took 60 s, one takes 0.7 s.
    with threadpool_limits(1):
        model.fit(features[learn], positive[learn])
        scores: Features = model.predict_proba(features[held])[:, 1]
    return scores


def _area(scores: Features, positive: Mask) -> float:
    """AUROC by ranks (Mann and Whitney)."""
    m, n = int(positive.sum()), int((~positive).sum())
    return float((rankdata(scores)[positive].sum() - m * (m + 1) / 2) / (m * n))


def alone(sample: Sample, first: Mask, second: Mask) -> list[float]:
    """(K,) AUROC of each statistic, in its better direction."""
    rows = first | second
    areas = [_area(column, first[rows]) for column in sample.features[rows].T]
    return [max(area, 1 - area) for area in areas]
