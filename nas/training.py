"""Train one network, and score it. Knows images and labels, no genome, study or folder layout.

What an epoch does is a function of (seed, epoch number, state at its start) alone, so a training
that was interrupted and goes on from its checkpoint ends in the same weights.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas import metrics, tensorfile
from nas.data.folds import Fold
from nas.devices import Device
from nas.errors import Interrupted, TrainingError, TrainingFailure
from nas.judging import judged_all
from nas.recipe import TrainingSettings
from nas.seeds import derive
from nas.stepping import Training

SETTLED_STEPS = 100
"""Before so many steps the statistics of norms are taken anew from SETTLING images after an epoch.

On 1,000 images (15 steps an epoch) five mobile networks scored 0.500 after one epoch and 0.586 ±
0.055 after three without, 0.587 and 0.631 ± 0.032 with it. Later the kept ones are no worse: on
4,346 images (68 steps an epoch) scores of chain networks changed by −0.003 ± 0.004 after six epochs
(n = 5)."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EpochScore:
    """One epoch: mean training loss, clean validation figures in [0, 1], and seconds."""

    epoch: int
    loss: float
    auroc: float
    balanced_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A network after training up to some epoch.

    Attributes:
        network: with averaged weights, in evaluation mode, on the device.
        epochs: what each gave.
        validation: (N, K) what the network says of the fold's validation images.
    """

    network: nn.Module
    epochs: tuple[EpochScore, ...]
    validation: metrics.Probabilities


def train(
    network: nn.Module,
    fold: Fold,
    settings: TrainingSettings,
    device: Device,
    *,
    seed: int,
    until: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochScore], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train ``network`` up to epoch ``until``, going on from ``checkpoint`` where it exists.

    Args:
        network: freshly built, on the CPU; (N, C, size, size) floats to (N, K) logits. Parameters
            that ask for no gradient stay as they are.
        fold: train and validation images.
        settings: recipe; its schedule spans ``settings.epochs`` epochs.
        device: where to run.
        seed: of shuffling, augmentation and dropout.
        until: last epoch, from 1 to ``settings.epochs``.
        checkpoint: read at the start, written after every epoch; an unreadable one is ignored.
        on_epoch: called after every epoch that is trained here.
        stop: asked before every epoch.
        clock: seconds, monotonic.

    Raises:
        TrainingError: out of memory, or a loss that is not finite.
        Interrupted: ``stop`` said so; all epochs so far are in the checkpoint.
    """

    def judge() -> metrics.Probabilities:
        return judged_all(training.averaged, training.validation, fold.preprocessing, device)

    chances = None
    with failures():
        training, epochs = _restored(network, fold, settings, device, checkpoint)
        for epoch in range(len(epochs) + 1, until + 1):
            if stop():
                raise Interrupted(f"stopped before epoch {epoch}; the epochs before it are saved")
            started = clock()
            loss = training.epoch(epoch, seed)
            if epoch * training.steps < SETTLED_STEPS:
                training.settle(derive(seed, "settling"))
            chances = judge()
            # The loss of a step is of the weights before it: the last step shows in the outputs.
            if not (math.isfinite(loss) and np.isfinite(chances).all()):
                raise TrainingError(
                    TrainingFailure.NOT_FINITE,
                    f"loss and outputs must stay finite, but did not in epoch {epoch} "
                    f"(loss {loss}); lower the learning rate",
                )
            labels = fold.validation.labels.numpy()
            score = EpochScore(
                epoch=epoch,
                loss=loss,
                auroc=metrics.auroc(chances, labels),
                balanced_accuracy=metrics.balanced_accuracy(chances, labels),
                seconds=clock() - started,
            )
            epochs.append(score)
            if checkpoint is not None:
                told = json.dumps([asdict(score) for score in epochs])
                tensorfile.write(checkpoint, {"epochs": told, **training.state()})
            on_epoch(score)
        if chances is None:  # the checkpoint had every epoch
            chances = judge()
        return Trained(training.averaged, tuple(epochs[:until]), chances)


def _restored(
    network: nn.Module,
    fold: Fold,
    settings: TrainingSettings,
    device: Device,
    checkpoint: Path | None,
) -> tuple[Training, list[EpochScore]]:
    """The state to go on from: a checkpoint's, or without one that is readable, the start."""
    if checkpoint is None or not checkpoint.is_file():
        return Training(network, fold, settings, device), []
    fresh = copy.deepcopy(network)  # restoring may fail half-way
    training = Training(network, fold, settings, device)
    try:
        content = tensorfile.read(checkpoint)
        epochs = [EpochScore(**entry) for entry in json.loads(content["epochs"])]
        training.restore(content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        LOG.warning("%s is damaged (%s): training starts over", checkpoint, type(error).__name__)
        return Training(fresh, fold, settings, device), []
    return training, epochs


@contextmanager
def failures() -> Iterator[None]:
    """Turn what torch raises when memory runs out into a TrainingError."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(error) from None
    except RuntimeError as error:
        # The CPU allocator and MPS have no error type of their own.
        text = str(error).lower()
        if "allocate memory" in text or "not enough memory" in text or "out of memory" in text:
            raise _out_of_memory(error) from None
        raise


def _out_of_memory(error: BaseException) -> TrainingError:
    first = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return TrainingError(
        TrainingFailure.OUT_OF_MEMORY,
        f"the network and a batch must fit into memory, but did not ({first[0][:200]}); "
        "lower --max-params or --max-macs",
    )


def initial_network(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network with initial weights from ``seed``; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        return build()


def state_of(network: nn.Module) -> dict[str, Any]:
    """The network's state_dict as contiguous tensors on the CPU, for saving."""
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
