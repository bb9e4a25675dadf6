import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from nas.data import torchvision_sets
from nas.data.torchvision_sets import open_torchvision
from nas.errors import DataError, SettingsError
from nas.images import decode
from tests.nas.data.arraysets import (
    Parts,
    idx,
    noise,
    parts,
    publish_cifar10,
    write_cifar10,
    write_idx,
    write_idx_gz,
)

NAMES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
DIGITS = parts({"train": 20, "test": 10}, (28, 28), classes=10)
COLOURED = parts({"train": 20, "test": 10}, (32, 32, 3), classes=10)


@pytest.fixture(autouse=True)
def _no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every site is a port of the loopback where nobody listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for kind in (MNIST, FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:1/"])
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:1/cifar-10-python.tar.gz")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "sets"
    publish_cifar10(monkeypatch, write_cifar10(root, COLOURED, NAMES))
    return root


def check_images(source: Any, given: Parts, channels: int) -> None:
    images = np.concatenate([part for part, _ in given.values()])
    labels = np.concatenate([part for _, part in given.values()]).ravel()
    assert source.table["label"].tolist() == labels.tolist()
    assert source.table["split"].tolist() == ["train"] * 20 + ["test"] * 10
    for path, image in zip(source.table["path"], images, strict=True):
        got = decode(source.store.read(path), size=len(image), channels=channels)
        np.testing.assert_array_equal(got.transpose(1, 2, 0).reshape(image.shape), image)


# What is read


@pytest.mark.parametrize(
    ("name", "kind", "first", "licence"),
    [
        ("mnist", "MNIST", "0 - zero", "CC BY-SA 3.0"),
        ("fashion-mnist", "FashionMNIST", "T-shirt/top", "MIT"),
    ],
)
def test_mnist(name: str, kind: str, first: str, licence: str, cache: Path, tmp_path: Path) -> None:
    write_idx(tmp_path / "sets", DIGITS, kind)
    source = open_torchvision(name, Path("sets"), cache)
    check_images(source, DIGITS, 1)
    assert (source.name, source.spec) == (name, f"{name}:{tmp_path / 'sets'}")
    assert (len(source.classes), source.classes[0]) == (10, first)
    assert source.licence == licence
    assert source.published
    assert "30 of 30 images have no patient" in source.notes[0]


def test_cifar10(cifar: Path, cache: Path) -> None:
    source = open_torchvision("cifar10", cifar, cache)
    check_images(source, COLOURED, 3)
    assert source.classes == tuple(NAMES)
    assert source.spec == f"cifar10:{cifar}"
    assert source.licence is None


def test_the_default_root(cache: Path, tmp_path: Path) -> None:
    write_idx(tmp_path / "data" / "torchvision", DIGITS)
    source = open_torchvision("mnist", None, cache)
    assert source.spec == f"mnist:{tmp_path / 'data' / 'torchvision'}"


def test_archives_that_lie_there_are_unpacked(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision downloads only what is not there with the right MD5."""
    digests = write_idx_gz(tmp_path / "sets", DIGITS)
    monkeypatch.setattr(MNIST, "resources", [(name, digests[name]) for name, _ in MNIST.resources])
    check_images(open_torchvision("mnist", tmp_path / "sets", cache), DIGITS, 1)


def test_a_set_is_read_once(cifar: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_torchvision("cifar10", cifar, cache)
    monkeypatch.setattr(CIFAR10, "__init__", None)
    again = open_torchvision("cifar10", cifar, cache)
    assert again.table.equals(first.table)
    assert again.classes == first.classes
    assert len(list(cache.iterdir())) == 1


def test_other_files_are_another_set(cache: Path, tmp_path: Path) -> None:
    root = write_idx(tmp_path / "sets", DIGITS)
    before = open_torchvision("mnist", root, cache).store.stamp("test/000000")
    labels = np.arange(12) % 10
    (root / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(idx(noise(12, 28, 28)))
    (root / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    source = open_torchvision("mnist", root, cache)
    assert source.store.stamp("test/000000") != before
    assert len(source.table) == 32


# What is refused


def test_an_unknown_set(cache: Path) -> None:
    with pytest.raises(SettingsError, match="mnist, fashion-mnist, cifar10, but is 'svhn'"):
        open_torchvision("svhn", None, cache)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_no_files_and_no_network(name: str, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="downloading them failed") as caught:
        open_torchvision(name, tmp_path / "sets", cache)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "sets") in message
    assert "refused" in message
    assert not cache.exists()


def test_a_root_that_cannot_be_made(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").touch()
    with pytest.raises(DataError, match="sets"):
        open_torchvision("mnist", tmp_path / "sets", cache)


HUGE = bytes([0, 0, 8, 3]) + b"\x7f\xff\xff\xff" * 3


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train-images-idx3-ubyte", b"", "failed"),
        ("train-images-idx3-ubyte", b"<html>not found</html>", "failed"),
        ("train-images-idx3-ubyte", HUGE + b"0", "failed"),
        ("train-images-idx3-ubyte", idx(noise(20, 28, 28))[:-1], "failed"),
        ("train-images-idx3-ubyte", idx(noise(20, 28)), "3 dimension"),
        ("train-images-idx3-ubyte", idx(noise(19, 28, 28)), "19 images need 1 label each"),
        ("t10k-images-idx3-ubyte", bytes([0, 0, 13, 3]) + idx(noise(10, 28, 28))[4:], "failed"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(9)), "10 images need"),
        ("train-labels-idx1-ubyte", idx(np.arange(20) % 9), "9 - nine has none"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(1, 11)), "10 is among them"),
    ],
)
def test_broken_mnist(file: str, content: bytes, words: str, cache: Path, tmp_path: Path) -> None:
    root = write_idx(tmp_path / "sets", DIGITS)
    (root / "MNIST" / "raw" / file).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        open_torchvision("mnist", root, cache)
    assert str(root) in str(caught.value)
    assert not list(cache.glob(".*"))


def test_a_file_that_would_fill_the_memory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_idx(tmp_path / "sets", DIGITS)
    monkeypatch.setattr(torchvision_sets, "MAX_FILE_BYTES", 10_000)
    with pytest.raises(DataError, match="at most 10,000 bytes, but this one has 15,696"):
        open_torchvision("mnist", root, cache)


def test_mnist_of_an_old_torchvision(cache: Path, tmp_path: Path) -> None:
    root = write_idx(tmp_path / "sets", DIGITS)
    (root / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1), torch.zeros(1)), root / "MNIST" / "processed" / name)
    with pytest.raises(DataError, match="move that folder away"):
        open_torchvision("mnist", root, cache)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_pickles_of_another_md5_are_not_opened(file: str, cifar: Path, cache: Path) -> None:
    (cifar / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"corrupted.*move its folder away"):
        open_torchvision("cifar10", cifar, cache)
    assert not Path("exploded").exists()
    assert not cache.exists()


def test_unpacked_arrays_that_were_damaged(cache: Path, cifar: Path) -> None:
    open_torchvision("cifar10", cifar, cache)
    (folder,) = cache.iterdir()
    (folder / "classes.npy").write_bytes(b"?")
    with pytest.raises(DataError, match="delete the folder"):
        open_torchvision("cifar10", cifar, cache)


def test_a_cache_that_cannot_be_written(cifar: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(DataError, match="taken, but writing there failed"):
        open_torchvision("cifar10", cifar, tmp_path / "taken")
