"""Ways to train and judge that the recipe does not have, held against it in one run.

    python -m tests.benchmarks.tried --data data/chestxrays --ways plain sgd distilled

Every way trains the same genome with the same seeds for the same epochs on the same divisions of
the train split; the test split is not read. What wins here may enter the recipe; what does not is
in runs/LOG.md.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from nas import evaluator, training
from nas.baselines.recipes import _compute_features, _train_head, _Work
from nas.data.augmentation import Augmentation
from nas.data.cache import Images, load_images
from nas.data.folds import Fold, Labelled, choose_division, divisions, make_fold
from nas.data.opening import CACHE
from nas.data.prepare import prepare
from nas.devices import Device, choose, keep_freed_memory
from nas.evaluator import TrainingEvaluator
from nas.feeding import feed
from nas.genome import Genome
from nas.jobs import Job
from nas.learnt_weights import first_network
from nas.pretrained import efficientnet_lite0
from nas.recipe import TrainingSettings
from nas.stepping import Training

MIDDLE, SPREAD = 128.0, 55.0
"""Grey level and standard deviation that every image gets where it is standardised by itself."""


def standardised(images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) uint8, each with the same mean and standard deviation."""
    values = images.float()
    mean = values.mean((1, 2, 3), keepdim=True)
    spread = values.std((1, 2, 3), keepdim=True).clamp(min=1)
    return ((values - mean) / spread * SPREAD + MIDDLE).round().clamp(0, 255).to(torch.uint8)


def equalised(images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) uint8, each with its grey levels spread evenly (histogram equalisation)."""
    flat = images.flatten(1).long()
    counts = torch.zeros(len(flat), 256).scatter_add_(1, flat, torch.ones_like(flat).float())
    ranks = counts.cumsum(1)
    levels = (ranks / ranks[:, -1:] * 255).round()
    return levels.gather(1, flat).view(images.shape).to(torch.uint8)


def changed(fold: Fold, change: Callable[[torch.Tensor], torch.Tensor]) -> Fold:
    """The fold with other pixels, and the mean and standard deviation of those."""

    def all_of(data: Labelled) -> Labelled:
        return Labelled.of(change(data.images), data.labels)

    train = all_of(fold.train)
    values = train.images.float() / 255
    how = replace(fold.preprocessing, mean=(float(values.mean()),), std=(float(values.std()),))
    return replace(fold, train=train, validation=all_of(fold.validation), preprocessing=how)


class Sgd(Training):
    """Nesterov's momentum instead of AdamW."""

    def __init__(
        self, network: nn.Module, fold: Fold, settings: TrainingSettings, device: Device
    ) -> None:
        super().__init__(network, fold, settings, device)
        matrices, rest = (list(group["params"]) for group in self.optimizer.param_groups)
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(  # type: ignore[assignment]
            groups,
            lr=settings.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            fused=True,
        )


class Distilled(Training):
    """Half of the loss is the distance from a teacher's softened answers (Hinton et al. 2015)."""

    TEMPERATURE = 2.0
    SHARE = 0.5
    teacher: torch.Tensor
    """(N, K) logits of the train images, set before a training."""

    def __init__(
        self, network: nn.Module, fold: Fold, settings: TrainingSettings, device: Device
    ) -> None:
        super().__init__(network, fold, settings, device)
        places = torch.arange(len(fold.train))
        self._feed = feed(replace(fold.train, labels=places), device)

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor | None
    ) -> torch.Tensor:
        told = super()._loss(logits, self.fold.train.labels[labels], share)
        soft = functional.kl_div(
            (logits / self.TEMPERATURE).log_softmax(1),
            (self.teacher[labels] / self.TEMPERATURE).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.SHARE) * told + self.SHARE * self.TEMPERATURE**2 * soft


class Shaken(nn.Module):
    """In evaluation mode the mean over small moves and sizes of an image; no mirror images."""

    MOVES = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, K)."""
        if self.training:
            return self.network(images)  # type: ignore[no-any-return]
        padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
        side = images.shape[-1]
        views = [
            padded[..., 2 + y : 2 + y + side, 2 + x : 2 + x + side].contiguous(
                memory_format=torch.channels_last
            )
            for y, x in self.MOVES
        ]
        return torch.stack([self.network(view) for view in views]).mean(0)


def teacher_logits(fold: Fold, images: Images, features: torch.Tensor) -> torch.Tensor:
    """(N, K) of the fold's train images, by a linear head on frozen features of those alone."""
    place = {int(row): index for index, row in enumerate(images.rows)}
    rows = torch.tensor([place[int(row)] for row in fold.train.rows])
    head, _ = _train_head(features[rows], fold.train.labels, len(fold.classes), _unheard)
    with torch.no_grad():
        return head(features[rows])  # type: ignore[no-any-return]


def _unheard(_what: str, _done: int, _total: int) -> None:
    """No one listens."""


@contextmanager
def way(name: str, fold: Fold, teacher: Callable[[Fold], torch.Tensor]) -> Iterator[Fold]:
    """Within the block trainings go that way, on the fold that is given."""
    first = first_network
    match name:
        case "standardised":
            yield changed(fold, standardised)
        case "equalised":
            yield changed(fold, equalised)
        case "sgd":
            with mock.patch.object(training, "Training", Sgd):
                yield fold
        case "distilled":
            Distilled.teacher = teacher(fold)
            with mock.patch.object(training, "Training", Distilled):
                yield fold
        case "shaken":
            with mock.patch.object(evaluator, "first_network", lambda *a: Shaken(first(*a))):
                yield fold
        case _:
            yield fold


WAYS = ("plain", "standardised", "equalised", "sgd", "distilled", "shaken")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--genome", type=Path, default=Path("docs/genomes/chain.json"))
    parser.add_argument(
        "--folds", nargs="+", default=["patients-2", "domain-IM", "domain-NORMAL2-IM"]
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, help="append a line for every training here")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings = TrainingSettings(epochs=options.epochs, augmentation=Augmentation.parsed(["strong"]))
    cache = options.runs / CACHE
    source = prepare(options.data, cache).source
    images = load_images(source, ("train", "val"), size=options.size, channels=1, cache=cache)
    features: list[torch.Tensor] = []

    def teacher(fold: Fold) -> torch.Tensor:
        if not features:
            backbone = efficientnet_lite0()
            work = _Work(source, cache, choose("auto").exact(), _unheard, lambda: 0.0)
            seen = work.images(backbone.preprocessing.size)
            features.append(_compute_features(work, backbone, seen).values)
        return teacher_logits(fold, images, features[0])

    genome = Genome.from_json(json.loads(options.genome.read_text()))
    found = divisions(images, 0)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.ways}
    for division in options.folds:
        fold = make_fold(images, source.classes, choose_division(found, division))
        for seed in options.seeds:
            for name in options.ways:
                rate = 0.05 if name == "sgd" else settings.learning_rate
                with way(name, fold, teacher) as given:
                    trainer = TrainingEvaluator(given, replace(settings, learning_rate=rate))
                    outcome = trainer.evaluate(
                        Job(genome, 0, settings.epochs, seed, device=choose("auto").name)
                    )
                result = {
                    "way": name,
                    "fold": division,
                    "seed": seed,
                    "robust": outcome.metrics["robust"],
                    "auroc": outcome.metrics["auroc"],
                    "seconds": outcome.cost_s,
                }
                results[name].append(result)
                print(json.dumps(result), flush=True)
                if options.json is not None:
                    with options.json.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    for name, told in results.items():
        means = {
            key: round(statistics.mean(one[key] for one in told), 4)
            for key in ("robust", "auroc", "seconds")
        }
        print(f"{name}: {means}, n = {len(told)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
