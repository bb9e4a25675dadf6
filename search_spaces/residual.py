"""Residual networks (He et al. 2016, arXiv:1512.03385): a stem and 2 to 4 stages of blocks.

Every genome has parameters for all stages; those beyond the number of stages are ignored. Each
stage but the first halves the sides, as long as 2×2 pixels remain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import MAX_FILTERS, MAX_KERNEL, Activation, Genome, ImageShape, ResidualBlock
from search_spaces import choices
from search_spaces.stages import (
    GATES,
    MAX_HALVINGS,
    NO_GATE,
    SQUEEZE,
    stage_strides,
    stem,
    used_stages,
)

MAX_STAGES, MAX_BLOCKS = 6, 8
BASIC, BOTTLENECK = KINDS = ("basic", "bottleneck")
OF_A_STAGE = ("blocks", "filters_level", "kernel", "kind", "gate")


@dataclass(frozen=True)
class ResidualSpace:
    """Residual networks; see the module.

    Attributes:
        image: what goes in.
        stages: fewest and most.
        blocks: fewest and most in a stage.
        stem_halvings: fewest and most before the first stage: 0 leaves sides as they are, 1 is a
            stride of 2, 2 is that and a pooling.
        filters: rising, of stem and stages.
        kernels: smallest and largest side, in pixels.
        kinds: of a stage's blocks: two convolutions, or a bottleneck.
        gates: of a stage's blocks: none, or squeeze and excitation.
        activations: of the whole network.
        dropout: before the linear layer.
    """

    name: ClassVar[str] = "residual"

    image: ImageShape
    stages: tuple[int, int] = (2, 4)
    blocks: tuple[int, int] = (1, 3)
    stem_halvings: tuple[int, int] = (0, MAX_HALVINGS)
    filters: tuple[int, ...] = choices.FILTERS
    kernels: tuple[int, int] = (2, 5)
    kinds: tuple[str, ...] = KINDS
    gates: tuple[str, ...] = GATES
    activations: tuple[str, ...] = choices.ACTIVATIONS
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_span(self.name, "stages", self.stages, 1, MAX_STAGES)
        choices.check_span(self.name, "blocks", self.blocks, 1, MAX_BLOCKS)
        choices.check_span(self.name, "stem_halvings", self.stem_halvings, 0, MAX_HALVINGS)
        choices.check_levels(self.name, "filters", self.filters, 1, MAX_FILTERS)
        choices.check_span(self.name, "kernels", self.kernels, 1, MAX_KERNEL)
        choices.check_names(self.name, "kinds", self.kinds, KINDS)
        choices.check_names(self.name, "gates", self.gates, GATES)
        choices.check_names(self.name, "activations", self.activations, tuple(Activation))
        choices.check_share(self.name, "dropout", self.dropout)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        count = trial.suggest_int("stages", *self.stages)
        activation = Activation(choices.suggest_name(trial, "activation", self.activations))
        halvings = trial.suggest_int("stem_halvings", *self.stem_halvings)
        level = choices.suggest_level(trial, "stem_level", self.filters)
        blocks = [
            self._stage(trial, number, activation, stride)
            for number, stride in enumerate(stage_strides(self.image, halvings, self.stages[1]), 1)
        ]
        first = stem(level, halvings, activation)
        return Genome((first, *blocks[:count]), self.dropout)

    def _stage(
        self, trial: optuna.Trial, number: int, activation: Activation, stride: int
    ) -> ResidualBlock:
        repeats = trial.suggest_int(f"blocks_{number}", *self.blocks)
        filters = choices.suggest_level(trial, f"filters_level_{number}", self.filters)
        kernel = trial.suggest_int(f"kernel_{number}", *self.kernels)
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
        return used_stages(values, OF_A_STAGE, self.stages)

    def warm_starts(self) -> list[dict[str, Any]]:
        """ResNet-18 with a quarter of its filters, and one of bottlenecks with gates."""
        basic = self._start((16, 32, 64, 128), BASIC, NO_GATE)
        bottleneck = self._start((32, 64, 96, 128), BOTTLENECK, SQUEEZE)
        return [basic] if basic == bottleneck else [basic, bottleneck]

    def _start(self, filters: tuple[int, ...], kind: str, gate: str) -> dict[str, Any]:
        """Two blocks in each stage, as far as the space has that."""
        parameters: dict[str, Any] = {
            "stages": choices.within(self.stages, len(filters)),
            "activation": choices.wished(self.activations, Activation.RELU),
            "stem_halvings": choices.within(self.stem_halvings, 1),
            "stem_level": choices.nearest(self.filters, 16),
        }
        for number in range(1, self.stages[1] + 1):
            wish = filters[min(number, len(filters)) - 1]
            parameters |= {
                f"blocks_{number}": choices.within(self.blocks, 2),
                f"filters_level_{number}": choices.nearest(self.filters, wish),
                f"kernel_{number}": choices.within(self.kernels, 3),
                f"kind_{number}": choices.wished(self.kinds, kind),
                f"gate_{number}": choices.wished(self.gates, gate),
            }
        return parameters
