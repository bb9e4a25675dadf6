import threading
from collections.abc import Iterator

import pytest
import torch

from nas import feeding
from nas.data.folds import Labelled
from nas.devices import Device
from nas.feeding import Batch, Resident, Streamed, feed
from tests.nas.trainings import check_same, train_small
from tests.pictures import bar_fold

CPU = torch.device("cpu")


def images(count: int) -> Labelled:
    pixels = torch.arange(count * 2, dtype=torch.uint8).view(count, 1, 1, 2)
    return Labelled(pixels, torch.arange(count).flip(0), torch.arange(count) % 3)


def plain(batches: Iterator[Batch]) -> list[tuple[list[int], list[int]]]:
    return [(one.flatten().tolist(), labels.tolist()) for one, labels in batches]


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (2, 3), (3, 3), (50, 1)])
def test_streamed_batches_are_those_that_are_there(count: int, size: int) -> None:
    data = images(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    expected = [
        (data.take(rows).flatten().tolist(), data.labels[rows].tolist())
        for rows in torch.split(order, size)
        if len(rows) == size
    ]
    for kind in (Resident, Streamed):
        assert plain(kind(data, CPU).batches(order, size)) == expected
    assert threading.active_count() == 1 or "reading-ahead" not in {
        thread.name for thread in threading.enumerate()
    }


def test_a_training_is_the_same_with_streamed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = bar_fold()
    resident = train_small(fold)
    monkeypatch.setattr("nas.stepping.feed", lambda data, device: Streamed(data, device.device))
    check_same(resident, train_small(fold))


def test_what_goes_wrong_while_reading_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(9)

    def failing(self: Labelled, index: torch.Tensor) -> torch.Tensor:
        if 7 in index.tolist():
            raise OSError("the disk is gone")
        return self.pixels[self.rows[index]]

    monkeypatch.setattr(Labelled, "take", failing)
    batches = Streamed(data, CPU).batches(torch.arange(9), 3)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_nobody_reads_on_for_a_training_that_ended() -> None:
    batches = Streamed(images(100), CPU).batches(torch.arange(100), 1)
    next(batches)
    assert isinstance(batches, Iterator)
    batches.close()  # type: ignore[attr-defined]
    assert "reading-ahead" not in {thread.name for thread in threading.enumerate()}


def test_more_than_fits_on_a_gpu_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, gpu = images(10), Device("cuda:0", bf16=True, channels_last=True)
    made: list[str] = []

    class Noted:
        def __init__(self, data: Labelled, device: torch.device) -> None:
            made.append(f"resident on {device}")

    monkeypatch.setattr(feeding, "Resident", Noted)
    for free, expected in ((51, "resident on cuda:0"), (49, "streamed")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 1000))
        if isinstance(feed(data, gpu), Streamed):
            made.append("streamed")
        assert made.pop() == expected


def test_a_cpu_takes_images_from_where_they_are() -> None:
    data = images(10)
    assert isinstance(feed(data, Device("cpu", bf16=False, channels_last=True)), Resident)
