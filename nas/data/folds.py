"""Divisions of the train split into what is trained on and what is validated on.

    val          the source's own validation split, where it has one
    patients-1   the first of K folds, whole patients, classes in proportion; and so on to K
    domain-X     everything of the domain X (a site, a scanner, a series) is held out

No division separates images of one patient, or two copies of one image. The test split is in none.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold

from nas.data.cache import NAMES, Images
from nas.data.splits import VALIDATION_SHARE, hold_out
from nas.errors import DataError, SettingsError
from nas.preprocessing import Preprocessing

FOLDS = round(1 / VALIDATION_SHARE)

Held = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Division:
    """Which images are validated on.

    Attributes:
        name: see the head of this file.
        held: (N,) True where an image is held out for validation.
        unused: (N,) True where an image is on neither side.
    """

    name: str
    held: Held
    unused: Held

    def checksum(self, images: Images) -> str:
        """Of every image's content, label and side: another division or data has another one."""
        digest = hashlib.sha256(f"{self.name}\n".encode())
        rows = zip(images.paths, images.sha256, images.labels, self.held, self.unused, strict=True)
        for path, content, label, held, unused in rows:
            side = "unused" if unused else "validation" if held else "train"
            digest.update(f"{path}\0{content}\0{label}\0{side}\n".encode(errors=NAMES))
        return digest.hexdigest()


@dataclass(frozen=True)
class Labelled:
    """Images with labels, without copying what is mapped.

    Attributes:
        pixels: (M, C, size, size) uint8 with M >= N, on any device.
        rows: (N,) int64 into ``pixels``: these images, on the same device.
        labels: (N,) int64 in [0, K), on the same device.
    """

    pixels: torch.Tensor
    rows: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, images: torch.Tensor, labels: torch.Tensor) -> Self:
        """All of ``images`` (N, C, size, size) uint8, with their labels."""
        return cls(images, torch.arange(len(images), device=images.device), labels)

    @property
    def images(self) -> torch.Tensor:
        """(N, C, size, size) uint8, a copy."""
        return self.pixels[self.rows]

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """(B, C, size, size) uint8: the images at (B,) int64 positions in [0, N)."""
        return self.pixels[self.rows[index]]

    def to(self, device: torch.device) -> Self:
        """The same on a device. Where that is another one, these images alone are copied."""
        if device == self.pixels.device:
            return self
        whole = type(self).of(self.images, self.labels)
        return replace(
            whole,
            pixels=whole.pixels.to(device),
            rows=whole.rows.to(device),
            labels=whole.labels.to(device),
        )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Fold:
    """One division of the train split, ready to train on.

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

    @property
    def validated(self) -> tuple[int, ...]:
        """How many images of each class are judged by."""
        counts = torch.bincount(self.validation.labels.cpu(), minlength=len(self.classes))
        return tuple(counts.tolist())

    def prior(self) -> torch.Tensor:
        """(K,) float32, the classes' shares of ``train``; they add up to 1."""
        counts = torch.bincount(self.train.labels.cpu(), minlength=len(self.classes)).float()
        return counts / counts.sum()

    def class_weights(self) -> torch.Tensor:
        """(K,) float32, inverse to the classes' shares of ``train``, 1 on average over images."""
        return 1 / (len(self.classes) * self.prior())


def divisions(images: Images, seed: int) -> tuple[Division, ...]:
    """All divisions of these images; the first is the one that a search uses.

    Args:
        images: of the splits train and val.
        seed: of the folds by patient.

    Raises:
        DataError: a class has too few patients to be on both sides.
    """
    nothing = np.zeros(len(images), dtype=bool)
    given = images.splits == "val"
    own = [Division("val", given, nothing)] if given.any() else []
    found = own + _by_patient(images, seed) + _by_domain(images, seed)
    if not found:
        hold_out(images.labels, images.groups, VALIDATION_SHARE, seed)  # says what is wrong
        raise DataError("the train split cannot be divided by patient; add patients")
    return tuple(found)


def choose_division(found: tuple[Division, ...], name: str | None) -> Division:
    """The division of that name; the first for None.

    Raises:
        SettingsError: there is none.
    """
    if name is None:
        return found[0]
    for division in found:
        if division.name == name:
            return division
    raise SettingsError(
        f"--fold must be one of {', '.join(division.name for division in found)}, but is {name!r}; "
        "choose one"
    )


def make_fold(images: Images, classes: tuple[str, ...], division: Division) -> Fold:
    """Divide decoded images of the train split (and val, where there is one) into a fold.

    Args:
        images: those that the division is of.
        classes: names.
        division: which of them are validated on.
    """
    trained = ~(division.held | division.unused)
    rows = images.rows[trained]
    channels, size = images.form.channels, images.form.size
    # Sums over uint8 in whole numbers: exact and the same on every machine. Picture by picture:
    # they may be more than fit into memory, and squares take twice the room.
    total, squares = np.zeros((2, channels), dtype=np.int64)
    for row in rows:
        picture = images.mapped[row]
        total += picture.sum((1, 2), dtype=np.int64)
        squares += np.square(picture, dtype=np.uint16).sum((1, 2), dtype=np.int64)
    counted = len(rows) * size * size
    mean = total / counted
    std = np.sqrt(squares / counted - mean**2)
    return Fold(
        train=_labelled(images, trained),
        validation=_labelled(images, division.held),
        classes=classes,
        preprocessing=Preprocessing(
            size=size,
            channels=channels,
            mean=tuple(mean / 255),
            std=tuple(std / 255),
            resize=images.form.resize,
        ),
    )


def _labelled(images: Images, chosen: Held) -> Labelled:
    return Labelled(
        torch.from_numpy(images.mapped),
        torch.from_numpy(images.rows[chosen]),
        torch.from_numpy(images.labels[chosen]),
    )


def _by_patient(images: Images, seed: int) -> list[Division]:
    """Those of K folds that have every class on both sides."""
    labels, groups = images.labels, images.groups
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if fewest < 2:
        return []
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    result = []
    for number, (_, rows) in enumerate(splitter.split(labels, labels, groups), start=1):
        held = np.zeros(len(labels), dtype=bool)
        held[rows] = True
        if _complete(labels, held):
            result.append(Division(f"patients-{number}", held, np.zeros_like(held)))
    return result


def _by_domain(images: Images, seed: int) -> list[Division]:
    """One for every domain that can be held out.

    A domain may lack a class (a series of the public chest X-rays is of normals only): then that
    class is validated on as in the first fold by patient. What is left of a patient who is partly
    held out is used nowhere.
    """
    shares = _by_patient(images, seed)
    if not shares:
        return []
    labels, groups = images.labels, images.groups
    result = []
    for domain in np.unique(images.domains[images.domains != ""]):
        inside = images.domains == domain
        lacking = ~np.isin(labels, labels[inside])
        held = inside | (lacking & shares[0].held)
        unused = np.isin(groups, groups[held]) & ~held
        if _complete(labels[~unused], held[~unused]):
            result.append(Division(f"domain-{domain}", held, unused))
    return result


def _complete(labels: npt.NDArray[np.int64], held: Held) -> bool:
    """Whether every class is on both sides."""
    both = set(labels.tolist())
    return set(labels[held].tolist()) == both == set(labels[~held].tolist())
