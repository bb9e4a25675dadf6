"""Figures of probabilities and labels, one number each; intervals are in nas.intervals."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

ECE_BINS = 15
"""As in Guo et al. 2017 (arXiv:1706.04599), section 2."""


def predict(probabilities: Probabilities, threshold: float = 0.5) -> Labels:
    """(N,) classes: by threshold with two classes, else the most probable."""
    if probabilities.shape[1] == 2:
        return np.asarray(probabilities[:, 1] >= threshold, dtype=np.int64)
    return np.asarray(probabilities.argmax(1), dtype=np.int64)


def confusion(predicted: Labels, labels: Labels, classes: int) -> Labels:
    """(K, K) counts: rows are true classes, columns predicted ones."""
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    return np.asarray(cells.reshape(classes, classes), dtype=np.int64)


def auroc(probabilities: Probabilities, labels: Labels) -> float:
    """Area under the ROC of class 1, or with more classes the mean, each against the rest.

    Args:
        probabilities: (N, K), rows add up to 1.
        labels: (N,) in [0, K); every class occurs.
    """
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"))


def average_precision(probabilities: Probabilities, labels: Labels) -> float:
    """Area under the precision-recall curve of class 1, or the mean of each class against the rest.

    As a sum of steps, precision times gain in recall (Manning et al. 2008, section 8.4): straight
    lines between points would promise too much (Davis and Goadrich 2006). The worth of chance is
    the share of positives.

    Args:
        probabilities: (N, K), rows add up to 1.
        labels: (N,) in [0, K); every class occurs.
    """
    classes = range(probabilities.shape[1])
    positives = (1,) if len(classes) == 2 else classes
    return float(
        np.mean([average_precision_score(labels == k, probabilities[:, k]) for k in positives])
    )


def balanced_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean over classes of the share predicted right, at 0.5 or by the most probable class."""
    right = predict(probabilities) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def sensitivity_at_specificity(scores: Scores, labels: Labels, specificity: float) -> float:
    """The largest sensitivity of any threshold whose specificity is at least so much.

    Thresholds are those that these images allow, with nothing interpolated between them.

    Args:
        scores: (N,) higher for class 1.
        labels: (N,) 0 or 1; both occur.
        specificity: in [0, 1].
    """
    negatives = np.sort(scores[labels == 0])
    # So many negatives must be below the threshold. Rounded first: 0.95 * 20 is 19.000000000000004.
    needed = int(np.ceil(round(specificity * len(negatives), 9)))
    above = negatives[needed - 1] if needed else -np.inf
    return float((scores[labels == 1] > above).mean())


def brier_score(probabilities: Probabilities, labels: Labels) -> float:
    """Mean squared error of probabilities (Brier 1950); lower is better.

    With two classes that of class 1, in [0, 1]; with more the sum over classes, in [0, 2].
    """
    right = np.eye(probabilities.shape[1])[labels]
    squares = (probabilities - right) ** 2
    return float(squares[:, 1].mean() if probabilities.shape[1] == 2 else squares.sum(1).mean())


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, weights: Scores | None = None
) -> float:
    """Mean distance between what is claimed and what is so, over 15 bins of equal width; in [0, 1].

    With two classes the claim is the probability of class 1 and the fact the share of class 1;
    with more it is the probability of the predicted class and the share predicted right. Bins
    count by their images (Naeini et al. 2015, Guo et al. 2017), or by the (N,) ``weights`` of them.
    """
    counts, claimed, so = reliability(probabilities, labels, weights=weights)
    return float((counts * np.abs(claimed - so)).sum() / counts.sum())


def reliability(
    probabilities: Probabilities,
    labels: Labels,
    bins: int = ECE_BINS,
    weights: Scores | None = None,
) -> tuple[Scores, Scores, Scores]:
    """Of every bin that has images: how many, the mean claimed probability, and how often it is so.

    What is claimed is said in ``expected_calibration_error``. Bins have equal width in [0, 1].
    ``weights``, (N,) above 0, make images count as so many.
    """
    each = np.ones(len(labels)) if weights is None else weights
    if probabilities.shape[1] == 2:
        claims, facts = probabilities[:, 1], labels == 1
    else:
        claims, facts = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((claims * bins).astype(np.int64), bins - 1)
    counts: Scores = np.bincount(place, each, minlength=bins).astype(np.float64)
    there = counts > 0
    claimed = np.bincount(place, each * claims, minlength=bins)[there] / counts[there]
    so = np.bincount(place, each * facts, minlength=bins)[there] / counts[there]
    return counts[there], claimed, so
