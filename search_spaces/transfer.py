"""Networks that were learnt on ImageNet: which, how deep it is trained further, and its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import BackboneBlock, BackboneName, Genome, ImageShape, Weights
from nas.genome.backbones import STAGES
from nas.genome.genome import MAX_HIDDEN
from search_spaces import choices

QUARTERS = 4
SMALLEST_SIDE, LARGEST_SIDE = 32, 1024
PERCENT = 100


@dataclass(frozen=True)
class TransferSpace:
    """A pretrained network with a new head, trained in part; see the module.

    How deep it is trained is chosen in quarters of its stages, so that it means the same for all:
    0 trains the head alone, 4 everything. Images are resized to a side of the space's own choice,
    whatever they come in as.

    Attributes:
        image: what goes in.
        backbones: the networks.
        weights: ``imagenet``; with ``none`` they begin at random and are trained as a whole.
        sides: rising, pixels to which images are resized.
        hidden: rising, features of a layer before the last one; 0 is none.
        dropout_percents: rising, before the linear layers.
    """

    name: ClassVar[str] = "transfer"

    image: ImageShape
    backbones: tuple[str, ...] = (
        "efficientnet_lite0",
        "resnet18",
        "mobilenet_v3_small",
        "densenet121",
    )
    weights: str = "imagenet"
    sides: tuple[int, ...] = (64, 96, 128, 160, 224)
    hidden: tuple[int, ...] = (0, 64, 256)
    dropout_percents: tuple[int, ...] = (0, 20, 50)

    def __post_init__(self) -> None:
        choices.check_names(self.name, "backbones", self.backbones, tuple(BackboneName))
        choices.check_names(self.name, "weights", (self.weights,), tuple(Weights))
        choices.check_levels(self.name, "sides", self.sides, SMALLEST_SIDE, LARGEST_SIDE)
        choices.check_levels(self.name, "hidden", self.hidden, 0, MAX_HIDDEN)
        choices.check_levels(self.name, "dropout_percents", self.dropout_percents, 0, PERCENT - 1)

    def suggest(self, trial: optuna.Trial) -> Genome:
        """A genome of the space."""
        backbone = BackboneName(choices.suggest_name(trial, "backbone", self.backbones))
        quarters = trial.suggest_int("trained_quarters", 0, QUARTERS)
        side = choices.suggest_level(trial, "side_level", self.sides)
        hidden = choices.suggest_level(trial, "hidden_level", self.hidden)
        dropout = choices.suggest_level(trial, "dropout_level", self.dropout_percents)
        weights = Weights(self.weights)
        frozen = 0 if weights is Weights.NONE else frozen_stages(backbone, quarters)
        return Genome(
            (BackboneBlock(backbone, weights, frozen, side),),
            dropout / PERCENT,
            (hidden,) if hidden else (),
        )

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """See SparseSpace: without learnt weights there is nothing to keep."""
        learnt = self.weights != Weights.NONE
        return {"trained_quarters": np.full(len(values["trained_quarters"]), learnt)}

    def learnt(self) -> tuple[BackboneName, ...]:
        """See LearntSpace."""
        none = self.weights == Weights.NONE
        return () if none else tuple(BackboneName(name) for name in self.backbones)

    def warm_starts(self) -> list[dict[str, Any]]:
        """The first backbone at its smallest side: its head alone, and half of it."""
        starts = [0, QUARTERS // 2] if self.weights != Weights.NONE else [QUARTERS]
        return [
            {
                "backbone": self.backbones[0],
                "trained_quarters": quarters,
                "side_level": 0,
                "hidden_level": 0,
                "dropout_level": choices.nearest(self.dropout_percents, 20),
            }
            for quarters in starts
        ]


def frozen_stages(backbone: BackboneName, quarters: int) -> int:
    """Stages that keep their weights where so many quarters, from the output, are trained."""
    count = len(STAGES[backbone]())
    return count - round_half_up(quarters * count, QUARTERS)


def round_half_up(numerator: int, denominator: int) -> int:
    """The whole number nearest to a fraction."""
    return (2 * numerator + denominator) // (2 * denominator)
