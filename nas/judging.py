"""What a network says of images, and how well, clean and under acquisition shifts."""

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


KEPT_BYTES = 1 << 30
"""Of shifted images in a process: 870 images of 64×64 take 18 MB, of 224×224 218 MB."""


def probabilities(
    network: nn.Module, images: torch.Tensor, preprocessing: Preprocessing, device: Device
) -> metrics.Probabilities:
    """Class probabilities of a network in evaluation mode.

    Args:
        images: (N, C, size, size) uint8.

    Returns:
        (N, K) float64 on the CPU; rows add up to 1.
    """
    unused = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return judged_all(network, Labelled.of(images, unused), preprocessing, device)


def judged_all(
    network: nn.Module, data: Labelled, preprocessing: Preprocessing, device: Device
) -> metrics.Probabilities:
    """``judged``, of every image in ``data``."""
    everything = torch.arange(len(data), device=data.labels.device)
    return judged(network, data, everything, preprocessing, device)


def judged(
    network: nn.Module,
    data: Labelled,
    index: torch.Tensor,
    preprocessing: Preprocessing,
    device: Device,
) -> metrics.Probabilities:
    """Class probabilities of some images, batch by batch: they may be more than fit into memory.

    Args:
        data: images.
        index: (N,) int64 positions in ``data``, on its device.

    Returns:
        (N, K) float64 on the CPU; rows add up to 1.
    """
    parts = []
    with torch.inference_mode(), device.autocast():
        for some in torch.split(index, batch_size(device)):
            inputs = preprocessing.normalize(data.take(some).to(device.device))
            logits = network(inputs.to(memory_format=device.memory_format))
            parts.append(logits.double().softmax(1))
    return torch.cat(parts).cpu().numpy()


class ShiftedImages:
    """The validation images of a fold under every acquisition shift, made once for all networks.

    Each shift has one half of the images: every second image of every class, and the next shift
    the other half. So every image counts as often as any other, at six passes instead of eleven.

    Args:
        fold: whose validation images.
        device: that judges; images are shifted on it, in the batches in which they are judged.
        kept_bytes: shifted images that would take more are made anew for every network.
    """

    def __init__(self, fold: Fold, device: Device, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._data, self._device = fold.validation, device
        labels = fold.validation.labels
        place = torch.empty_like(labels)  # of an image among those of its class
        for label in range(len(fold.classes)):
            mine = labels == label
            place[mine] = torch.arange(int(mine.sum()))
        halves = [(place % 2 == side).nonzero().flatten() for side in range(2)]
        sides = {name: halves[number % 2] for number, name in enumerate(SHIFTS)}
        # A class of one image is in one half only.
        self.rows = {name: rows for name, rows in sides.items() if len(rows)}
        images = sum(len(rows) for rows in self.rows.values())
        self._keep = images * fold.validation.pixels[0].numel() <= kept_bytes
        self._kept: dict[str, Labelled] = {}

    def under(self, name: str) -> Labelled:
        """Those images that the shift has, under it."""
        if name in self._kept:
            return self._kept[name]
        rows = self.rows[name]
        parts = [
            shifted(self._data.take(some).to(self._device.device), name).cpu()
            for some in torch.split(rows, batch_size(self._device))
        ]
        found = Labelled.of(torch.cat(parts), self._data.labels[rows])
        if self._keep:
            self._kept[name] = found
        return found


def robustness(
    network: nn.Module,
    fold: Fold,
    device: Device,
    *,
    images: ShiftedImages | None = None,
    clean: metrics.Probabilities | None = None,
) -> dict[str, float]:
    """Balanced accuracy on the validation images, clean and under each acquisition shift.

    Args:
        network: in evaluation mode, on the device.
        fold: whose validation images.
        device: as elsewhere.
        images: of this fold and device, where several networks are judged.
        clean: what the network says of the validation images, where that is known.
    """
    images = images or ShiftedImages(fold, device)
    if clean is None:
        clean = judged_all(network, fold.validation, fold.preprocessing, device)
    result = {"clean": metrics.balanced_accuracy(clean, fold.validation.labels.numpy())}
    for name in images.rows:
        data = images.under(name)
        chances = judged_all(network, data, fold.preprocessing, device)
        result[name] = metrics.balanced_accuracy(chances, data.labels.numpy())
    return result


def batch_size(device: Device) -> int:
    """Images per forward pass."""
    return CPU_EVALUATION_BATCH if device.device.type == "cpu" else EVALUATION_BATCH
