"""Residual networks (He et al. 2016, arXiv:1512.03385): a stem and 2 to 4 stages of blocks.

Every genome has parameters for all stages; those beyond the number of stages are ignored. Each
stage but the first halves the sides, as long as 2×2 pixels remain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import MAX_FILTERS, MAX_KERNEL, Activation, Genome, ImageShape, ResidualBlock
from nas.genome.checks import check_whole
from search_spaces import choices, stages
from search_spaces.stages import GATES, NO_GATE, SQUEEZE

MAX_STAGES, MAX_BLOCKS = 6, 8
BASIC, BOTTLENECK = KINDS = ("basic", "bottleneck")
OF_A_STAGE = ("blocks", "filters_level", "kernel_level", "kind", "gate")


@dataclass(frozen=True)
class ResidualSpace:
    """Residual networks; see the module.

    Attributes:
        image: what goes in.
        min_stages: fewest stages.
        max_stages: most.
        max_blocks: most blocks in a stage.
        max_stem_halvings: 0 leaves sides as they are before the first stage; 1 allows a stride of
            2; 2 allows pooling behind it.
        filters: rising, of stem and stages.
        kernels: rising, sides in pixels.
        kinds: of a stage's blocks: two convolutions, or a bottleneck.
        gates: of a stage's blocks: none, or squeeze and excitation.
        activations: of the whole network.
        dropout: before the linear layer.
    """

    name = "residual"

    image: ImageShape
    min_stages: int = 2
    max_stages: int = 4
    max_blocks: int = 3
    max_stem_halvings: int = stages.MAX_HALVINGS
    filters: tuple[int, ...] = choices.FILTERS
    kernels: tuple[int, ...] = (2, 3, 4, 5)
    kinds: tuple[str, ...] = KINDS
    gates: tuple[str, ...] = GATES
    activations: tuple[str, ...] = choices.ACTIVATIONS
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_range(self.name, self.min_stages, self.max_stages, "stages", 1, MAX_STAGES)
        check_whole(self.name, "max_blocks", self.max_blocks, 1, MAX_BLOCKS)
        check_whole(self.name, "max_stem_halvings", self.max_stem_halvings, 0, stages.MAX_HALVINGS)
        choices.check_levels(self.name, "filters", self.filters, 1, MAX_FILTERS)
        choices.check_levels(self.name, "kernels", self.kernels, 1, MAX_KERNEL)
        choices.check_names(self.name, "kinds", self.kinds, KINDS)
        choices.check_names(self.name, "gates", self.gates, GATES)
        choices.check_names(self.name, "activations", self.activations, tuple(Activation))
        choices.check_share(self.name, "dropout", self.dropout)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        count = trial.suggest_int("stages", self.min_stages, self.max_stages)
        activation = Activation(choices.suggest_name(trial, "activation", self.activations))
        halvings = trial.suggest_int("stem_halvings", 0, self.max_stem_halvings)
        level = choices.suggest_level(trial, "stem_level", self.filters)
        side = stages.after_stem(min(self.image.height, self.image.width), halvings)
        strides = [1, *stages.strides(side, self.max_stages - 1)]
        blocks = [
            self._stage(trial, number, activation, stride)
            for number, stride in enumerate(strides, start=1)
        ]
        stem = stages.stem(level, halvings, activation)
        return Genome((stem, *blocks[:count]), self.dropout)

    def _stage(
        self, trial: optuna.Trial, number: int, activation: Activation, stride: int
    ) -> ResidualBlock:
        repeats = trial.suggest_int(f"blocks_{number}", 1, self.max_blocks)
        filters = choices.suggest_level(trial, f"filters_level_{number}", self.filters)
        kernel = choices.suggest_level(trial, f"kernel_level_{number}", self.kernels)
        kind = choices.suggest_name(trial, f"kind_{number}", self.kinds)
        gate = choices.suggest_name(trial, f"gate_{number}", self.gates)
        return ResidualBlock(
            filters,
            kernel,
            activation,
            stride,
            bottleneck=kind == BOTTLENECK,
            squeeze=gate == SQUEEZE,
            repeats=repeats,
        )

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: the stages that there are."""
        return stages.used(values, OF_A_STAGE, self.min_stages, self.max_stages)

    def warm_starts(self) -> list[dict[str, Any]]:
        """ResNet-18 with a quarter of its filters, and one of bottlenecks with gates."""
        basic = self._start((16, 32, 64, 128), BASIC, NO_GATE)
        bottleneck = self._start((32, 64, 96, 128), BOTTLENECK, SQUEEZE)
        return [basic] if basic == bottleneck else [basic, bottleneck]

    def _start(self, filters: tuple[int, ...], kind: str, gate: str) -> dict[str, Any]:
        """Two blocks in each stage, as far as the space has that."""
        parameters: dict[str, Any] = {
            "stages": max(self.min_stages, min(len(filters), self.max_stages)),
            "activation": choices.wished(self.activations, Activation.RELU),
            "stem_halvings": min(1, self.max_stem_halvings),
            "stem_level": choices.nearest(self.filters, 16),
        }
        for number in range(1, self.max_stages + 1):
            wish = filters[min(number, len(filters)) - 1]
            parameters |= {
                f"blocks_{number}": min(2, self.max_blocks),
                f"filters_level_{number}": choices.nearest(self.filters, wish),
                f"kernel_level_{number}": choices.nearest(self.kernels, 3),
                f"kind_{number}": choices.wished(self.kinds, kind),
                f"gate_{number}": choices.wished(self.gates, gate),
            }
        return parameters
