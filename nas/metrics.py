"""Pure functions of probabilities and labels."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of images.

    With two classes, class 1 is the positive one (PNEUMONIA). With more, f1 and auroc are averaged
    over classes with equal weight (AUROC one against the rest), and sensitivity and specificity
    are None.

    Attributes:
        n: number of images.
        accuracy: share of images that are predicted right.
        balanced_accuracy: mean over classes of the share predicted right.
        f1: of the positive class, or the macro average.
        auroc: area under the receiver operating characteristic.
        auroc_interval: its 95 % interval after DeLong et al. 1988, two classes only.
        sensitivity: share of positives that are predicted positive.
        specificity: share of negatives that are predicted negative.
        confusion: rows are true classes, columns predicted ones; counts.
    """

    n: int
    accuracy: float
    balanced_accuracy: float
    f1: float
    auroc: float
    auroc_interval: tuple[float, float] | None
    sensitivity: float | None
    specificity: float | None
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["confusion"] = [list(row) for row in self.confusion]
        interval = self.auroc_interval
        values["auroc_interval"] = None if interval is None else list(interval)
        return values


def evaluate(probabilities: Probabilities, labels: Labels, threshold: float = 0.5) -> Evaluation:
    """All figures at once.

    Args:
        probabilities: (N, K), rows add up to 1.
        labels: (N,) in [0, K); every class occurs.
        threshold: with two classes, class 1 is predicted from this probability on.
    """
    classes = probabilities.shape[1]
    predicted = predict(probabilities, threshold)
    table = confusion_matrix(labels, predicted, labels=list(range(classes)))
    recall = table.diagonal() / table.sum(1)
    two = classes == 2
    average = {"average": "binary", "pos_label": 1} if two else {"average": "macro"}
    return Evaluation(
        n=len(labels),
        accuracy=float(table.trace() / table.sum()),
        balanced_accuracy=float(recall.mean()),
        f1=float(f1_score(labels, predicted, zero_division=0.0, **average)),
        auroc=auroc(probabilities, labels),
        auroc_interval=delong_interval(probabilities[:, 1], labels) if two else None,
        sensitivity=float(recall[1]) if two else None,
        specificity=float(recall[0]) if two else None,
        confusion=tuple(tuple(int(count) for count in row) for row in table),
    )


def predict(probabilities: Probabilities, threshold: float = 0.5) -> Labels:
    """(N,) classes: by threshold with two classes, else the most probable."""
    if probabilities.shape[1] == 2:
        return np.asarray(probabilities[:, 1] >= threshold, dtype=np.int64)
    return np.asarray(probabilities.argmax(1), dtype=np.int64)


def auroc(probabilities: Probabilities, labels: Labels) -> float:
    """Area under the ROC of class 1, or with more classes the mean, each against the rest."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"))


def balanced_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean over classes of the share predicted right, at 0.5 or by the most probable class."""
    right = predict(probabilities) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def delong_interval(
    scores: npt.NDArray[np.float64], labels: Labels, z: float = 1.959964
) -> tuple[float, float]:
    """Interval of the AUROC of ``scores`` for class 1, 95 % by default, clipped to [0, 1].

    The variance is that of DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837), by
    midranks as in Sun and Xu 2014 (IEEE Signal Processing Letters 21:1389).
    """
    positive, negative = scores[labels == 1], scores[labels != 1]
    m, n = len(positive), len(negative)
    ranks = _midranks(np.concatenate([positive, negative]))
    over_negatives = (ranks[:m] - _midranks(positive)) / n  # P(a negative scores lower), each
    over_positives = 1 - (ranks[m:] - _midranks(negative)) / m
    area = float(over_negatives.mean())
    variance = sum(
        float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.25
        for values in (over_negatives, over_positives)
    )
    half = z * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


def _midranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
