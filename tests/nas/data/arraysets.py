"""Small data sets in the formats that the real ones come in."""

import gzip
import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from torchvision.datasets import CIFAR10

from nas.images import Pixels

Array = npt.NDArray[Any]
COUNTS = {"train": 6, "val": 100, "test": 4}

Parts = dict[str, tuple[Pixels, Array]]


def noise(count: int, *shape: int, seed: int = 0) -> Pixels:
    """(count, *shape) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def parts(counts: Mapping[str, int], shape: tuple[int, ...] = (5, 7), classes: int = 2) -> Parts:
    """Images of each split, and labels (N, 1) as MedMNIST has them: 0, 1, ..., 0, 1, ..."""
    return {
        split: (noise(count, *shape, seed=count), np.arange(count)[:, None] % classes)
        for split, count in counts.items()
    }


def members(given: Parts) -> dict[str, Array]:
    """By the names that they have in a .npz."""
    named = {f"{split}_images": images for split, (images, _) in given.items()}
    return named | {f"{split}_labels": labels for split, (_, labels) in given.items()}


def write_npz(path: Path, given: Parts) -> Path:
    """As medmnist's are: deflated. Returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **members(given))  # type: ignore[arg-type]
    return path


def npy(array: Array) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_claiming(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """A .npy file with any header at all."""
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


def header(dtype: str, shape: tuple[int, ...]) -> str:
    return repr({"descr": dtype, "fortran_order": False, "shape": shape})


def write_zip(
    path: Path, given: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED
) -> Path:
    """An archive of any bytes under the names of arrays. Returns ``path``."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in given.items():
            archive.writestr(f"{name}.npy", data)
    return path


def idx(array: Array) -> bytes:
    """MNIST's format: two zeros, 8 for uint8, the number of sides, the sides, the data."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.astype(np.uint8).tobytes()


def idx_files(given: Parts) -> dict[str, bytes]:
    """MNIST's four files by name."""
    found: dict[str, bytes] = {}
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = given[split]
        found[f"{name}-images-idx3-ubyte"] = idx(images)
        found[f"{name}-labels-idx1-ubyte"] = idx(labels.ravel())
    return found


def write_idx(root: Path, given: Parts, kind: str = "MNIST") -> Path:
    """Unpacked, as torchvision leaves them. Returns ``root``."""
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    for name, data in idx_files(given).items():
        (folder / name).write_bytes(data)
    return root


def write_idx_gz(root: Path, given: Parts, kind: str = "MNIST") -> dict[str, str]:
    """Packed, as they are published. Returns the MD5 of each file."""
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    packed = {f"{name}.gz": gzip.compress(data) for name, data in idx_files(given).items()}
    for name, data in packed.items():
        (folder / name).write_bytes(data)
    return {name: md5(data) for name, data in packed.items()}


class _Pickled2009:
    """A uint8 array pickled as NumPy did it under Python 2: flags of its type are 0 and 1."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = tuple(self.array.__reduce__())
        rebuild, arguments, state = reduced
        version, shape, _, fortran, data = state
        return rebuild, arguments, (version, shape, _Type2009(), fortran, data)


class _Type2009:
    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)


def write_cifar10(root: Path, given: Parts, names: list[str]) -> dict[str, str]:
    """cifar-10-batches-py of (N, 32, 32, 3) images. Returns the MD5 of each file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = given["train"]
    rows = [batch.tolist() for batch in np.array_split(np.arange(len(images)), 5)]
    batches = {f"data_batch_{i}": (images[r], labels[r]) for i, r in enumerate(rows, start=1)}
    entries: dict[str, dict[str, Any]] = {
        name: {
            "batch_label": name,
            "labels": [int(label) for label in own.ravel()],
            "data": _Pickled2009(planes.transpose(0, 3, 1, 2).reshape(len(planes), -1)),
            "filenames": [f"{i}.png" for i in range(len(planes))],
        }
        for name, (planes, own) in (batches | {"test_batch": given["test"]}).items()
    }
    entries["batches.meta"] = {"num_cases_per_batch": 1, "label_names": names, "num_vis": 3072}
    packed = {name: pickle.dumps(entry, protocol=2) for name, entry in entries.items()}
    for name, data in packed.items():
        (folder / name).write_bytes(data)
    return {name: md5(data) for name, data in packed.items()}


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def publish_cifar10(monkeypatch: pytest.MonkeyPatch, digests: dict[str, str]) -> None:
    """Make these MD5s the ones that torchvision wants of CIFAR-10's files."""
    for name in ("train_list", "test_list"):
        files = [[file, digests[file]] for file, _ in getattr(CIFAR10, name)]
        monkeypatch.setattr(CIFAR10, name, files)
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": digests["batches.meta"]})
