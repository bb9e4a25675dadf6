"""Networks of inverted bottlenecks: MobileNetV2 and V3, MnasNet, EfficientNet and their relatives.

Sandler et al. 2018 (arXiv:1801.04381), Howard et al. 2019 (arXiv:1905.02244), Tan and Le 2019
(arXiv:1905.11946): a stem, 2 to 5 stages, and a last 1×1 convolution. Every genome has parameters
for all stages; those beyond the number of stages are ignored. Each stage but the first halves the
sides, as long as 2×2 pixels remain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import (
    MAX_FILTERS,
    MAX_KERNEL,
    Activation,
    ConvBlock,
    Genome,
    ImageShape,
    InvertedBlock,
)
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

MAX_STAGES, MAX_BLOCKS, MAX_EXPANSION = 8, 8, 8
OF_A_STAGE = ("blocks", "filters_level", "kernel_level", "expansion_level", "gate")

LAST = 4
"""The last convolution has so many times the filters of the last stage, which ends without an
activation: 4 in MobileNetV2 (1280 of 320), 6 in MobileNetV3."""

# Blocks, filters, kernel, expansion and gate of each stage: table 2 of Sandler et al. 2018 with
# half of the filters, at most three blocks and without the last two stages; and table 2 of Howard
# et al. 2019, with one expansion for all blocks of a stage.
Rows = tuple[tuple[int, int, int, int, str], ...]
V2: Rows = (
    (1, 8, 3, 1, NO_GATE),
    (2, 12, 3, 6, NO_GATE),
    (3, 16, 3, 6, NO_GATE),
    (3, 32, 3, 6, NO_GATE),
    (3, 48, 3, 6, NO_GATE),
)
V3_SMALL: Rows = (
    (1, 16, 3, 1, SQUEEZE),
    (2, 24, 3, 4, NO_GATE),
    (3, 40, 5, 6, SQUEEZE),
    (2, 48, 5, 3, SQUEEZE),
    (3, 96, 5, 6, SQUEEZE),
)


@dataclass(frozen=True)
class MobileSpace:
    """Inverted bottlenecks with depthwise convolutions, and squeeze and excitation; see the module.

    Attributes:
        image: what goes in.
        stages: fewest and most.
        blocks: fewest and most in a stage.
        stem_halvings: fewest and most before the first stage: 0 leaves sides as they are, 1 is a
            stride of 2, 2 is that and a pooling.
        filters: rising, of stem and stages.
        kernel_sizes: rising, of the depthwise convolutions, sides in pixels.
        expansions: rising, channels in the middle of a block for each that comes in.
        gates: of a stage's blocks: none, or squeeze and excitation.
        activations: of the whole network.
        dropout: before the linear layer.
    """

    name: ClassVar[str] = "mobile"

    image: ImageShape
    stages: tuple[int, int] = (2, 5)
    blocks: tuple[int, int] = (1, 3)
    stem_halvings: tuple[int, int] = (0, 1)
    filters: tuple[int, ...] = choices.FILTERS
    kernel_sizes: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (1, 2, 3, 4, 6)
    gates: tuple[str, ...] = GATES
    activations: tuple[str, ...] = ("relu", "relu6", "hard_swish", "silu")
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_span(self.name, "stages", self.stages, 1, MAX_STAGES)
        choices.check_span(self.name, "blocks", self.blocks, 1, MAX_BLOCKS)
        choices.check_span(self.name, "stem_halvings", self.stem_halvings, 0, MAX_HALVINGS)
        choices.check_levels(self.name, "filters", self.filters, 1, MAX_FILTERS // LAST)
        choices.check_levels(self.name, "kernel_sizes", self.kernel_sizes, 1, MAX_KERNEL)
        choices.check_levels(self.name, "expansions", self.expansions, 1, MAX_EXPANSION)
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
        last = ConvBlock(LAST * blocks[count - 1].filters, 1, activation)
        return Genome((first, *blocks[:count], last), self.dropout)

    def _stage(
        self, trial: optuna.Trial, number: int, activation: Activation, stride: int
    ) -> InvertedBlock:
        repeats = trial.suggest_int(f"blocks_{number}", *self.blocks)
        filters = choices.suggest_level(trial, f"filters_level_{number}", self.filters)
        kernel = choices.suggest_level(trial, f"kernel_level_{number}", self.kernel_sizes)
        expansion = choices.suggest_level(trial, f"expansion_level_{number}", self.expansions)
        gate = choices.suggest_name(trial, f"gate_{number}", self.gates)
        return InvertedBlock(
            filters, kernel, expansion, activation, stride, squeeze=gate == SQUEEZE, repeats=repeats
        )

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: the stages that there are."""
        return used_stages(values, OF_A_STAGE, self.stages)

    def warm_starts(self) -> list[dict[str, Any]]:
        """MobileNetV2 and V3 small, as far as the space has them."""
        v2 = self._start(V2, Activation.RELU6)
        v3 = self._start(V3_SMALL, Activation.HARD_SWISH)
        return [v2] if v2 == v3 else [v2, v3]

    def _start(self, rows: Rows, activation: Activation) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "stages": choices.within(self.stages, len(rows)),
            "activation": choices.wished(self.activations, activation),
            "stem_halvings": choices.within(self.stem_halvings, 1),
            "stem_level": choices.nearest(self.filters, 16),
        }
        for number in range(1, self.stages[1] + 1):
            blocks, filters, kernel, expansion, gate = rows[min(number, len(rows)) - 1]
            parameters |= {
                f"blocks_{number}": choices.within(self.blocks, blocks),
                f"filters_level_{number}": choices.nearest(self.filters, filters),
                f"kernel_level_{number}": choices.nearest(self.kernel_sizes, kernel),
                f"expansion_level_{number}": choices.nearest(self.expansions, expansion),
                f"gate_{number}": choices.wished(self.gates, gate),
            }
        return parameters
