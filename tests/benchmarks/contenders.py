"""Three ways to train one network, each asked for a number of steps at a time.

Usual is the loop that people write: ImageFolder, a DataLoader, every image decoded, resized and
augmented each time by torchvision's transforms, float32, the loss read at every step. Ours is what
a search does. Bare is forward, backward and optimizer on one batch that lies ready: what a trainer
could reach that did nothing else, in the same arithmetic as ours.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from nas.data.augmentation import Augmentation
from nas.data.cache import load_images
from nas.data.folds import Fold, choose_division, divisions, make_fold
from nas.data.sources import open_source
from nas.devices import Device, choose
from nas.genome import Genome, ImageShape
from nas.network import build
from nas.recipe import TrainingSettings
from nas.stepping import Training

BATCH = 64
CLASSES = 2


class Contender(Protocol):
    """One way to train one network."""

    def steps(self, count: int) -> float:
        """Train so many steps of BATCH images; returns seconds, the device's work included."""
        ...


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        genome: the network.
        size: side of the images in pixels, one channel.
        folder: ``train/<CLASS>/*`` below it.
        cache: of decoded images.
        device: as ``nas.devices.choose`` takes it.
        workers: of the usual loop's DataLoader.
    """

    genome: Genome
    size: int
    folder: Path
    cache: Path
    device: str
    workers: int

    def network(self) -> nn.Module:
        """With initial weights that are the same for all."""
        torch.manual_seed(0)
        return build(self.genome, ImageShape(1, self.size, self.size), CLASSES)


class Usual:
    """The loop that people write."""

    def __init__(self, task: Task) -> None:
        plain = Augmentation()
        change = v2.Compose(
            [
                v2.Grayscale(),
                v2.Resize((task.size, task.size)),
                v2.RandomAffine(
                    plain.rotation_degrees,
                    translate=(plain.shift, plain.shift),
                    scale=(1 / (1 + plain.scale), 1 + plain.scale),
                ),
                v2.ColorJitter(brightness=plain.exposure, contrast=plain.contrast),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5], [0.25]),
            ]
        )
        self._device = torch.device(choose(task.device).name)
        self._network = task.network().to(self._device)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-3)
        self._loader = DataLoader(
            ImageFolder(str(task.folder / "train"), change),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=task.workers,
            persistent_workers=task.workers > 0,
            pin_memory=self._device.type == "cuda",
        )
        self._batches = self._endless()
        self._network.train()

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self._loader

    def steps(self, count: int) -> float:
        """See Contender."""
        started = time.perf_counter()
        for _ in range(count):
            images, labels = next(self._batches)
            images, labels = images.to(self._device), labels.to(self._device)
            loss = functional.cross_entropy(self._network(images), labels)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            loss.item()
        return time.perf_counter() - started


class Ours:
    """What a search does."""

    def __init__(self, task: Task) -> None:
        device = choose(task.device)
        self._training = Training(task.network(), opened(task), TrainingSettings(), device)
        self._epoch = 0

    def steps(self, count: int) -> float:
        """See Contender."""
        self._epoch += 1
        started = time.perf_counter()
        self._training.epoch(self._epoch, seed=0, steps=count)
        return time.perf_counter() - started


class Bare:
    """Forward, backward and optimizer on a batch that lies ready."""

    def __init__(self, task: Task) -> None:
        self._device = choose(task.device)
        self._training = Training(task.network(), opened(task), TrainingSettings(), self._device)
        shape = (BATCH, 1, task.size, task.size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        images = images.to(self._device.device)
        self._images = images.contiguous(memory_format=self._device.memory_format)
        self._labels = torch.arange(BATCH, device=self._device.device) % CLASSES

    def steps(self, count: int) -> float:
        """See Contender."""
        network, optimizer = self._training.network.train(), self._training.optimizer
        started = time.perf_counter()
        for _ in range(count):
            with self._device.autocast():
                logits = network(self._images)
            loss = functional.cross_entropy(logits.float(), self._labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        _wait(self._device)
        return time.perf_counter() - started


CONTENDERS: Mapping[str, Callable[[Task], Contender]] = {"usual": Usual, "ours": Ours, "bare": Bare}


def opened(task: Task) -> Fold:
    """The first division of the folder's images."""
    source = open_source(str(task.folder), task.cache)
    images = load_images(source, ("train", "val"), size=task.size, channels=1, cache=task.cache)
    return make_fold(images, source.classes, choose_division(divisions(images, 0), None))


def _wait(device: Device) -> None:
    if device.device.type == "cuda":
        torch.cuda.synchronize(device.device)
