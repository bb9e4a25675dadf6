"""What a bundle says, in words: for the command that verifies it and for its card.

A bundle may come from anywhere, and its card may hold any JSON: nothing here trusts a value's type,
and what would move a terminal's cursor is not printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from nas.bundle.values import Bundle, Member

MEASURES: Mapping[str, tuple[str, str | None]] = {
    "auroc": ("AUROC", "roc_auc"),
    "auprc": ("AUPRC", "average_precision"),
    "accuracy": ("accuracy", "accuracy"),
    "accuracy_at_half": ("accuracy at 0.5", None),
    "balanced_accuracy": ("balanced accuracy", "balanced_accuracy"),
    "f1": ("F1", "f1"),
    "sensitivity": ("sensitivity", "sensitivity"),
    "specificity": ("specificity", "specificity"),
    "sensitivity_at_specificity_90": ("sensitivity at 90 % specificity", None),
    "sensitivity_at_specificity_95": ("sensitivity at 95 % specificity", None),
    "brier": ("Brier score", "brier_score"),
    "ece": ("expected calibration error", None),
}
"""Figures of an evaluation by name: in words, and as Hugging Face names the metric."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure on the test split.

    Attributes:
        name: as in evaluation.json.
        label: in words.
        value: a number.
        interval: its 95 % interval, where there is one.
    """

    name: str
    label: str
    value: float
    interval: tuple[float, float] | None

    @property
    def text(self) -> str:
        """Value and interval, to three digits."""
        if self.interval is None:
            return f"{self.value:.3f}"
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})"


def printable(value: object) -> str:
    """As text, with a mark in the place of every character that is not printed as itself."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def size_of(member: Member, classes: int) -> str:
    """A network in a few words: what it takes."""
    parameters = member.genome.parameters(member.image, classes)
    adds = member.genome.multiply_adds(member.image, classes)
    return f"{parameters:,} parameters, {millions(adds)} multiply-adds"


def images(bundle: Bundle) -> str:
    """What goes in."""
    how = bundle.preprocessing
    colour = "gray" if how.channels == 1 else "RGB"
    return f"{how.size} × {how.size} pixels, {colour}, resized by {how.resize}"


def decision(bundle: Bundle) -> str:
    """When which class is predicted, and by which policy."""
    if len(bundle.classes) > 2:
        return "the most probable class is predicted"
    positive, policy = printable(bundle.classes[1]), printable(bundle.threshold_policy)
    return f"{positive} from a probability of {bundle.threshold:.4g} on ({policy})"


def calibration(bundle: Bundle) -> str:
    """The temperature, and what it brought."""
    said = bundle.calibration
    if said.method == "none":
        return f"none (temperature {said.temperature:g})"
    text = f"temperature {said.temperature:.4g}: {printable(said.method)}, n = {said.n:,}"
    if said.nll_before is None or said.nll_after is None:
        return text
    return f"{text}, negative log-likelihood first {said.nll_before:.4f}, then {said.nll_after:.4f}"


def figures(test: object) -> list[Figure]:
    """What there is of MEASURES in a model's entry of evaluation.json, or in a card's ``test``."""
    if not isinstance(test, Mapping):
        return []
    found = []
    for name, (label, _) in MEASURES.items():
        if is_number(value := test.get(name)):
            found.append(Figure(name, label, float(value), _interval(test.get(f"{name}_interval"))))
    return found


def readings(test: object) -> tuple[int | None, str | None]:
    """How often the test split was read for the model, and what is to be said of that."""
    said = test.get("test_readings") if isinstance(test, Mapping) else None
    if isinstance(said, Mapping):
        count, warning = said.get("count"), said.get("warning")
        return (
            count if type(count) is int else None,
            warning if isinstance(warning, str) else None,
        )
    if type(said) is not int:
        return None, None
    again = f"the test split was read {said} times for this model; choose nothing by it"
    return said, again if said > 1 else None


def millions(count: int) -> str:
    """A count, in millions where it is one or more."""
    return f"{count / 1e6:,.1f} M" if count >= 1_000_000 else f"{count:,}"


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number; JSON's true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _interval(value: object) -> tuple[float, float] | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(is_number(v) for v in value):
        return float(value[0]), float(value[1])
    return None
