"""From which probability on an image is called positive: policies, and what they give.

A threshold is chosen on out-of-fold calibrated probabilities, never on the test split. Two classes
only: with more, the most probable one is predicted.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from nas.errors import DataError, SettingsError
from nas.intervals import Interval, wilson_interval
from nas.metrics import Labels, Scores

LEAST_OF_A_CLASS = 10
"""Images of either class: of fewer, even if all were found, the 95 % interval of the sensitivity
would reach below 0.72 (Wilson), and a policy would choose by single images."""

EDGE = 1e-6
"""A threshold is in [EDGE, 1 - EDGE]: at 0 or 1 it would decide nothing."""


class Rule(StrEnum):
    """How a policy chooses. Stored as part of a policy's name: members are only ever added."""

    YOUDEN = "youden"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    BALANCED = "balanced"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """A stated way to choose a threshold.

    Attributes:
        rule: which.
        level: the sensitivity or specificity to keep, or the fixed threshold, in (0, 1); None for
            rules that need none.
    """

    rule: Rule
    level: float | None = None

    def __post_init__(self) -> None:
        needs = self.rule in (Rule.SENSITIVITY, Rule.SPECIFICITY, Rule.FIXED)
        if needs != (self.level is not None) or (self.level is not None and not 0 < self.level < 1):
            raise SettingsError(
                f"the threshold policy {self.rule} must have "
                f"{'a level in (0, 1)' if needs else 'no level'}, but has {self.level!r}; "
                f"choose one of {NAMES}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The policy of that name: youden, balanced, sensitivity-0.95, specificity-0.9, or 0.5.

        Raises:
            SettingsError: there is none.
        """
        if text in (Rule.YOUDEN, Rule.BALANCED):
            return cls(Rule(text))
        if found := re.fullmatch(r"(?:(sensitivity|specificity)-)?(0?\.\d{1,9})", text):
            return cls(Rule(found[1] or Rule.FIXED), float(found[2]))
        raise SettingsError(
            f"a threshold policy must be one of {NAMES}, but is {text!r}; choose one"
        )

    @property
    def name(self) -> str:
        """For machines; ``parse`` gives an equal policy back."""
        if self.level is None:
            return str(self.rule)
        number = f"{self.level:.9f}".rstrip("0")
        return number if self.rule is Rule.FIXED else f"{self.rule}-{number}"

    def __str__(self) -> str:
        """For people."""
        return {
            Rule.YOUDEN: "where sensitivity + specificity is largest (Youden 1950)",
            Rule.SENSITIVITY: f"the highest at which sensitivity is at least {self.level}",
            Rule.SPECIFICITY: f"the lowest at which specificity is at least {self.level}",
            Rule.BALANCED: "where both classes are as probable if both were as frequent",
            Rule.FIXED: f"{self.level}, not tuned",
        }[self.rule]


NAMES = "youden, balanced, sensitivity-0.95, specificity-0.95 (or another level), 0.5"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, and what it gives on the images that it was chosen on.

    Attributes:
        value: in (0, 1); class 1 is predicted from this probability on.
        policy: how it was chosen.
        n: images that it was chosen on.
        sensitivity: there.
        sensitivity_interval: 95 %, Wilson.
        specificity: there.
        specificity_interval: 95 %, Wilson.
    """

    value: float
    policy: ThresholdPolicy
    n: int
    sensitivity: float
    sensitivity_interval: Interval
    specificity: float
    specificity_interval: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``policy`` is its name and ``policy_text`` says it in words."""
        return {
            "value": self.value,
            "policy": self.policy.name,
            "policy_text": str(self.policy),
            "n": self.n,
            "sensitivity": self.sensitivity,
            "sensitivity_interval": list(self.sensitivity_interval),
            "specificity": self.specificity,
            "specificity_interval": list(self.specificity_interval),
        }


def choose_threshold(
    policy: ThresholdPolicy, scores: Scores, labels: Labels, *, prevalence: float | None = None
) -> Threshold:
    """The threshold that a policy chooses on these images.

    It lies midway between two neighbouring scores where the images decide it, so that rounding on
    another machine changes none of their predictions. Of thresholds with an equal sum of
    sensitivity and specificity, ``youden`` takes the lowest: a missed patient is the worse mistake.

    ``balanced`` is 1/2 after correction to a prevalence of 1/2 (Saerens et al. 2002), which is the
    assumed prevalence before it: p/π = (1 − p)/(1 − π) at p = π.

    Args:
        policy: which.
        scores: (N,) calibrated out-of-fold probabilities of class 1.
        labels: (N,) 0 or 1.
        prevalence: the share of class 1 that the probabilities assume, in (0, 1); None is the
            share among ``labels``. A network that was trained with weights or sampling by class
            assumes 1/2.

    Raises:
        DataError: too few images of a class, what is no probability, or a level that no threshold
            reaches.
        SettingsError: a prevalence outside (0, 1).
    """
    _check(scores, labels)
    if prevalence is not None and not 0 < prevalence < 1:
        raise SettingsError(
            f"the prevalence must be in (0, 1), but is {prevalence!r}; None is that of the images"
        )
    match policy.rule:
        case Rule.FIXED:
            value = float(policy.level or 0.5)
        case Rule.BALANCED:
            value = float((labels == 1).mean() if prevalence is None else prevalence)
        case _:
            value = _by_images(policy, scores, labels)
    called = scores >= value
    hits, n = int(called[labels == 1].sum()), int((labels == 1).sum())
    spared, others = int((~called[labels == 0]).sum()), int((labels == 0).sum())
    return Threshold(
        value=value,
        policy=policy,
        n=len(labels),
        sensitivity=hits / n,
        sensitivity_interval=wilson_interval(hits, n),
        specificity=spared / others,
        specificity_interval=wilson_interval(spared, others),
    )


def _by_images(policy: ThresholdPolicy, scores: Scores, labels: Labels) -> float:
    ends = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    # Between two neighbouring scores, below the lowest, above the highest: rising.
    values = np.unique(np.clip((ends[1:] + ends[:-1]) / 2, EDGE, 1 - EDGE))
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    sensitivity = 1 - np.searchsorted(positives, values) / len(positives)
    specificity = np.searchsorted(negatives, values) / len(negatives)
    # 0.95 of 20 images are 19, whatever 19 / 20 is in binary.
    level = (policy.level or 0.0) - 1e-9
    if policy.rule is Rule.YOUDEN:
        return float(values[np.argmax(np.round(sensitivity + specificity, 9))])
    kept = (sensitivity if policy.rule is Rule.SENSITIVITY else specificity) >= level
    if not kept.any():
        raise DataError(
            f"a threshold in (0, 1) must reach a {policy.rule} of {policy.level}, but none does, "
            "for too many probabilities are exactly 0 or 1; calibrate them, or take another policy"
        )
    # Sensitivity falls and specificity rises with the threshold.
    return float(values[kept][-1 if policy.rule is Rule.SENSITIVITY else 0])


def _check(scores: Scores, labels: Labels) -> None:
    counts = [int((labels == label).sum()) for label in (0, 1)]
    if len(scores) != len(labels) or sum(counts) != len(labels):
        raise DataError(
            "a threshold needs one probability for each image, and labels 0 and 1, but got "
            f"{len(scores)} probabilities for {len(labels)} labels, {sum(counts)} of them 0 or 1; "
            "with more classes no threshold is used"
        )
    if min(counts) < LEAST_OF_A_CLASS:
        raise DataError(
            f"a threshold needs at least {LEAST_OF_A_CLASS} images of either class, but there are "
            f"{counts[0]} negatives and {counts[1]} positives; add images or folds"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        broken = int((~((scores >= 0) & (scores <= 1))).sum())
        raise DataError(
            f"probabilities must be in [0, 1], but {broken} of {len(scores)} are not; "
            "give calibrated probabilities, not logits"
        )
