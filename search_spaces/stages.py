"""Networks of stages: how an image comes in, how often its sides are halved, and what is used."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.genome import POOL_WINDOW, Activation, ConvBlock, ImageShape, Order, Pool

SMALLEST_SIDE = 2
"""A stride that would leave fewer pixels a side is left out, as a pooling is in the chain space."""

STEM_KERNEL = 3
MAX_HALVINGS = 2

NO_GATE, SQUEEZE = GATES = ("none", "squeeze")
"""What blocks of a stage may have: squeeze and excitation."""


def stem(filters: int, halvings: int, activation: Activation) -> ConvBlock:
    """A 3×3 convolution: as it is, with stride 2, or with stride 2 and max pooling (as ResNet's).

    Pooling is placed before the norm, which trains faster on every device.
    """
    return ConvBlock(
        filters,
        STEM_KERNEL,
        activation,
        Pool.MAX if halvings == MAX_HALVINGS else Pool.NONE,
        order=Order.POOL_BEFORE_NORM,
        stride=2 if halvings else 1,
    )


def after_stem(side: int, halvings: int) -> int:
    """Pixels a side behind the stem; images of 8 pixels and more keep two."""
    if halvings:
        side = _halved(side)
    return side // POOL_WINDOW if halvings == MAX_HALVINGS else side


def strides(side: int, count: int) -> list[int]:
    """Strides of so many convolutions, one after the other: 2 as long as enough pixels remain."""
    found = []
    for _ in range(count):
        fits = _halved(side) >= SMALLEST_SIDE
        found.append(2 if fits else 1)
        side = _halved(side) if fits else side
    return found


def stage_strides(image: ImageShape, halvings: int, count: int) -> list[int]:
    """Strides of so many stages behind a stem: the first keeps the sides, the others halve them."""
    side = after_stem(min(image.height, image.width), halvings)
    return [1, *strides(side, count - 1)]


def _halved(side: int) -> int:
    """With stride 2 and same padding: rounded up."""
    return (side + 1) // 2


def used_stages(
    values: Mapping[str, NDArray[np.float64]], names: Sequence[str], span: tuple[int, int]
) -> dict[str, NDArray[np.bool_]]:
    """Which parameters of stages matter: those of the stages that there are.

    Args:
        values: as SparseSpace.used has them, ``stages`` among them.
        names: of a stage's parameters, without its number.
        span: fewest and most stages.
    """
    return {
        f"{name}_{number}": values["stages"] >= number
        for number in range(span[0] + 1, span[1] + 1)
        for name in names
    }
