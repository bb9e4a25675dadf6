"""MNIST, Fashion-MNIST and CIFAR-10 as torchvision reads and downloads them.

CIFAR-10's files are pickles: torchvision opens them only when their published MD5 fits. MNIST's
are plain numbers, which can be wrong but cannot do anything; torchvision checks the MD5 of what it
downloads, not of what lies there already, and the archives are not always kept to compare with.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.arrays import folder_for, is_unpacked, load_array, misfit, open_arrays
from nas.data.table import Source
from nas.errors import DataError, SettingsError
from nas.files import atomic_folder
from nas.waiting import socket_timeout

DEFAULT_ROOT = Path("data/torchvision")

TIMEOUT_S = 20.0
"""Of connecting, and of every read: a host that says nothing for longer is given up."""

MAX_FILE_BYTES = 1 << 30
"""torchvision reads whole files into memory; the largest of these has 47 MB."""


@dataclass(frozen=True, slots=True)
class _Set:
    """A torchvision class by name, and the licence where the authors or Keras state one."""

    kind: str
    licence: str | None


SETS = {
    "mnist": _Set("MNIST", "CC BY-SA 3.0"),
    "fashion-mnist": _Set("FashionMNIST", "MIT"),
    "cifar10": _Set("CIFAR10", None),
}


def open_torchvision(name: str, root: Path | None, cache: Path) -> Source:
    """A set of torchvision's, downloaded first where a file of it is missing.

    Args:
        name: mnist, fashion-mnist or cifar10.
        root: torchvision's own; None takes data/torchvision.
        cache: where the arrays are kept, once; found by the files' sizes and times of change.

    Raises:
        SettingsError: no such set.
        DataError: the files cannot be had, or are not what torchvision reads.
    """
    if name not in SETS:
        raise SettingsError(
            f"a set of torchvision's must be one of {', '.join(SETS)}, but is {name!r}; "
            "choose one of them"
        )
    from torchvision import datasets

    kind = getattr(datasets, SETS[name].kind)
    # As torchvision does with a root; Path's own raises where there is no home.
    root = Path(os.path.expanduser(root or DEFAULT_ROOT)).resolve()  # noqa: PTH111
    files = _files(kind, root)
    if not all(map(os.path.isfile, files)):
        _download(name, kind, root)
    folder = folder_for(cache, name, *(_state(file, name) for file in files))
    if not is_unpacked(folder):
        _write(folder, name, kind, root)
    classes = load_array(folder / "classes.npy").tolist()
    return open_arrays(
        folder,
        origin=str(root),
        name=name,
        spec=f"{name}:{root}",
        classes=tuple(classes),
        licence=SETS[name].licence,
        published=True,
    )


def _files(kind: Any, root: Path) -> list[Path]:
    """What torchvision reads, not what it downloads."""
    if hasattr(kind, "base_folder"):
        names = [file for file, _ in kind.train_list + kind.test_list] + [kind.meta["filename"]]
        return [root / kind.base_folder / file for file in names]
    own = root / kind.__name__
    legacy = [own / "processed" / file for file in (kind.training_file, kind.test_file)]
    if all(map(os.path.isfile, legacy)):
        # These would be read in place of raw/, whatever is in them.
        raise DataError(
            f"{kind.__name__} is read from {own / 'raw'}, but torchvision would take "
            f"{own / 'processed'}, the form from before 2021; move that folder away"
        )
    return [own / "raw" / Path(file).stem for file, _ in kind.resources]


def _state(file: Path, name: str) -> str:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(
            f"{name} needs {file}, but it cannot be read ({error.strerror or error}); "
            "check the folder"
        ) from None
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(
            f"{file}: files of {name} must have at most {MAX_FILE_BYTES:,} bytes, but this one has "
            f"{status.st_size:,}; move it away, and it is downloaded again"
        )
    return f"{file} {status.st_size} {status.st_mtime_ns}"


def _download(name: str, kind: Any, root: Path) -> None:
    try:
        with socket_timeout(TIMEOUT_S), _old_pickles():
            kind(str(root), train=False, download=True)
    except Exception as error:  # noqa: BLE001 - sockets, archives and parsers raise all kinds
        raise DataError(
            f"{name} needs its files in {root}, but they are not all there and downloading them "
            f"failed ({_reason(error)}); run once with a network, or give {name}:ROOT, where "
            f"torchvision's {kind.__name__} lies"
        ) from None


def _write(folder: Path, name: str, kind: Any, root: Path) -> None:
    """Put the arrays and the class names into the cache."""
    parts: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
    classes: Sequence[str] = ()
    try:
        with _old_pickles():
            for split in ("train", "test"):
                read = kind(str(root), train=split == "train", download=False)
                parts[split] = np.ascontiguousarray(read.data), np.asarray(read.targets)
                classes = [str(one) for one in read.classes]
        faults = [misfit(split, *arrays) for split, arrays in parts.items()]
        if fault := next(filter(None, faults), None):
            raise ValueError(fault)
    except Exception as error:  # noqa: BLE001 - as above
        raise DataError(
            f"{root}: {name} must be as torchvision's {kind.__name__} reads it, but that failed "
            f"({_reason(error)}); move its folder away, and it is downloaded again"
        ) from None
    try:
        with atomic_folder(folder, lambda: is_unpacked(folder)) as part:
            for split, (images, labels) in parts.items():
                np.save(part / f"{split}_images.npy", images, allow_pickle=False)
                np.save(part / f"{split}_labels.npy", labels, allow_pickle=False)
            np.save(part / "classes.npy", np.array(classes, dtype=np.str_), allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"arrays of {name} are kept in {folder.parent}, but writing there failed "
            f"({error.strerror or error}); free space, or give another folder"
        ) from None


def _reason(error: Exception) -> str:
    """In one line; torchvision's own have several."""
    text = " ".join(str(getattr(error, "reason", None) or error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


@contextmanager
def _old_pickles() -> Iterator[None]:
    """Hide what NumPy 2.4.0 to 2.4.4 say of how CIFAR-10 was pickled, which nobody can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align")
        yield
