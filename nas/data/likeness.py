"""What images look like against those that a model was trained on.

The statistics are those of nas.data.statistics: none of them shows a disease, so where they differ
the images were taken or stored in another way, and figures of one set need not hold for the other.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from nas.data.statistics import STATISTICS
from nas.errors import BundleError

FAR = 3.0
"""Robust standard deviations. Of a normal distribution 0.3 % of the images are further away."""

MAD_TO_STD = 1.4826
"""Times the median absolute deviation it is the standard deviation of a normal distribution."""

SHARES = ("colour",)
"""Statistics of 0 and 1: their median says nothing, so their middle is the mean."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """One statistic of some images, against the training images.

    Attributes:
        meaning: of the statistic.
        training: middle of the training images: the median, or the mean of a share.
        here: middle of these images.
        shift: how far ``here`` is from ``training``, in robust standard deviations of the training
            images; None where those were all alike.
        far_images: share of these images that are more than FAR of them away, in [0, 1].
        far: whether the middle itself is.
    """

    meaning: str
    training: float
    here: float
    shift: float | None
    far_images: float
    far: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def warning(self, name: str) -> str:
        """In words, where the middle is far away."""
        apart = (
            "where all training images were alike"
            if self.shift is None
            else f"{abs(self.shift):.1f} robust standard deviations away"
        )
        return (
            f"{name} ({self.meaning}) is {self.here:.4g}, in training {self.training:.4g}, {apart}"
        )


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """What a model's card keeps of the statistics of its training images.

    Args:
        frame: from nas.data.statistics, one row per training image, at least one.

    Returns:
        Plain values: ``n`` images; ``values``: of each statistic its ``middle`` and its ``spread``,
        a robust standard deviation: MAD_TO_STD times the median absolute deviation, or where more
        than half of the images are alike the standard deviation, 0 if all are.
    """
    values = {}
    for name in STATISTICS:
        column = frame[name]
        middle = _middle(name, column)
        spread = MAD_TO_STD * float((column - middle).abs().median())
        if name in SHARES or spread == 0:
            spread = float(column.std(ddof=0))
        values[name] = {"middle": middle, "spread": spread}
    return {"n": len(frame), "values": values}


def likeness(frame: pd.DataFrame, training: Mapping[str, Any]) -> dict[str, Likeness]:
    """Compare images with training images, statistic by statistic.

    Args:
        frame: of the images, with a column for each of STATISTICS, at least one row.
        training: what ``summary`` gave.

    Raises:
        BundleError: it is something else.
    """
    result = {}
    for name, known in _checked(training).items():
        middle, spread = known
        column = frame[name]
        here = _middle(name, column)
        apart = (column - middle).abs()
        # Values that are alike in every image have no rounding of their own, sums of them have.
        same = 1e-9 * max(1.0, abs(middle))
        alone = spread <= same
        far_images = apart > (same if alone else FAR * spread)
        result[name] = Likeness(
            meaning=STATISTICS[name],
            training=middle,
            here=here,
            shift=None if alone else (here - middle) / spread,
            far_images=float(far_images.mean()),
            far=abs(here - middle) > (same if alone else FAR * spread),
        )
    return result


def _middle(name: str, column: "pd.Series[float]") -> float:
    return float(column.mean() if name in SHARES else column.median())


def _checked(training: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Of the statistics that both know: one that was added since is in no older card."""
    try:
        found = {
            name: (float(known["middle"]), float(known["spread"]))
            for name, known in training["values"].items()
            if name in STATISTICS
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            "the card's statistics must be as python -m nas.export writes them, but lack or garble "
            f"an entry ({error}); export the model again"
        ) from None
    if not all(math.isfinite(middle) and spread >= 0 for middle, spread in found.values()):
        raise BundleError(
            "the card's statistics must be finite, with spreads of 0 or more, but are not; "
            "export the model again"
        )
    return found
