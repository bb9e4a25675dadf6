"""Small trainings that tests compare."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from nas.data.augmentation import Augmentation
from nas.data.folds import Fold
from nas.devices import Device
from nas.recipe import TrainingSettings
from nas.training import EpochScore, Trained, initial_network, train

EXACT = Device("cpu", bf16=False, channels_last=True)


NO_AUGMENTATION = Augmentation(**dict.fromkeys(Augmentation.__slots__, 0.0))


RECIPE = TrainingSettings(epochs=3, batch_size=16)


STEPS = 6


"""An epoch's, with RECIPE and 96 images."""


def small(channels: int = 1, classes: int = 2) -> nn.Module:
    """A network for 12 × 12 images, with everything that has a state: batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(6 * 6 * 6, classes),
    )


def train_small(
    fold: Fold,
    recipe: TrainingSettings = RECIPE,
    *,
    seed: int = 1,
    until: int | None = None,
    checkpoint: Path | None = None,
    network: nn.Module | None = None,
    device: Device = EXACT,
    on_epoch: Callable[[EpochScore], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    return train(
        network or initial_network(small, seed),
        fold,
        recipe,
        device,
        seed=seed,
        until=until or recipe.epochs,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        stop=stop,
        clock=lambda: 0.0,
    )


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def check_same(one: Trained, other: Trained) -> None:
    """Equal to the last bit."""
    assert same_weights(one.network, other.network)
    assert one.epochs == other.epochs


class Asked:
    """A stop that never comes, and how often it was asked for."""

    times = 0

    def __call__(self) -> bool:
        self.times += 1
        return False


def after(calls: int) -> Callable[[], bool]:
    """A stop that is asked for once it was asked about ``calls`` times."""
    count = itertools.count()
    return lambda: next(count) >= calls


@dataclass
class Seen:
    """Which training images a network saw, batch by batch: their last pixel tells."""

    batches: list[list[int]]
    channels_last: bool = True


class Watching(nn.Module):
    """A linear network that writes down what it is given while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 64, 2)
        self.seen = Seen([])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.batches.append(images[:, 0, -1, -1].tolist())
            self.seen.channels_last &= images.is_contiguous(memory_format=torch.channels_last)
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]
