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
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nas import metrics, tensorfile
from nas.data.augment import Augmentation, augment
from nas.data.folds import Fold, Labelled
from nas.devices import Device
from nas.errors import Interrupted, SettingsError, TrainingError, TrainingFailure
from nas.judging import judged
from nas.seeds import derive

SETTLED_STEPS = 100
"""Before so many steps the statistics of norms are taken anew from SETTLING images after an epoch.

On 1,000 images (15 steps an epoch) five mobile networks scored 0.500 after one epoch and 0.586 ±
0.055 after three without, 0.587 and 0.631 ± 0.032 with it. Later the kept ones are no worse: on
4,346 images (68 steps an epoch) scores of chain networks changed by −0.003 ± 0.004 after six epochs
(n = 5)."""

SETTLING = 512

MOMENTUM = 0.1
"""Of a norm's statistics, torch's default."""

LOG = logging.getLogger(__name__)


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

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise SettingsError(
                "epochs must be at least 1 and batch_size at least 2, but are "
                f"{self.epochs} and {self.batch_size}; raise them"
            )

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` in [0, steps)."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        fallen = (step - rising) / max(1, steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


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
    """A network after training up to some epoch: its averaged weights, and what each epoch gave."""

    network: nn.Module
    epochs: tuple[EpochScore, ...]


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
    with failures():
        run = _restored(network, fold, settings, device, checkpoint)
        for epoch in range(len(run.epochs) + 1, until + 1):
            if stop():
                raise Interrupted(f"stopped before epoch {epoch}; the epochs before it are saved")
            started = clock()
            loss = run.epoch(epoch, seed)
            if epoch * run.steps < SETTLED_STEPS:
                run.settle(derive(seed, "settling"))
            everything = torch.arange(len(run.validation), device=device.device)
            chances = judged(run.averaged, run.validation, everything, fold.preprocessing, device)
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
            run.epochs.append(score)
            if checkpoint is not None:
                run.save(checkpoint)
            on_epoch(score)
        return Trained(run.averaged, tuple(run.epochs[:until]))


class _Run:
    """State of one training: network, its average, optimizer, and the epochs so far."""

    def __init__(
        self, network: nn.Module, fold: Fold, settings: TrainingSettings, device: Device
    ) -> None:
        network = network.to(device.device)
        self.network = network.to(memory_format=device.memory_format)
        self.averaged = copy.deepcopy(self.network).eval()
        self.fold, self.settings, self.device = fold, settings, device
        self.data: Labelled = fold.train.to(device.device)
        self.validation = fold.validation.to(device.device)
        self.prior = fold.prior().to(device.device)
        self.weights = fold.class_weights().to(device.device)
        self.batch = min(settings.batch_size, len(fold.train))
        self.steps = len(fold.train) // self.batch
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.device.type in {"cpu", "cuda"},
        )
        self.epochs: list[EpochScore] = []
        self._live = list(_floats(self.network))
        self._mean = list(_floats(self.averaged))

    def epoch(self, number: int, seed: int) -> float:
        """Train one epoch and return the mean loss."""
        place = derive(seed, "epoch", number)
        order = self._order(torch.Generator().manual_seed(place)).to(self.device.device)
        draws = torch.Generator(self.device.device).manual_seed(derive(place, "augmentation"))
        total = torch.zeros((), device=self.device.device)
        self.network.train()
        cuda = [self.device.device] if self.device.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            torch.manual_seed(derive(place, "dropout"))
            for index in range(self.steps):
                rows = order[index * self.batch : (index + 1) * self.batch]
                total += self._step((number - 1) * self.steps + index, rows, draws)
        return float(total) / self.steps

    def settle(self, seed: int) -> None:
        """Give the norms of the averaged network the statistics that belong to its weights.

        What they kept along the way are averages over the weights of earlier steps, and in a deep
        network that was trained for few steps each layer's error adds to the next one's.
        """
        norms = [m for m in self.averaged.modules() if _learns_statistics(m)]
        if not norms:
            return
        drawn = torch.Generator().manual_seed(seed)
        draws = torch.Generator(self.device.device).manual_seed(derive(seed, "augmentation"))
        rows = torch.randperm(len(self.data), generator=drawn)[:SETTLING].to(self.device.device)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        with torch.no_grad(), self.device.autocast():
            for some in torch.split(rows, self.batch):
                if len(some) > 1:
                    images = augment(self.data.take(some), self.settings.augmentation, draws)
                    inputs = self.fold.preprocessing.normalize(images)
                    self.averaged(inputs.contiguous(memory_format=self.device.memory_format))
        for norm in norms:
            norm.momentum = MOMENTUM
            norm.eval()

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        """Positions in the train images, in the order of an epoch."""
        count = len(self.data)
        if self.settings.imbalance is Imbalance.SAMPLING:
            chances = self.weights[self.data.labels].cpu().double()
            return torch.multinomial(chances, count, replacement=True, generator=generator)
        return torch.randperm(count, generator=generator)

    def _step(self, step: int, rows: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(step, settings.epochs * self.steps)
        images = augment(self.data.take(rows), settings.augmentation, draws)
        inputs = self.fold.preprocessing.normalize(images)
        with self.device.autocast():
            logits = self.network(inputs.contiguous(memory_format=self.device.memory_format))
        loss = self._loss(logits.float(), self.data.labels[rows])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # The average follows quickly at first, so that it forgets the initial weights.
        decay = min(settings.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)
        return loss.detach()

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight = None
        match self.settings.imbalance:
            case Imbalance.WEIGHTS:
                weight = self.weights
            case Imbalance.LOGIT_ADJUSTMENT:
                logits = logits + self.prior.log()
        return functional.cross_entropy(
            logits, labels, weight=weight, label_smoothing=self.settings.label_smoothing
        )

    def save(self, path: Path) -> None:
        """Everything that the next epoch depends on."""
        tensorfile.write(
            path,
            {
                "epochs": json.dumps([asdict(score) for score in self.epochs]),
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        )

    def restore(self, path: Path) -> None:
        """Take the state of a checkpoint; raises ValueError and its like if it does not fit."""
        content = tensorfile.read(path)
        epochs = [EpochScore(**entry) for entry in json.loads(content["epochs"])]
        self.network.load_state_dict(content["network"])
        self.averaged.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.epochs = epochs


def _restored(
    network: nn.Module,
    fold: Fold,
    settings: TrainingSettings,
    device: Device,
    checkpoint: Path | None,
) -> _Run:
    """The state to go on from: a checkpoint's, or without one that is readable, the start."""
    if checkpoint is None or not checkpoint.is_file():
        return _Run(network, fold, settings, device)
    fresh = copy.deepcopy(network)  # restoring may fail half-way
    run = _Run(network, fold, settings, device)
    try:
        run.restore(checkpoint)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        LOG.warning("%s is damaged (%s): training starts over", checkpoint, type(error).__name__)
        return _Run(fresh, fold, settings, device)
    return run


def _learns_statistics(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a norm that is trained; a frozen one keeps what it has learnt."""
    return isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad


def _floats(network: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and running statistics, in a fixed order; counters are left out."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            yield tensor.detach()


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
