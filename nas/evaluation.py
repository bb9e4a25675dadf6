"""All figures of one model on one set of images; docs/evaluation.md says what each is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas import metrics
from nas.errors import DataError
from nas.intervals import Bootstrap, Interval, bootstrap, delong_interval, wilson_interval
from nas.metrics import Labels, Probabilities

SPECIFICITIES = (0.90, 0.95)
"""At which the sensitivity is given."""

ROWS_ADD_UP_TO = 1e-6
"""Of 1: float32 probabilities of 1,000 classes stay within it."""

Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against the rest.

    Attributes:
        n: images of it.
        precision: of those predicted as it the share that is; None where none is predicted.
        recall: of its images the share predicted as it; None where it has no image.
        recall_interval: 95 %, Wilson.
        f1: harmonic mean of both; None where it has no image.
        auroc: of its probability, against all other images; None where one side is empty.
    """

    n: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    auroc: float | None


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """The images of one domain: a site, a series, an etiology.

    Attributes:
        n: images.
        classes: how many of each.
        accuracy: share predicted right.
        sensitivity: two classes only; None where the domain has no positive.
        sensitivity_interval: 95 %, Wilson.
        specificity: two classes only; None where it has no negative.
        specificity_interval: 95 %, Wilson.
        auroc: within the domain; None where a class is missing.
    """

    n: int
    classes: Mapping[str, int]
    accuracy: float
    sensitivity: float | None
    sensitivity_interval: Interval | None
    specificity: float | None
    specificity_interval: Interval | None
    auroc: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of images.

    With two classes, class 1 is the positive one (PNEUMONIA). With more, f1, auroc and auprc are
    averages over classes with equal weight (one against the rest), and what begins with
    sensitivity or specificity is None. Where a class has no image, what needs all of them is None.

    Attributes:
        n: number of images.
        threshold: with two classes, class 1 is predicted from this probability on.
        accuracy: share of images that are predicted right, at the threshold.
        accuracy_interval: its 95 % interval after Wilson 1927.
        accuracy_at_half: at 0.5, or by the most probable class.
        balanced_accuracy: mean over classes of the share predicted right.
        f1: of the positive class, or the macro average; 0 where no positive is predicted.
        auroc: area under the receiver operating characteristic.
        auroc_interval: its 95 % interval after DeLong et al. 1988, two classes only.
        auprc: average precision.
        sensitivity: share of positives that are predicted positive.
        sensitivity_interval: 95 %, Wilson.
        specificity: share of negatives that are predicted negative.
        specificity_interval: 95 %, Wilson.
        sensitivity_at_specificity_90: the largest that these images allow at that specificity.
        sensitivity_at_specificity_95: likewise.
        brier: mean squared error of probabilities.
        ece: expected calibration error, 15 bins of equal width.
        confusion: rows are true classes, columns predicted ones; counts.
        classes: by name, each against the rest.
        domains: by name, where there are several; images of no known domain are in none.
        bootstrap: intervals that know of patients; None where patients are not known.
    """

    n: int
    threshold: float
    accuracy: float
    accuracy_interval: Interval
    accuracy_at_half: float
    balanced_accuracy: float | None
    f1: float | None
    auroc: float | None
    auroc_interval: Interval | None
    auprc: float | None
    sensitivity: float | None
    sensitivity_interval: Interval | None
    specificity: float | None
    specificity_interval: Interval | None
    sensitivity_at_specificity_90: float | None
    sensitivity_at_specificity_95: float | None
    brier: float
    ece: float
    confusion: tuple[tuple[int, ...], ...]
    classes: Mapping[str, ClassFigures]
    domains: Mapping[str, DomainFigures]
    bootstrap: Bootstrap | None

    def to_json(self) -> dict[str, Any]:
        """Plain values: tuples are lists."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def evaluate(
    probabilities: Probabilities,
    labels: Labels,
    classes: Sequence[str],
    *,
    threshold: float = 0.5,
    groups: Names | None = None,
    domains: Names | None = None,
) -> Evaluation:
    """All figures at once; half a second for 600 images with groups, milliseconds without.

    Args:
        probabilities: (N, K) in [0, 1], rows add up to 1.
        labels: (N,) in [0, K); classes may be missing.
        classes: K names.
        threshold: with two classes, class 1 is predicted from this probability on.
        groups: (N,) patients, or what else belongs together; None: no bootstrap.
        domains: (N,) names, "" where unknown; None: none are known.

    Raises:
        DataError: no image, or what is given are not probabilities and labels of them.
    """
    check(probabilities, labels, classes)
    predicted = metrics.predict(probabilities, threshold)
    table = metrics.confusion(predicted, labels, len(classes))
    counts = table.sum(1)
    two, complete = len(classes) == 2, bool((counts > 0).all())
    right = table.diagonal()
    each = {
        name: _class_figures(table, label, probabilities[:, label], labels)
        for label, name in enumerate(classes)
    }
    at = [
        metrics.sensitivity_at_specificity(probabilities[:, 1], labels, share)
        if two and complete
        else None
        for share in SPECIFICITIES
    ]
    return Evaluation(
        n=len(labels),
        threshold=threshold,
        accuracy=float(right.sum() / len(labels)),
        accuracy_interval=wilson_interval(int(right.sum()), len(labels)),
        accuracy_at_half=float((metrics.predict(probabilities) == labels).mean()),
        balanced_accuracy=float((right / counts).mean()) if complete else None,
        f1=_f1(each, two, classes) if complete else None,
        auroc=metrics.auroc(probabilities, labels) if complete else None,
        auroc_interval=delong_interval(probabilities[:, 1], labels) if two and complete else None,
        auprc=metrics.average_precision(probabilities, labels) if complete else None,
        sensitivity=each[classes[1]].recall if two else None,
        sensitivity_interval=each[classes[1]].recall_interval if two else None,
        specificity=each[classes[0]].recall if two else None,
        specificity_interval=each[classes[0]].recall_interval if two else None,
        sensitivity_at_specificity_90=at[0],
        sensitivity_at_specificity_95=at[1],
        brier=metrics.brier_score(probabilities, labels),
        ece=metrics.expected_calibration_error(probabilities, labels),
        confusion=tuple(tuple(int(count) for count in row) for row in table),
        classes=each,
        domains=_by_domain(probabilities, labels, predicted, classes, domains),
        bootstrap=None if groups is None else bootstrap(probabilities, labels, predicted, groups),
    )


def check(probabilities: Probabilities, labels: Labels, classes: Sequence[str]) -> None:
    """Raise DataError unless these are probabilities of ``classes``, and labels, of some images."""
    if probabilities.shape != (len(labels), len(classes)) or not len(labels):
        raise DataError(
            "an evaluation needs one or more images with a probability for each class, but got "
            f"probabilities of shape {probabilities.shape} for {len(labels)} labels and "
            f"{len(classes)} classes; give one row per image"
        )
    if not np.isfinite(probabilities).all():
        broken = int((~np.isfinite(probabilities)).any(1).sum())
        raise DataError(
            f"probabilities must be finite, but {broken} of {len(labels)} rows are not; "
            "look for overflow in the model that gave them"
        )
    sums = probabilities.sum(1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > ROWS_ADD_UP_TO:
        raise DataError(
            "probabilities must be in [0, 1] and add up to 1 for every image, but sums go from "
            f"{sums.min():.6g} to {sums.max():.6g}; apply a softmax to logits first"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"labels must be whole numbers from 0 to {len(classes) - 1}, but go from "
            f"{labels.min()} to {labels.max()}; map them to the model's classes"
        )


def _class_figures(
    table: Labels, label: int, scores: metrics.Scores, labels: Labels
) -> ClassFigures:
    hits, n, called = (
        int(v) for v in (table[label, label], table[label].sum(), table[:, label].sum())
    )
    mine = (labels == label).astype(np.int64)
    both = 0 < n < len(labels)
    return ClassFigures(
        n=n,
        precision=hits / called if called else None,
        recall=hits / n if n else None,
        recall_interval=wilson_interval(hits, n) if n else None,
        f1=2 * hits / (n + called) if n else None,
        auroc=metrics.auroc(np.stack([1 - scores, scores], 1), mine) if both else None,
    )


def _f1(each: Mapping[str, ClassFigures], two: bool, classes: Sequence[str]) -> float:
    values = [each[name].f1 for name in (classes[1:] if two else classes)]
    return float(np.mean([value for value in values if value is not None]))


def _by_domain(
    probabilities: Probabilities,
    labels: Labels,
    predicted: Labels,
    classes: Sequence[str],
    domains: Names | None,
) -> dict[str, DomainFigures]:
    if domains is None:
        return {}
    known = np.unique(domains[domains != ""])
    if len(known) < 2:
        return {}
    return {
        str(name): _domain_figures(probabilities[mine], labels[mine], predicted[mine], classes)
        for name in known
        for mine in (domains == name,)
    }


def _domain_figures(
    probabilities: Probabilities, labels: Labels, predicted: Labels, classes: Sequence[str]
) -> DomainFigures:
    table = metrics.confusion(predicted, labels, len(classes))
    counts, right = table.sum(1).tolist(), table.diagonal().tolist()
    shares = [hits / n if n else None for hits, n in zip(right, counts, strict=True)]
    ends = [wilson_interval(hits, n) if n else None for hits, n in zip(right, counts, strict=True)]
    two = len(classes) == 2
    return DomainFigures(
        n=len(labels),
        classes=dict(zip(classes, counts, strict=True)),
        accuracy=sum(right) / len(labels),
        sensitivity=shares[1] if two else None,
        sensitivity_interval=ends[1] if two else None,
        specificity=shares[0] if two else None,
        specificity_interval=ends[0] if two else None,
        auroc=metrics.auroc(probabilities, labels) if all(counts) else None,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
