"""Labelled images: taken and moved without copying what is mapped, however many there are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.folds import Fold, Labelled
from nas.preprocessing import Preprocessing

SIZE = 8


def test_all_of_some_images() -> None:
    pixels = torch.arange(3 * 64).to(torch.uint8).view(3, 1, 8, 8)
    whole = Labelled.of(pixels, torch.tensor([0, 1, 1]))
    assert whole.pixels is pixels
    assert torch.equal(whole.images, pixels)
    assert len(whole) == 3


def test_images_are_taken_by_their_position() -> None:
    pixels = torch.arange(6).to(torch.uint8).view(6, 1, 1, 1)
    part = Labelled(pixels, torch.tensor([5, 0, 3]), torch.tensor([1, 0, 1]))
    assert part.take(torch.tensor([2, 2, 0])).flatten().tolist() == [3, 3, 5]
    assert part.images.flatten().tolist() == [5, 0, 3]
    taken = part.take(torch.tensor([0]))
    taken[:] = 9  # a copy
    assert pixels.flatten().tolist() == list(range(6))


def test_moving_copies_these_images_alone() -> None:
    part = Labelled(
        torch.zeros(9, 1, SIZE, SIZE).byte(), torch.tensor([8, 3]), torch.tensor([0, 1])
    )
    assert part.to(torch.device("cpu")) is part
    moved = part.to(torch.device("meta"))
    assert {tensor.device.type for tensor in (moved.pixels, moved.rows, moved.labels)} == {"meta"}
    assert moved.pixels.shape == (2, 1, SIZE, SIZE)
    assert len(moved) == 2


def fold_of(labels: list[int], classes: tuple[str, ...]) -> Fold:
    train = Labelled.of(torch.zeros(len(labels), 1, SIZE, SIZE).byte(), torch.tensor(labels))
    validation = Labelled.of(torch.zeros(9, 1, SIZE, SIZE).byte(), torch.tensor([0] * 8 + [1]))
    return Fold(train, validation, classes, Preprocessing(SIZE, 1, (0.5,), (0.5,)))


def test_prior_and_class_weights_are_of_the_frequencies_in_train() -> None:
    fold = fold_of([0] * 30 + [1] * 10, ("A", "B"))
    for values, expected in ((fold.prior(), [0.75, 0.25]), (fold.class_weights(), [40 / 60, 2])):
        assert values.dtype == torch.float32
        assert values.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(5, 5), (1, 99), (7, 2, 3), (1, 2, 3, 4)])
def test_class_weights_are_1_on_average_over_images(counts: tuple[int, ...]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    fold = fold_of(labels, tuple("ABCD"[: len(counts)]))
    weights = fold.class_weights()
    assert weights.shape == (len(counts),)
    assert fold.prior().sum().item() == pytest.approx(1)
    assert weights[fold.train.labels].mean().item() == pytest.approx(1.0)
    totals = [count * weight for count, weight in zip(counts, weights.tolist(), strict=True)]
    assert totals == pytest.approx([totals[0]] * len(counts))


# Memory

WORKER = """
import sys
from pathlib import Path

import numpy as np
import torch

from nas.data.cache import Form, Images
from nas.data.folds import Division, make_fold
from nas.devices import Device
from nas.judging import judged

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

count, size = 100_000, 224
names, held = np.array([f"{i}.png" for i in range(count)]), np.arange(count) % 10 == 0
images = Images(
    form=Form(size, 1), mapped=np.load(sys.argv[1], mmap_mode="c"), rows=np.arange(count),
    labels=np.arange(count) % 2, groups=names, domains=np.full(count, ""), paths=names,
    splits=np.full(count, "train"), sha256=np.full(count, "0" * 64), skipped=(), checksum="",
)
network = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(16, 2))
network(torch.zeros(64, 1, size, size)).sum().backward()
before = most = private()
fold = make_fold(images, ("A", "B"), Division("x", held, held & ~held))
train = fold.train.to(torch.device("cpu"))
generator = torch.Generator().manual_seed(0)
for _ in range(16):
    batch = train.take(torch.randint(len(train), (64,), generator=generator))
    most = max(most, private())
device = Device("cpu", bf16=False, channels_last=False)
judged(network, fold.validation, torch.arange(500), fold.preprocessing, device)
print(max(most, private()) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="there is no /proc here")
@pytest.mark.slow
def test_a_worker_holds_batches_and_not_the_data(tmp_path: Path) -> None:
    """100,000 images of 224 × 224 pixels have 5 GB; zeros that were never written take no disk."""
    shape = (100_000, 1, 224, 224)
    mapped = np.lib.format.open_memmap(
        tmp_path / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape
    )
    mapped[1] = 255  # for a deviation
    mapped.flush()
    command = [sys.executable, "-c", WORKER, str(tmp_path / "pixels.npy")]
    # Large pieces of memory go back at once: what glibc keeps for later differs from run to run.
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=settings)
    (tmp_path / "pixels.npy").unlink()
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200  # megabytes
