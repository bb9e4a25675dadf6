"""What a network says of images, and how well, clean and under acquisition shifts."""

from collections.abc import Callable

import torch
from torch import nn

from nas import metrics
from nas.data.folds import Fold, Labelled
from nas.data.shifts import SHIFTS, shifted
from nas.devices import Device
from nas.preprocessing import Preprocessing

CPU_EVALUATION_BATCH, EVALUATION_BATCH = 32, 512
"""Images per forward pass. On a CPU small batches stay in its caches: 870 images of 64×64 took
1.1 s in batches of 32 and 1.5 s in batches of 256 (conv 32-64-64-128; best of 3, 2 cores)."""


def probabilities(
    network: nn.Module, images: torch.Tensor, preprocessing: Preprocessing, device: Device
) -> metrics.Probabilities:
    """Class probabilities of a network in evaluation mode.

    Args:
        images: (N, C, size, size) uint8.

    Returns:
        (N, K) float64 on the CPU; rows add up to 1.
    """
    everything = torch.arange(len(images), device=images.device)
    return judged(network, Labelled.of(images, everything), everything, preprocessing, device)


def judged(
    network: nn.Module,
    data: Labelled,
    index: torch.Tensor,
    preprocessing: Preprocessing,
    device: Device,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda images: images,
) -> metrics.Probabilities:
    """Class probabilities of some images, batch by batch: they may be more than fit into memory.

    Args:
        data: images.
        index: (N,) int64 positions in ``data``, on its device.
        change: of (B, C, size, size) uint8 images on the network's device to the like.

    Returns:
        (N, K) float64 on the CPU; rows add up to 1.
    """
    parts = []
    with torch.inference_mode(), device.autocast():
        for some in torch.split(index, batch_size(device)):
            inputs = preprocessing.normalize(change(data.take(some).to(device.device)))
            logits = network(inputs.to(memory_format=device.memory_format))
            parts.append(logits.double().softmax(1))
    return torch.cat(parts).cpu().numpy()


def robustness(network: nn.Module, fold: Fold, device: Device) -> dict[str, float]:
    """Balanced accuracy on the validation images, clean and under each acquisition shift.

    Each shift is judged on one half of the images, drawn once for all: every second image of every
    class, the other half for the next shift. So every image counts as often as any other, at six
    passes instead of eleven.
    """
    labels = fold.validation.labels
    place = torch.empty_like(labels)  # of an image among those of its class
    for label in range(len(fold.classes)):
        mine = labels == label
        place[mine] = torch.arange(int(mine.sum()))
    result = {"clean": _balanced_accuracy(network, fold, torch.arange(len(labels)), device, None)}
    for number, name in enumerate(SHIFTS):
        rows = (place % 2 == number % 2).nonzero().flatten()
        if len(rows):  # a class of one image is in one half only
            result[name] = _balanced_accuracy(network, fold, rows, device, name)
    return result


def _balanced_accuracy(
    network: nn.Module, fold: Fold, rows: torch.Tensor, device: Device, shift: str | None
) -> float:
    def change(images: torch.Tensor) -> torch.Tensor:
        return images if shift is None else shifted(images, shift)

    chances = judged(network, fold.validation, rows, fold.preprocessing, device, change)
    return metrics.balanced_accuracy(chances, fold.validation.labels[rows].numpy())


def batch_size(device: Device) -> int:
    """Images per forward pass."""
    return CPU_EVALUATION_BATCH if device.device.type == "cpu" else EVALUATION_BATCH
