"""From images to batches on the device that trains: they lie there, or are streamed ahead."""

import threading
from collections.abc import Iterator
from queue import Full, Queue
from typing import Protocol

import torch

from nas.data.folds import Labelled
from nas.devices import Device

RESIDENT_SHARE = 0.4
"""Of a GPU's free memory: more images than fit there are streamed. The rest is for activations."""

AHEAD = 3
"""Batches that wait, while streaming, for the one that trains."""

POLL_S = 0.1
"""Seconds between looks whether anybody still wants batches."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""(B, C, size, size) uint8 images and (B,) int64 labels, on the device."""


class Feed(Protocol):
    """Where batches come from."""

    def batches(self, order: torch.Tensor, size: int) -> Iterator[Batch]:
        """Full batches, in order.

        Args:
            order: (N,) int64 positions in the images, on the CPU; a rest below ``size`` is left.
            size: images of a batch.
        """


class Resident:
    """All images on the device. On a CPU they stay where they are mapped."""

    def __init__(self, data: Labelled, device: torch.device) -> None:
        self._data = data.to(device)

    def batches(self, order: torch.Tensor, size: int) -> Iterator[Batch]:
        """See Feed."""
        order = order.to(self._data.rows.device)  # once an epoch
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield self._data.take(rows), self._data.labels[rows]


class Streamed:
    """Images stay in the host's memory, or on its disk; a thread reads ahead and sends them."""

    def __init__(self, data: Labelled, device: torch.device) -> None:
        self._data, self._device = data, device

    def batches(self, order: torch.Tensor, size: int) -> Iterator[Batch]:
        """See Feed; what goes wrong while reading ahead is raised here."""
        waiting: Queue[Batch | BaseException | None] = Queue(AHEAD)
        gone = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(order, size, waiting, gone), daemon=True, name="reading-ahead"
        )
        reader.start()
        try:
            while (found := waiting.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            gone.set()
            reader.join()

    def _read(
        self,
        order: torch.Tensor,
        size: int,
        waiting: "Queue[Batch | BaseException | None]",
        gone: threading.Event,
    ) -> None:
        try:
            for start in range(0, len(order) - size + 1, size):
                rows = order[start : start + size]
                if not _put(waiting, gone, self._sent(rows)):
                    return
        except BaseException as error:  # noqa: BLE001 - raised where batches are asked for
            _put(waiting, gone, error)
            return
        _put(waiting, gone, None)

    def _sent(self, rows: torch.Tensor) -> Batch:
        images, labels = self._data.take(rows), self._data.labels[rows]
        if self._device.type == "cuda":  # from pinned memory a copy waits for nothing
            images, labels = images.pin_memory(), labels.pin_memory()
        return (
            images.to(self._device, non_blocking=True),
            labels.to(self._device, non_blocking=True),
        )


def feed(data: Labelled, device: Device) -> Feed:
    """Resident where the images fit, else streamed."""
    where = device.device
    if where.type == "cuda":
        free, _ = torch.cuda.mem_get_info(where)
        if len(data) * data.pixels[0].numel() > RESIDENT_SHARE * free:
            return Streamed(data, where)
    return Resident(data, where)


def _put(
    waiting: "Queue[Batch | BaseException | None]",
    gone: threading.Event,
    what: Batch | BaseException | None,
) -> bool:
    """Whether anybody wanted it."""
    while not gone.is_set():
        try:
            waiting.put(what, timeout=POLL_S)
        except Full:
            continue
        return True
    return False
