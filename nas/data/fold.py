"""What an evaluator trains and validates on."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from nas.data.cache import Images
from nas.data.splits import VALIDATION_SHARE, hold_out
from nas.preprocessing import Preprocessing


@dataclass(frozen=True)
class Labelled:
    """Images with labels: ``images`` (N, C, size, size) uint8, ``labels`` (N,) int64 in [0, K)."""

    images: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Fold:
    """One division of the train split, whole patients on either side.

    Attributes:
        train: to learn from.
        validation: to judge by.
        classes: names.
        preprocessing: with mean and std of ``train``.
    """

    train: Labelled
    validation: Labelled
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    def class_weights(self) -> torch.Tensor:
        """(K,) float32, inverse to the classes' frequency in ``train``, 1 on average over images.

        With them a network's 0.5 is the point of equal error rates rather than of the prevalence
        that the train split happens to have.
        """
        counts = torch.bincount(self.train.labels, minlength=len(self.classes)).float()
        return counts.sum() / (len(self.classes) * counts)


def make_fold(images: Images, classes: tuple[str, ...], seed: int) -> Fold:
    """Divide decoded images of the train split (and val, where the folder has one) into a fold.

    Args:
        images: of the splits train and val; test is not touched by a search.
        classes: names.
        seed: of the division, where there is no val split.

    Raises:
        DataError: a class has too few patients to be on both sides.
    """
    held = images.splits == "val"
    if not held.any():
        held = hold_out(images.labels, images.patients, VALIDATION_SHARE, seed)
    train = images.pixels[~held]
    # Sums over uint8 in whole numbers: exact and the same on every machine.
    counted = train.size / train.shape[1]
    mean = train.sum((0, 2, 3), dtype=np.int64) / counted
    # Picture by picture: squares of all at once would take eight times the images' memory.
    squares = np.zeros(train.shape[1], dtype=np.int64)
    for picture in train:
        squares += np.square(picture, dtype=np.int64).sum((1, 2))
    std = np.sqrt(squares / counted - mean**2)
    return Fold(
        train=_labelled(images, ~held),
        validation=_labelled(images, held),
        classes=classes,
        preprocessing=Preprocessing(
            size=train.shape[-1],
            channels=train.shape[1],
            mean=tuple(mean / 255),
            std=tuple(std / 255),
        ),
    )


def _labelled(images: Images, rows: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Labelled:
    return Labelled(
        torch.from_numpy(np.ascontiguousarray(images.pixels[rows])),
        torch.from_numpy(images.labels[rows]),
    )
