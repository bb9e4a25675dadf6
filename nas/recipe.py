"""The recipe by which networks are trained: plain values. No torch."""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from nas.data.augmentation import Augmentation
from nas.errors import SettingsError


class Imbalance(StrEnum):
    """What is done so that 0.5 is not the point of the train split's prevalence. Stored.

    WEIGHTS weighs an image's loss inversely to its class's share. SAMPLING draws images with
    replacement, every class as often as any other. LOGIT_ADJUSTMENT adds the logarithm of the
    class's share to the logits while training only (Menon et al. 2021), so that the network alone
    learns what is left: the balanced posterior. NONE keeps the prevalence.
    """

    NONE = "none"
    WEIGHTS = "weights"
    SAMPLING = "sampling"
    LOGIT_ADJUSTMENT = "logit_adjustment"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How networks are trained.

    Attributes:
        epochs: length of the learning-rate schedule; a training may pause before its end.
        batch_size: images per step; 64 was faster than 256 on 2 cores.
        learning_rate: peak, reached after ``warmup`` of all steps, then falling by a cosine to 0.
        warmup: share of all steps, in [0, 1].
        weight_decay: AdamW's, on weights of convolutions and linear layers only.
        label_smoothing: in [0, 1).
        averaging: weights are judged as an exponential moving average over steps with this decay
            (less in the first steps), so that scores before the schedule's end are comparable.
        augmentation: strengths.
        imbalance: what is done where classes are not equally frequent.
        mixup: in [0, 0.5]. Every image is mixed with another one, whose weight is drawn uniformly
            from 0 to this, and the loss likewise (after Zhang et al. 2018, arXiv:1710.09412).
    """

    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup: float = 0.15
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    averaging: float = 0.97
    augmentation: Augmentation = field(default_factory=Augmentation)
    imbalance: Imbalance = Imbalance.WEIGHTS
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise SettingsError(
                "epochs must be at least 1 and batch_size at least 2, but are "
                f"{self.epochs} and {self.batch_size}; raise them"
            )

        if not 0 <= self.mixup <= 0.5:
            raise SettingsError(f"mixup must be from 0 to 0.5, but is {self.mixup}; 0 turns it off")

    def to_json(self) -> dict[str, Any]:
        """Plain values; mixup, which came later, is left out where it is off."""
        plain = asdict(self)
        return plain if self.mixup else {k: v for k, v in plain.items() if k != "mixup"}

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` in [0, steps)."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        fallen = (step - rising) / max(1, steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))
