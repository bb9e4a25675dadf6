"""Labelled images that come as arrays, and lie as mapped .npy files.

A file is never trusted: nothing is unpickled, no array is made before its header was looked at,
and no more is written than the headers declare.
"""

import errno
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from nas.data.table import COLUMNS, SPLITS, Source, usable_validation, without_patients
from nas.errors import DataError
from nas.images import MAX_PIXELS, Pixels

ARRAYS_VERSION = "1"
"""To be raised when the same file unpacks to something else."""

MAX_IMAGES = 10_000_000
"""The table of this many takes about a gigabyte of memory."""

MAX_LABEL = 65_535
"""What is larger is a measurement or an identifier, not a class."""

REMEDY = "save it again with numpy.savez(path, train_images=…, train_labels=…, test_images=…, …)"

Labels = npt.NDArray[np.int64]


class ArrayStore:
    """Images of mapped arrays; a path is the split and the image's number, "train/000012"."""

    def __init__(self, folder: Path) -> None:
        """Map the images of each split.

        Args:
            folder: with train_images.npy, val_images.npy, test_images.npy or some of them; uint8
                (N, H, W), (N, H, W, 1) or (N, H, W, 3). Its name is part of every stamp.

        Raises:
            DataError: an array cannot be mapped.
        """
        files = {split: folder.resolve() / f"{split}_images.npy" for split in SPLITS}
        self._files = {split: file for split, file in files.items() if file.is_file()}
        self._images: dict[str, Pixels] = {
            split: load_array(file, mapped=True) for split, file in self._files.items()
        }

    def stamp(self, path: str) -> str:
        """Folder, size and time of change of the split's array."""
        try:
            file = self._files[path.partition("/")[0]]
            status = file.stat()
        except (KeyError, OSError):  # as for files: reading will say so
            return "gone"
        return f"{file.parent.name} {status.st_size} {status.st_mtime_ns}"

    def read(self, path: str) -> bytes:
        """The image as an uncompressed BMP file, which loses nothing and is made at once."""
        split, _, number = path.partition("/")
        images = self._images.get(split)
        # Of one image there is one path: no signs, spaces or further zeros.
        index = int(number) if number.isascii() and number.isdigit() and len(number) < 20 else -1
        if images is None or not 0 <= index < len(images) or path != path_of(split, index):
            raise FileNotFoundError(errno.ENOENT, "no such image in the arrays", path)
        image = np.array(images[index])
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image).save(file, "BMP")
        return file.getvalue()


def path_of(split: str, index: int) -> str:
    """Where the store finds an image."""
    return f"{split}/{index:06d}"


def open_arrays(
    folder: Path,
    *,
    origin: str,
    name: str,
    spec: str,
    classes: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    licence: str | None = None,
    published: bool = False,
    column: int = 0,
) -> Source:
    """The source over a folder of plain arrays, SPLIT_images.npy and SPLIT_labels.npy.

    Args:
        folder: as ``unpack`` makes it.
        origin: what the arrays are of, for messages.
        name, spec, notes, licence, published: of the source.
        classes: see ``read_npz``.
        column: of the labels, where they are (N, K).

    Raises:
        DataError: labels that are no classes, a class without images in train, damaged arrays.
    """
    files = {split: folder / f"{split}_labels.npy" for split in SPLITS}
    labels = {
        split: _labels(load_array(file), column, origin)
        for split, file in files.items()
        if split == "train" or file.is_file()
    }
    numbers = np.unique(np.concatenate(list(labels.values())))
    if classes is None:
        classes = tuple(str(number) for number in numbers)
        labels = {split: np.searchsorted(numbers, own) for split, own in labels.items()}
    elif numbers[-1] >= len(classes):
        rule = f"labels must be from 0 to {len(classes) - 1}, for {', '.join(classes)}"
        refuse(origin, rule, f"{numbers[-1]} is among them", "check the file")
    if len(classes) < 2:
        rule = "images must be of at least two classes"
        refuse(origin, rule, f"every label is {classes[0]}", "add images of another class")
    present = set(labels["train"].tolist())
    if absent := [one for label, one in enumerate(classes) if label not in present]:
        rule = "every class must have images in the train split"
        refuse(origin, rule, f"{absent[0]} has none", "add some, or leave the class out")
    table, joined = usable_validation(_table(labels))
    table, unknown = without_patients(table)
    source = Source(name, spec, ArrayStore(folder), classes, table)
    return replace(source, notes=(*notes, *joined, *unknown), licence=licence, published=published)


def _labels(array: npt.NDArray[Any], column: int, origin: str) -> Labels:
    """(N,) of an array (N,) or (N, K) of whole numbers."""
    labels = array[:, column] if array.ndim == 2 else array
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > MAX_LABEL:
        rule, value = f"labels must be from 0 to {MAX_LABEL:,}", low if low < 0 else high
        refuse(origin, rule, f"{value} is among them", "number the classes from 0")
    return labels.astype(np.int64)


def _table(labels: dict[str, Labels]) -> pd.DataFrame:
    parts = []
    for split, own in labels.items():
        paths = [path_of(split, index) for index in range(len(own))]
        parts.append({"path": paths, "label": own, "patient": "", "domain": "", "split": split})
    frames = [pd.DataFrame(part, columns=list(COLUMNS)) for part in parts]
    return pd.concat(frames, ignore_index=True)


def load_array(file: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """An array that was unpacked; raises DataError where it is damaged."""
    mode: Literal["r"] | None = "r" if mapped else None
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        rule, value = "unpacked arrays must be whole", f"this one cannot be read ({error})"
        refuse(file, rule, value, "delete the folder that it is in, and it is made again")
    return array


def folder_for(cache: Path, *parts: str) -> Path:
    """Where the arrays of what ``parts`` identify are kept."""
    digest = hashlib.sha256("\n".join((ARRAYS_VERSION, *parts)).encode(errors="surrogateescape"))
    return cache / f"arrays-{digest.hexdigest()[:16]}"


def is_unpacked(folder: Path) -> bool:
    """Whether the arrays are there; they take their place all at once."""
    return (folder / "train_images.npy").is_file()


class Form(Protocol):
    """What is known of an array before it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102


def misfit(split: str, images: Form, labels: Form, columns: int = 1) -> str | None:
    """The rule that the arrays of a split break, and by what; or None."""
    shape, count = images.shape, images.shape[0] if images.shape else 0
    for name, array in (("images", images), ("labels", labels)):
        if array.dtype.hasobject:
            return f"arrays must be of numbers, but {split}_{name} has pickled objects"
    if images.dtype != np.uint8:
        return f"images must be uint8, but {split}_images is {images.dtype}"
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] in {1, 3}):
        return f"images must be (N, H, W) or (N, H, W, 1 or 3), but {split}_images is {shape}"
    if not 1 <= count <= MAX_IMAGES or min(shape) < 1 or shape[1] * shape[2] > MAX_PIXELS:
        return (
            f"a split must have 1 to {MAX_IMAGES:,} images of 1 to {MAX_PIXELS:,} pixels, "
            f"but {split}_images is {shape}"
        )
    if labels.dtype.kind not in "biu":
        return f"labels must be whole numbers, but {split}_labels is {labels.dtype}"
    if labels.shape != (count, columns) and (columns, labels.shape) != (1, (count,)):
        return (
            f"{count} images need {columns} label{'s' * (columns > 1)} each, ({count}, {columns}), "
            f"but {split}_labels is {labels.shape}"
        )
    return None


def refuse(origin: Path | str, rule: str, value: str, remedy: str) -> NoReturn:
    """Raise DataError in one sentence."""
    raise DataError(f"{origin}: {rule}, but {value}; {remedy}")
