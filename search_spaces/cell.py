"""All 15,625 cells of NAS-Bench-201 (Dong and Yang 2020, arXiv:2001.00326) in one skeleton.

A cell has four places, and each of its six edges carries one of five operations. Cells that compute
the same are one genome: 4,929 remain. In 341 cells the output sees no input, and the direct edge
from 0 to 3 becomes a skip, which makes them all the same cell that does nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import CellsBlock, Genome, ImageShape
from nas.genome.cell import EDGES, PLACES, SKIP, canonical
from search_spaces import choices
from search_spaces.stages import SMALLEST_SIDE

OPERATIONS = ("none", "skip", "conv_1x1", "conv_3x3", "average_3x3")
"""By digit of the benchmark's codes."""

NAMES = tuple(f"edge_{source}{target}" for source, target in EDGES)
DIRECT = EDGES.index((0, PLACES - 1))

BEST = ("333132", "031112")
"""The best on CIFAR-10's test images after 200 epochs, and the best with a third of its size."""


@dataclass(frozen=True)
class CellSpace:
    """Cells of NAS-Bench-201; see the module.

    The skeleton is the same for all of them. The paper's has stages of five cells and no stride in
    the stem; here it is small enough for X-rays on a CPU.

    Attributes:
        image: what goes in.
        filters: of the first stage; each further one doubles them.
        cells: in each stage.
        stages: sides halve between them.
        stem_stride: 2 halves the sides at once; images that are too small for it do without.
        operations: that an edge may have.
        dropout: before the linear layer.
    """

    name: ClassVar[str] = "cell"

    image: ImageShape
    filters: int = 16
    cells: int = 1
    stages: int = 3
    stem_stride: int = 2
    operations: tuple[str, ...] = OPERATIONS
    dropout: float = choices.DROPOUT

    def __post_init__(self) -> None:
        choices.check_names(self.name, "operations", self.operations, OPERATIONS)
        choices.check_share(self.name, "dropout", self.dropout)
        # Refuses a skeleton that cannot be.
        CellsBlock(SKIP * len(EDGES), self.filters, self.cells, self.stages, self.stem_stride)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        chosen = [choices.suggest_name(trial, name, self.operations) for name in NAMES]
        code = alive("".join(str(OPERATIONS.index(operation)) for operation in chosen))
        return Genome((self._block(code),), self.dropout)

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: edges from a place that the input reaches to one that the output sees.

        An edge that the output does not see may hold anything, so it counts as a way in.
        """
        nothing = self._place("none")
        ways = [values[name] != nothing for name in NAMES]
        yes = np.ones(len(ways[0]), bool)
        sees = [~yes] * (PLACES - 1) + [yes]
        for (source, target), way in reversed(list(zip(EDGES, ways, strict=True))):
            sees[source] = sees[source] | (way & sees[target])
        reached = [yes] + [~yes] * (PLACES - 1)
        for (source, target), way in zip(EDGES, ways, strict=True):
            maybe = way | ~sees[target]
            reached[target] = reached[target] | (reached[source] & maybe)
        return {
            name: sees[target] & reached[source]
            for name, (source, target) in zip(NAMES, EDGES, strict=True)
        }

    def warm_starts(self) -> list[dict[str, Any]]:
        """The best of the benchmark, where all operations are to choose from."""
        if self.operations != OPERATIONS:
            return []
        return [
            {name: OPERATIONS[int(digit)] for name, digit in zip(NAMES, code, strict=True)}
            for code in BEST
        ]

    def _place(self, operation: str) -> int:
        """Among the choices; -1, which no choice is, where it is not one."""
        return self.operations.index(operation) if operation in self.operations else -1

    def _block(self, code: str) -> CellsBlock:
        smallest = self.stem_stride * 2 ** (self.stages - 1) * SMALLEST_SIDE
        small = min(self.image.height, self.image.width) < smallest
        return CellsBlock(
            code, self.filters, self.cells, self.stages, 1 if small else self.stem_stride
        )


def alive(code: str) -> str:
    """The code, with a skip on the direct edge if its output sees no input."""
    if canonical(code) is not None:
        return code
    return code[:DIRECT] + SKIP + code[DIRECT + 1 :]
