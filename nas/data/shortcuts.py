"""What a few numbers about a file tell of its label, its split and its series, with no network.

A network that only rivals these may have learned how images were taken and stored, not what they
show (Zech et al. 2018, PLoS Medicine 15:e1002683, on chest X-rays of three hospitals). Nothing
here trains or chooses a network, and no test label is predicted.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from nas.data.table import SPLITS
from nas.data.telling import Interval, Mask, Sample, alone, enough, told

MOST_CLASSES, MOST_DOMAINS = 10, 10
"""Only the largest are asked about: each question costs a cross-validation."""


@dataclass(frozen=True)
class Single:
    """What one statistic alone reaches: max(a, 1 - a) of its AUROC a, on all images at once.

    The better direction is chosen on the same images, so chance gives a little more than 0.5.
    """

    name: str
    auroc: float


@dataclass(frozen=True)
class Floor:
    """What the statistics reach in telling the label; a network should be well above it.

    Attributes:
        images: of the splits train and val, that were used.
        auroc: of all statistics together, on images of groups that were not learned from; with
            more classes than two the mean of each against the rest. None: too few images.
        interval: 95 %, for whole groups (see ``clustered_interval``); two classes only.
        singles: each statistic that varies, the strongest first.
    """

    images: int
    auroc: float | None
    interval: Interval | None
    singles: tuple[Single, ...]


@dataclass(frozen=True)
class Difference:
    """How well the statistics tell two sets of images apart; 0.5 is not at all.

    Attributes:
        of: "split" or "domain".
        first: a split or domain.
        second: another, or "the rest".
        within: the class that both are of; None is all classes together, where a different
            prevalence alone can tell splits apart.
        images: in the first and the second.
        auroc: as in Floor; None: too few images.
        interval: as in Floor.
        strongest: the statistic that differs most.
    """

    of: str
    first: str
    second: str
    within: str | None
    images: tuple[int, int]
    auroc: float | None
    interval: Interval | None
    strongest: Single | None


def shortcut_floor(sample: Sample) -> Floor:
    """What the statistics reach on the splits train and val; test labels are not looked at."""
    own = sample.learned
    two = len(sample.classes) == 2
    positives = sample.classes[1:] if two else _largest_classes(sample)
    asked = [(own & sample.of_class(name), own & ~sample.of_class(name)) for name in positives]
    answers = [told(sample, *sides) for sides in asked]
    areas = [area for area, _ in answers if area is not None]
    singles = np.array([alone(sample, *sides) for sides in asked if enough(sample, *sides)])
    return Floor(
        images=int(own.sum()),
        auroc=float(np.mean(areas)) if areas else None,
        interval=answers[0][1] if two else None,
        singles=_ranked(sample.names, singles.mean(0)) if len(singles) else (),
    )


def split_difference(sample: Sample) -> tuple[Difference, ...]:
    """Whether images tell which split they are from, whole and within each class.

    Splits of one source should not differ: only then does a validation score say what the test
    will. This describes the data. No test label is predicted; they serve to compare a class with
    itself.
    """
    result = []
    present = [split for split in SPLITS if (sample.splits == split).any()]
    for first, second in combinations(present, 2):
        for within in (None, *_largest_classes(sample)):
            sides = tuple(
                (sample.splits == split) & (within is None or sample.of_class(within))
                for split in (first, second)
            )
            result.append(_difference(sample, "split", first, second, within, sides))
    return tuple(result)


def domain_difference(sample: Sample) -> tuple[Difference, ...]:
    """Whether images of a class, of train and val, tell which domain they are from.

    Two domains are compared with each other, more with the rest of their class.
    """
    result = []
    for within in _largest_classes(sample):
        inside = sample.learned & sample.of_class(within) & (sample.domains != "")
        found, counts = np.unique(sample.domains[inside], return_counts=True)
        names: list[str] = found[np.argsort(-counts, kind="stable")].tolist()
        two = len(names) == 2
        for first in names[:1] if two else names[:MOST_DOMAINS] if len(names) > 2 else ():
            second = names[1] if two else "the rest"
            own = inside & (sample.domains == first)
            sides = (own, inside & ~own)
            result.append(_difference(sample, "domain", first, second, within, sides))
    return tuple(result)


def _ranked(names: tuple[str, ...], areas: npt.ArrayLike) -> tuple[Single, ...]:
    singles = [Single(*one) for one in zip(names, np.asarray(areas).tolist(), strict=True)]
    return tuple(sorted(singles, key=lambda single: -single.auroc))


def _largest_classes(sample: Sample) -> list[str]:
    """The most frequent in train and val, in the order of the classes."""
    counts = np.bincount(sample.labels[sample.learned], minlength=len(sample.classes))
    largest = sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist())
    return [sample.classes[label] for label in largest]


def _difference(
    sample: Sample, of: str, first: str, second: str, within: str | None, sides: tuple[Mask, ...]
) -> Difference:
    area, interval = told(sample, *sides)
    strongest = _ranked(sample.names, alone(sample, *sides))[0] if area is not None else None
    counts = (int(sides[0].sum()), int(sides[1].sum()))
    return Difference(of, first, second, within, counts, area, interval, strongest)
