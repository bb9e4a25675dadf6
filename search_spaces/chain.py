"""A chain of 2 to 8 convolution blocks: filters, kernel, activation and pooling of each.

Every genome has parameters for eight blocks and a depth; what lies beyond the depth is ignored, and
so is a pooling that would leave less than 2×2 pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import POOL_WINDOW, Activation, ConvBlock, Genome, ImageShape, Order, Pool

MIN_DEPTH, MAX_DEPTH = 2, 8
FILTERS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""About a factor of 1.4 between neighbours; parameters are positions in this list, so that a
sampler knows their order and a step means the same everywhere."""

KERNELS = (2, 5)
SMALLEST_SIDE = 2
DROPOUT = 0.2

ACTIVATIONS = tuple(str(activation) for activation in Activation)
POOLS = tuple(str(pool) for pool in Pool)

ORIGINAL_FILTERS = (128, 32, 32, 16, 32, 128)
ORIGINAL_KERNELS = (5, 2, 5, 2, 5, 2)
ORIGINAL_ACTIVATIONS = ("relu", "leaky_relu") * 3


class ChainSpace:
    """See the module; pooling is placed before the norm, which trains faster on every device."""

    name = "chain"

    def __init__(self, image: ImageShape) -> None:
        self._side = min(image.height, image.width)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        depth = trial.suggest_int("depth", MIN_DEPTH, MAX_DEPTH)
        choices = []
        for number in range(1, MAX_DEPTH + 1):
            level = trial.suggest_int(f"filters_level_{number}", 0, len(FILTERS) - 1)
            kernel = trial.suggest_int(f"kernel_{number}", *KERNELS)
            activation = trial.suggest_categorical(f"activation_{number}", ACTIVATIONS)
            pool = trial.suggest_categorical(f"pool_{number}", POOLS)
            choices.append((FILTERS[level], kernel, activation, pool))
        return self._genome(choices[:depth])

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: blocks up to the depth, and poolings that leave enough pixels."""
        depth = values["depth"]
        side = np.full(len(depth), self._side)
        found = {}
        for number in range(1, MAX_DEPTH + 1):
            there = depth >= number
            for name in ("filters_level", "kernel", "activation"):
                found[f"{name}_{number}"] = there
            room = there & (side // POOL_WINDOW >= SMALLEST_SIDE)
            found[f"pool_{number}"] = room
            pooled = room & (values[f"pool_{number}"] != POOLS.index(Pool.NONE))
            side = np.where(pooled, side // POOL_WINDOW, side)
        return found

    def warm_starts(self) -> list[dict[str, Any]]:
        """The six-layer network that this project grew from, pooled as often as fits."""
        rows = zip(ORIGINAL_FILTERS, ORIGINAL_KERNELS, ORIGINAL_ACTIVATIONS, strict=True)
        parameters: dict[str, Any] = {"depth": len(ORIGINAL_FILTERS)}
        for number, (filters, kernel, activation) in enumerate(rows, start=1):
            parameters[f"filters_level_{number}"] = FILTERS.index(filters)
            parameters[f"kernel_{number}"] = kernel
            parameters[f"activation_{number}"] = activation
            parameters[f"pool_{number}"] = str(Pool.MAX)
        for number in range(len(ORIGINAL_FILTERS) + 1, MAX_DEPTH + 1):
            parameters[f"filters_level_{number}"] = 0
            parameters[f"kernel_{number}"] = KERNELS[0]
            parameters[f"activation_{number}"] = str(Activation.RELU)
            parameters[f"pool_{number}"] = str(Pool.NONE)
        return [parameters]

    def _genome(self, choices: Sequence[tuple[int, int, str, str]]) -> Genome:
        blocks = []
        side = self._side
        for filters, kernel, activation, wish in choices:
            pool = Pool(wish)
            if side // POOL_WINDOW < SMALLEST_SIDE:
                pool = Pool.NONE
            if pool is not Pool.NONE:
                side //= POOL_WINDOW
            blocks.append(
                ConvBlock(
                    filters, kernel, Activation(activation), pool, order=Order.POOL_BEFORE_NORM
                )
            )
        return Genome(tuple(blocks), DROPOUT)
