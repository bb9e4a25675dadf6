"""When an answer deserves doubt: a picture unlike the training pictures, a close decision.

A network answers whatever it is given: of a holiday photo it says with confidence that the lungs
are healthy. What its bundle's card holds of the training pictures tells some of these cases apart.
A picture without a warning may still be one that the network knows nothing about.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nas.errors import BundleError
from nas.images import Look
from nas.thumbnails import OF_THUMBNAILS, of_thumbnails

FAR = 5.0
"""Robust standard deviations. Gray levels are not normally distributed: at 3, 9 % of the chest
X-rays that the statistics are of were far away in at least one, at 5 it was 2 %, of its test split
0.3 %; noise of several kinds is 8 to 18 away."""

COLOURED = 8.0
"""Mean difference of an image's colours from gray, of 255. JPEG leaves gray within 1."""

ELONGATED = 2.0
"""Times wider or taller than the training pictures: films and detectors are within 1.5 of each
other, panoramas and slips of paper are not."""

SMALL = 0.5
"""Of the network's input: below it, most pixels of the input are made up by enlarging."""

BLANK = 2.0
"""Standard deviation of the gray levels: noise and compression alone reach it."""

USUAL_MARGIN = 0.1
LEAST_MARGIN = 0.02

WORDS = {
    "mean": ("darker", "brighter"),
    "std": ("lower in contrast", "higher in contrast"),
    "dark": ("darker in its darkest parts", "brighter in its darkest parts"),
    "median": ("darker in its middle tones", "brighter in its middle tones"),
    "bright": ("darker in its brightest parts", "brighter in its brightest parts"),
    "black": ("with less black", "with more black"),
    "white": ("with less white", "with more white"),
    "border": ("darker at its border", "brighter at its border"),
    "sharpness": ("less sharp", "sharper or noisier"),
}
"""Of each of OF_THUMBNAILS what a picture is whose value is lower, or higher, than in training."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """What is known of the training pictures and of the threshold.

    Attributes:
        size: side of the network's input in pixels.
        gray: whether the network sees gray only, so that its training pictures were meant as gray.
        known: of statistics of the thumbnail the training pictures' middle and their spread, a
            robust standard deviation; empty where the card has none.
        aspect: the training pictures' usual width divided by height; None where it is not known.
        threshold: with two classes, the second is predicted from this probability on.
        margin: answers closer to the threshold than this are uncertain.
    """

    size: int
    gray: bool
    known: Mapping[str, tuple[float, float]]
    aspect: float | None
    threshold: float
    margin: float

    @classmethod
    def of(cls, card: Mapping[str, Any], *, size: int, channels: int, threshold: float) -> Self:
        """From a bundle's card and preprocessing.

        Raises:
            BundleError: the card's statistics or figures are not as the export writes them.
        """
        known = _known(card)
        aspect = known.pop("aspect", None)
        return cls(
            size=size,
            gray=channels == 1,
            known={name: value for name, value in known.items() if name in OF_THUMBNAILS},
            aspect=aspect[0] if aspect and aspect[0] > 0 else None,
            threshold=threshold,
            margin=_margin(card, threshold),
        )

    def about(self, look: Look) -> list[str]:
        """How a picture differs from the training pictures, one sentence each; mostly none."""
        thumbnail = of_thumbnails(look.thumbnail[None])[0].tolist()
        values = dict(zip(OF_THUMBNAILS, thumbnail, strict=True))
        if values["std"] < BLANK:
            return [
                "the picture is blank, or nearly: there is nothing in it that an answer could be "
                "about"
            ]
        found = [self._size(look), self._shape(look), self._colour(look), self._far(values)]
        return [text for text in found if text is not None]

    def uncertain(self, probabilities: Mapping[str, float]) -> bool:
        """Whether an answer is so close that a small error of the probabilities would change it.

        With two classes: the second's probability is at most ``margin`` from the threshold. With
        more: the first is at most ``margin`` ahead of the next.
        """
        values = list(probabilities.values())
        if len(values) == 2:
            return abs(values[1] - self.threshold) <= self.margin
        best, second = sorted(values, reverse=True)[:2]
        return best - second <= self.margin

    def _size(self, look: Look) -> str | None:
        if min(look.width, look.height) >= SMALL * self.size:
            return None
        return (
            f"the picture is small: {look.width}×{look.height} pixels, where the network takes "
            f"{self.size}×{self.size}; most of what it sees was made up by enlarging"
        )

    def _shape(self, look: Look) -> str | None:
        if self.aspect is None:
            return None
        times = look.width / look.height / self.aspect
        if 1 / ELONGATED <= times <= ELONGATED:
            return None
        words = f"{times:.1f} times as wide" if times > 1 else f"{1 / times:.1f} times as tall"
        return f"the picture has an unusual shape: {words} as the training pictures"

    def _colour(self, look: Look) -> str | None:
        if not self.gray or look.chroma <= COLOURED:
            return None
        return (
            "the picture is in colour, but the model was made for gray ones: it is hardly of the "
            "kind that the model was trained on"
        )

    def _far(self, values: Mapping[str, float]) -> str | None:
        words, furthest = [], 0.0
        for name, (middle, spread) in self.known.items():
            # Where all training pictures were alike, say without any white, none can be measured.
            away = (values[name] - middle) / spread if spread > 0 else 0.0
            if abs(away) > FAR:
                words.append(WORDS[name][away > 0])
                furthest = max(furthest, abs(away))
        if not words:
            return None
        return (
            f"the picture is unlike the training pictures: {', '.join(words)} (up to "
            f"{furthest:.0f} robust standard deviations away)"
        )


def _known(card: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The statistics of the training pictures; {} where the card has none."""
    try:
        values = (card.get("data", {}).get("statistics") or {}).get("values", {})
        found = {
            name: (float(value["middle"]), float(value["spread"])) for name, value in values.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            "the card's statistics must be as python -m nas.export writes them, but lack or garble "
            f"an entry ({error}); export the model again"
        ) from None
    if not all(math.isfinite(m) and math.isfinite(s) and s >= 0 for m, s in found.values()):
        raise BundleError(
            "the card's statistics must be finite, with spreads of 0 or more, but are not; "
            "export the model again"
        )
    return found


def _margin(card: Mapping[str, Any], threshold: float) -> float:
    """How far from the threshold a probability may be wrong.

    The expected calibration error on images that no network had seen is how far, on average, what
    the model says is from how often it happens. At least LEAST_MARGIN, since no such figure is
    exact, and at most half of the way to 0 or 1, or a threshold near these would leave no sure
    answer on its side.
    """
    try:
        figures = (card.get("finals") or {}).get("out_of_fold") or {}
        margin = float(figures.get("ece", USUAL_MARGIN))
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            "the card's out-of-fold figures must be as python -m nas.export writes them, but are "
            f"not ({error}); export the model again"
        ) from None
    if not 0 <= margin <= 1:  # also where it is not a number
        raise BundleError(
            f"the card's calibration error must be from 0 to 1, but is {margin}; "
            "export the model again"
        )
    return min(max(margin, LEAST_MARGIN), threshold / 2, (1 - threshold) / 2)
