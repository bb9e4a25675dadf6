"""The curves behind the areas: ROC and precision-recall, as points to draw."""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from nas.metrics import Labels, Probabilities, Scores

Curve = tuple[Scores, Scores]

GRID = np.linspace(0, 1, 201)
"""Where the curves of several classes are averaged."""


def roc(probabilities: Probabilities, labels: Labels) -> Curve:
    """False positive rate and sensitivity, both rising from 0 to 1.

    Args:
        probabilities: (N, K), rows add up to 1.
        labels: (N,) in [0, K); every class occurs.

    Returns:
        Two arrays of one length. With two classes every corner; with more the mean sensitivity
        over classes, one against the rest, at 201 false positive rates (vertical averaging,
        Fawcett 2006, section 8.2).
    """
    return _curve(probabilities, labels, _roc_of_one, last=True)


def precision_recall(probabilities: Probabilities, labels: Labels) -> Curve:
    """Recall, rising from 0 to 1, and the precision at each threshold; averaged as in ``roc``."""
    return _curve(probabilities, labels, _precision_of_one, last=False)


def _roc_of_one(positive: Labels, scores: Scores) -> Curve:
    false, true, _ = roc_curve(positive, scores)
    return false, true


def _precision_of_one(positive: Labels, scores: Scores) -> Curve:
    precision, recall, _ = precision_recall_curve(positive, scores)
    return recall[::-1], precision[::-1]


def _curve(
    probabilities: Probabilities,
    labels: Labels,
    of_one: Callable[[Labels, Scores], Curve],
    *,
    last: bool,
) -> Curve:
    """Of several classes as steps: at a place of the grid counts the point that was reached last,
    or the one that is reached next.
    """
    if probabilities.shape[1] == 2:
        return of_one(labels, probabilities[:, 1])
    heights = []
    for label in range(probabilities.shape[1]):
        x, y = of_one((labels == label).astype(np.int64), probabilities[:, label])
        before = np.searchsorted(x, GRID, side="right") - 1
        heights.append(y[before if last else np.searchsorted(x, GRID, side="left")])
    return GRID, np.mean(heights, axis=0)
