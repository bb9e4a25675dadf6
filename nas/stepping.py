"""The inner loop of a training: its steps, and the state that they change.

What an epoch does is a function of (seed, epoch number, state at its start) alone.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn import functional

from nas.data.augment import augment
from nas.data.folds import Fold
from nas.devices import Device
from nas.feeding import feed
from nas.recipe import Imbalance, TrainingSettings
from nas.seeds import derive

SETTLING = 512

MOMENTUM = 0.1
"""Of a norm's statistics, torch's default."""


class Training:
    """Network, the average of its weights, and optimizer of one training.

    Attributes:
        network: is trained.
        averaged: the exponential moving average over steps, in evaluation mode; is judged.
        optimizer: of the network.
        validation: images, on the device.
        steps: of an epoch.
    """

    def __init__(
        self, network: nn.Module, fold: Fold, settings: TrainingSettings, device: Device
    ) -> None:
        network = network.to(device.device)
        self.network = network.to(memory_format=device.memory_format)
        self.averaged = copy.deepcopy(self.network).eval()
        self.fold, self.settings, self.device = fold, settings, device
        self._feed = feed(fold.train, device)
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
        self._live = list(_floats(self.network))
        self._mean = list(_floats(self.averaged))

    def epoch(self, number: int, seed: int, steps: int | None = None) -> float:
        """Train one epoch, counted from 1, and return the mean loss.

        Args:
            number: of the epoch.
            seed: of shuffling, augmentation and dropout.
            steps: fewer than an epoch has, for measurements.
        """
        count = self.steps if steps is None else steps
        place = derive(seed, "epoch", number)
        order = self._order(torch.Generator().manual_seed(place))[: count * self.batch]
        draws = torch.Generator(self.device.device).manual_seed(derive(place, "augmentation"))
        total = torch.zeros((), device=self.device.device)
        self.network.train()
        cuda = [self.device.device] if self.device.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            torch.manual_seed(derive(place, "dropout"))
            for index, batch in enumerate(self._feed.batches(order, self.batch)):
                total += self._step((number - 1) * self.steps + index, *batch, draws)
        return float(total) / count

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
        rows = torch.randperm(len(self.fold.train), generator=drawn)[:SETTLING]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        with torch.no_grad(), self.device.autocast():
            for pixels, _ in self._feed.batches(rows, min(self.batch, len(rows))):
                images = augment(pixels, self.settings.augmentation, draws)
                inputs = self.fold.preprocessing.normalize(images)
                self.averaged(inputs.contiguous(memory_format=self.device.memory_format))
        for norm in norms:
            norm.momentum = MOMENTUM
            norm.eval()

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        """Positions in the train images, in the order of an epoch."""
        count = len(self.fold.train)
        if self.settings.imbalance is Imbalance.SAMPLING:
            chances = self.fold.class_weights()[self.fold.train.labels.cpu()].double()
            return torch.multinomial(chances, count, replacement=True, generator=generator)
        return torch.randperm(count, generator=generator)

    def _step(
        self, step: int, pixels: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> torch.Tensor:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(step, settings.epochs * self.steps)
        images = augment(pixels, settings.augmentation, draws)
        share = None
        if settings.mixup:
            drawn = torch.rand(len(labels), generator=draws, device=images.device)
            share = drawn * settings.mixup
            # Rows are in random order: the neighbour is a random image.
            images = torch.lerp(images, images.roll(1, 0), share.view(-1, 1, 1, 1))
        inputs = self.fold.preprocessing.normalize(images)
        with self.device.autocast():
            logits = self.network(inputs.contiguous(memory_format=self.device.memory_format))
        loss = self._loss(logits.float(), labels, share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # The average follows quickly at first, so that it forgets the initial weights.
        decay = min(settings.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)
        return loss.detach()

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor | None
    ) -> torch.Tensor:
        weight = None
        match self.settings.imbalance:
            case Imbalance.WEIGHTS:
                weight = self.weights
            case Imbalance.LOGIT_ADJUSTMENT:
                logits = logits + self.prior.log()
        smoothing = self.settings.label_smoothing
        if share is None:
            return functional.cross_entropy(
                logits, labels, weight=weight, label_smoothing=smoothing
            )
        total, weights = (torch.zeros((), device=logits.device) for _ in range(2))
        for part, targets in ((1 - share, labels), (share, labels.roll(1, 0))):
            each = functional.cross_entropy(
                logits, targets, weight=weight, label_smoothing=smoothing, reduction="none"
            )
            total = total + (part * each).sum()
            weights = weights + (part if weight is None else part * weight[targets]).sum()
        return total / weights

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state``; raises ValueError, LookupError and the like if it misfits."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def _learns_statistics(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a norm that is trained; a frozen one keeps what it has learnt."""
    return isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad


def _floats(network: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and running statistics, in a fixed order; counters are left out."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            yield tensor.detach()
