"""Eight positions, each with one of three blocks: 6,561 networks, all of them different.

After NAS-Bench-Macro (Su et al. 2021, arXiv:2103.11922): a position holds nothing but a skip, an
inverted bottleneck 3×3 with expansion 3, or one 5×5 with expansion 6. Here they form four stages of
two. The paper has stages of 2, 3 and 3, of which only 3,969 networks are different, since within a
stage it does not matter where a skip stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna

from nas.genome import MAX_FILTERS, Activation, ConvBlock, Genome, ImageShape, InvertedBlock
from nas.genome.checks import check_whole
from search_spaces import choices
from search_spaces.stages import MAX_HALVINGS, after_stem, stem, strides

POSITIONS, STAGES = 8, 4
SKIP = "skip"

# Kernel and expansion of each bottleneck.
BOTTLENECKS: Mapping[str, tuple[int, int]] = {"bottleneck_3x3": (3, 3), "bottleneck_5x5": (5, 6)}
BLOCKS = (SKIP, *BOTTLENECKS)


@dataclass(frozen=True)
class MacroSpace:
    """Eight positions, each skip, bottleneck 3×3 or bottleneck 5×5; see the module.

    The first position of a stage changes the filters and halves the sides, as long as 2×2 pixels
    remain. A skip there is a 1×1 convolution with norm and ReLU (in the paper without ReLU).

    Attributes:
        image: what goes in.
        filters: of the four stages.
        stem_filters: of the convolution before them.
        stem_halvings: 0 leaves its sides, 1 is a stride of 2, 2 pools behind it.
        last_filters: of the 1×1 convolution behind them; 1,280 in the paper.
        blocks: that a position may have.
        dropout: before the linear layer.
    """

    name: ClassVar[str] = "macro"

    image: ImageShape
    filters: tuple[int, ...] = (24, 48, 96, 192)
    stem_filters: int = 24
    stem_halvings: int = 1
    last_filters: int = 256
    blocks: tuple[str, ...] = BLOCKS
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_counted(self.name, "filters", self.filters, STAGES, 1, MAX_FILTERS)
        check_whole(self.name, "stem_filters", self.stem_filters, 1, MAX_FILTERS)
        check_whole(self.name, "stem_halvings", self.stem_halvings, 0, MAX_HALVINGS)
        check_whole(self.name, "last_filters", self.last_filters, 1, MAX_FILTERS)
        choices.check_names(self.name, "blocks", self.blocks, BLOCKS)
        choices.check_share(self.name, "dropout", self.dropout)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space; all parameters always matter."""
        side = after_stem(min(self.image.height, self.image.width), self.stem_halvings)
        steps = strides(side, STAGES)
        found: list[ConvBlock | InvertedBlock] = [
            stem(self.stem_filters, self.stem_halvings, Activation.RELU)
        ]
        for position in range(POSITIONS):
            block = choices.suggest_name(trial, f"position_{position + 1}", self.blocks)
            stage, place = divmod(position, POSITIONS // STAGES)
            filters, stride = self.filters[stage], steps[stage] if place == 0 else 1
            if block in BOTTLENECKS:
                kernel, expansion = BOTTLENECKS[block]
                found.append(InvertedBlock(filters, kernel, expansion, stride=stride))
            elif place == 0:
                found.append(ConvBlock(filters, 1, stride=stride))
        found.append(ConvBlock(self.last_filters, 1))
        return Genome(tuple(found), self.dropout)

    def warm_starts(self) -> list[dict[str, Any]]:
        """The same block everywhere, for each but the skip."""
        return [
            {f"position_{number}": block for number in range(1, POSITIONS + 1)}
            for block in self.blocks
            if block != SKIP
        ]
