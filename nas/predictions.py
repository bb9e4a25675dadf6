"""What models said of labelled images, image by image: evaluated, compared, kept as a table."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.errors import DataError
from nas.evaluation import Evaluation, Names, check, evaluate
from nas.files import write_bytes
from nas.metrics import Labels, Probabilities, predict
from nas.paired import delong_test, mcnemar


@dataclass(frozen=True)
class Predictions:
    """One model's answers.

    Attributes:
        classes: K names.
        paths: (N,) of the images, none twice.
        labels: (N,) in [0, K).
        groups: (N,) patients, joined where they share an image.
        domains: (N,) names, "" where unknown.
        probabilities: (N, K), rows add up to 1.
        threshold: with two classes, class 1 is predicted from this probability on.
    """

    classes: tuple[str, ...]
    paths: Names
    labels: Labels
    groups: Names
    domains: Names
    probabilities: Probabilities
    threshold: float = 0.5

    def __post_init__(self) -> None:
        check(self.probabilities, self.labels, self.classes)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the prediction is the label."""
        return np.asarray(predict(self.probabilities, self.threshold) == self.labels)

    def evaluation(self) -> Evaluation:
        """All figures."""
        return evaluate(
            self.probabilities,
            self.labels,
            self.classes,
            threshold=self.threshold,
            groups=self.groups,
            domains=self.domains,
        )


def images_told(predictions: Predictions) -> dict[str, Any]:
    """How many images there are, of each class and each domain, and of how many patients."""
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes)).tolist()
    domains, of_domain = np.unique(predictions.domains, return_counts=True)
    known = zip(domains.tolist(), of_domain.tolist(), strict=True)
    return {
        "n": len(predictions.labels),
        "classes": dict(zip(predictions.classes, counts, strict=True)),
        "groups": len(np.unique(predictions.groups)),
        "domains": {name: count for name, count in known if name},
    }


def compare(first: Predictions, second: Predictions) -> dict[str, Any]:
    """Two models on the images that both have answers for, as plain values.

    Returns:
        ``n`` images; ``auroc``: DeLong's test, None with more classes than two or one of them
        missing; ``mcnemar``: McNemar's exact test of decisions, each model at its own threshold.

    Raises:
        DataError: they have no image in common, or other classes.
    """
    _, ours, theirs = np.intersect1d(first.paths, second.paths, return_indices=True)
    if not len(ours) or first.classes != second.classes:
        raise DataError(
            "a comparison needs two models with the same classes and images in common, but there "
            f"are {len(ours)} common images, and the classes are {list(first.classes)} and "
            f"{list(second.classes)}; let both predict the same images"
        )
    order = np.argsort(ours)  # of the first model, so that sums round the same as without it
    ours, theirs = ours[order], theirs[order]
    labels = first.labels[ours]
    both = len(first.classes) == 2 and len(np.unique(labels)) == 2
    scores = (first.probabilities[ours, 1], second.probabilities[theirs, 1])
    return {
        "n": len(ours),
        "auroc": _plain(asdict(delong_test(*scores, labels))) if both else None,
        "mcnemar": asdict(mcnemar(first.right[ours], second.right[theirs])),
    }


def write_predictions(path: Path, models: Mapping[str, Predictions]) -> None:
    """A CSV file: path, label, domain, group, and a column ``MODEL:CLASS`` for each probability.

    Probabilities are written with all their digits, so that whoever reads them computes the same
    figures. Where a model has no answer, its columns are empty.

    Raises:
        DataError: the file cannot be written.
    """
    about: dict[str, tuple[str, str, str]] = {}
    answers: dict[str, dict[str, list[str]]] = {name: {} for name in models}
    columns = ["path", "label", "domain", "group"]
    for name, one in models.items():
        columns += [f"{name}:{label}" for label in one.classes]
        for row, file in enumerate(one.paths.tolist()):
            label, domain = one.classes[one.labels[row]], str(one.domains[row])
            about.setdefault(file, (label, domain, str(one.groups[row])))
            answers[name][file] = [repr(float(chance)) for chance in one.probabilities[row]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for file, told in about.items():
        given = [
            value
            for name, one in models.items()
            for value in answers[name].get(file, [""] * len(one.classes))
        ]
        writer.writerow([file, *told, *given])
    try:
        write_bytes(path, text.getvalue().encode(errors="surrogateescape"))
    except OSError as error:
        raise DataError(
            f"predictions must be written to {path}, but that failed ({error.strerror or error}); "
            "free space or mend the folder's permissions"
        ) from None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
