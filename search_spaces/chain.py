"""A chain of convolution blocks: filters, kernel, activation, pooling and repeats of each.

Every genome has parameters for as many blocks as there can be, and a depth; what lies beyond the
depth is ignored, and so is a pooling that would leave less than 2×2 pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import (
    MAX_BLOCKS,
    MAX_FILTERS,
    MAX_KERNEL,
    POOL_WINDOW,
    Activation,
    ConvBlock,
    Genome,
    ImageShape,
    Order,
    Pool,
)
from nas.genome.conv import MAX_REPEATS
from nas.references import ORIGINAL_ACTIVATIONS, ORIGINAL_FILTERS, ORIGINAL_KERNELS
from search_spaces import choices
from search_spaces.members import genome_of

SMALLEST_SIDE = 2


@dataclass(frozen=True)
class ChainSpace:
    """Convolution blocks in a row: filters, kernel, activation, pooling and repeats of each.

    Pooling is placed before the last norm, which trains faster on every device. The defaults are
    kept in stored studies, which Optuna refuses to go on with under other choices: enumerations may
    grow, but not these.

    Attributes:
        image: what goes into the networks; pooling ends where its shorter side is used up.
        depth: fewest and most blocks.
        filters: rising; about a factor of 1.4 between neighbours. Parameters are positions in this
            list, so that a sampler knows their order and a step means the same everywhere.
        kernels: smallest and largest side of a kernel.
        activations: names of nas.genome.Activation.
        pools: names of nas.genome.Pool; without "none" every block pools for which there is room.
        repeats: fewest and most times that convolution, norm and activation follow each other in a
            block; twice is the double convolution.
        dropout: before the linear layer.

    Raises:
        GenomeError: a choice outside its rule.
    """

    name: ClassVar[str] = "chain"

    image: ImageShape
    depth: tuple[int, int] = (2, 8)
    filters: tuple[int, ...] = choices.FILTERS
    kernels: tuple[int, int] = (2, 5)
    activations: tuple[str, ...] = choices.ACTIVATIONS
    pools: tuple[str, ...] = ("none", "max", "average")
    repeats: tuple[int, int] = (1, 2)
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_span(self.name, "depth", self.depth, 1, MAX_BLOCKS)
        choices.check_levels(self.name, "filters", self.filters, 1, MAX_FILTERS)
        choices.check_span(self.name, "kernels", self.kernels, 1, MAX_KERNEL)
        choices.check_names(self.name, "activations", self.activations, tuple(Activation))
        choices.check_names(self.name, "pools", self.pools, tuple(Pool))
        choices.check_span(self.name, "repeats", self.repeats, 1, MAX_REPEATS)
        choices.check_share(self.name, "dropout", self.dropout)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        depth = trial.suggest_int("depth", *self.depth)
        chosen = []
        for number in range(1, self.depth[1] + 1):
            filters = choices.suggest_level(trial, f"filters_level_{number}", self.filters)
            kernel = trial.suggest_int(f"kernel_{number}", *self.kernels)
            activation = choices.suggest_name(trial, f"activation_{number}", self.activations)
            pool = choices.suggest_name(trial, f"pool_{number}", self.pools)
            repeats = trial.suggest_int(f"repeats_{number}", *self.repeats)
            chosen.append((filters, kernel, activation, pool, repeats))
        return self._genome(chosen[:depth])

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: blocks up to the depth, and poolings that leave enough pixels."""
        depth = values["depth"]
        side = np.full(len(depth), self._side)
        none = self.pools.index(Pool.NONE) if Pool.NONE in self.pools else -1
        found = {}
        for number in range(1, self.depth[1] + 1):
            there = depth >= number
            for name in ("filters_level", "kernel", "activation", "repeats"):
                found[f"{name}_{number}"] = there
            room = there & (side // POOL_WINDOW >= SMALLEST_SIDE)
            found[f"pool_{number}"] = room
            pooled = room & (values[f"pool_{number}"] != none)
            side = np.where(pooled, side // POOL_WINDOW, side)
        return found

    def warm_starts(self) -> list[dict[str, Any]]:
        """The six-layer network that this project grew from, pooled as often as fits.

        None if it is not a member.
        """
        if not set(ORIGINAL_FILTERS) <= set(self.filters):
            return []
        rows = zip(ORIGINAL_FILTERS, ORIGINAL_KERNELS, ORIGINAL_ACTIVATIONS, strict=True)
        parameters: dict[str, Any] = {"depth": len(ORIGINAL_FILTERS)}
        for number, (filters, kernel, activation) in enumerate(rows, start=1):
            parameters[f"filters_level_{number}"] = self.filters.index(filters)
            parameters[f"kernel_{number}"] = kernel
            parameters[f"activation_{number}"] = str(activation)
            parameters[f"pool_{number}"] = str(Pool.MAX)
            parameters[f"repeats_{number}"] = 1
        for number in range(len(ORIGINAL_FILTERS) + 1, self.depth[1] + 1):
            parameters[f"filters_level_{number}"] = 0
            parameters[f"kernel_{number}"] = self.kernels[0]
            parameters[f"activation_{number}"] = self.activations[0]
            parameters[f"pool_{number}"] = self.pools[0]
            parameters[f"repeats_{number}"] = self.repeats[0]
        return [parameters] if genome_of(self, parameters) is not None else []

    @property
    def _side(self) -> int:
        return min(self.image.height, self.image.width)

    def _genome(self, chosen: Sequence[tuple[int, int, str, str, int]]) -> Genome:
        blocks = []
        side = self._side
        for filters, kernel, activation, wish, repeats in chosen:
            pool = Pool(wish)
            if side // POOL_WINDOW < SMALLEST_SIDE:
                pool = Pool.NONE
            if pool is not Pool.NONE:
                side //= POOL_WINDOW
            blocks.append(
                ConvBlock(
                    filters,
                    kernel,
                    Activation(activation),
                    pool,
                    order=Order.POOL_BEFORE_NORM,
                    repeats=repeats,
                )
            )
        return Genome(tuple(blocks), self.dropout)
