"""A .npz file -> plain .npy files, which can be mapped.

A file is never trusted: nothing is unpickled, no array is made before its header was looked at,
and no more is written than the headers declare.
"""

import hashlib
import io
import math
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.arrays import REMEDY, folder_for, is_unpacked, misfit, open_arrays, refuse
from nas.data.table import SPLITS, Source
from nas.errors import DataError
from nas.files import CHUNK_BYTES, atomic_folder

MAX_BYTES = 200_000_000_000
"""Unpacked. The largest MedMNIST file, pathmnist at 224, has 16 GB; deflate packs zeros 1000:1."""

HEAD_BYTES = 1 << 16
"""What is read to find a header, which NumPy itself takes up to 10,000 characters of."""


def read_npz(
    path: Path,
    cache: Path,
    *,
    name: str | None = None,
    classes: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    licence: str | None = None,
) -> Source:
    """The images of a .npz file with the members of MedMNIST's.

    Args:
        path: has train_images and train_labels; val_ and test_ are optional. Images are uint8
            (N, H, W) or (N, H, W, 1 or 3), labels whole numbers (N,) or (N, 1).
        cache: where the members are unpacked, once.
        name: None takes the file's.
        classes: their names, by label; None takes the labels found in any split, in order.
        notes: precede those on how the arrays were read.
        licence: of the images.

    Raises:
        DataError: anything else than that in the file, a class without images in train, or a
            cache that cannot be written.
    """
    return open_arrays(
        unpack(path, cache),
        origin=str(path),
        name=name or path.stem,
        spec=str(path.resolve()),
        classes=classes,
        notes=notes,
        licence=licence,
    )


def unpack(path: Path, cache: Path, *, md5: str | None = None, columns: int = 1) -> Path:
    """The folder in which a .npz file's arrays lie as plain .npy files; made once.

    The folder is found by the file's path, size and time of change, so that the file is read once
    only. Its MD5 is part of that: a folder made without checking is not taken for a checked one.
    Who changes a file and sets its time back gets the arrays from before.

    Args:
        path: see ``read_npz``.
        cache: where the folder is made.
        md5: what the whole file's must be; None checks nothing.
        columns: of the labels; with 1 they may be (N,).

    Raises:
        DataError: see ``read_npz``; or another MD5.
    """
    try:
        if not path.is_file():  # nor a pipe, which opening would wait for
            refuse(path, "the data must be a .npz file", "there is none", "check the path")
        status = path.stat()
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {columns}"
        folder = folder_for(cache, key, md5 or "")
        if is_unpacked(folder):
            return folder
        with path.open("rb") as file:
            if md5 is not None:
                _check_md5(file, md5, path)
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, path, columns)
                _check_room(members, cache, path)
                with atomic_folder(folder, lambda: is_unpacked(folder)) as part:
                    for member in members:
                        _copy(archive, member, part / f"{member.name}.npy")
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        rule = f"the file must be readable, and its arrays are kept in {cache}"
        refuse(path, rule, f"that failed ({reason})", "check both, and free space")
    except Exception as error:  # noqa: BLE001 - parsers fed with hostile bytes raise all kinds
        reason = f"reading it failed ({' '.join(str(error).split())[:100] or type(error).__name__})"
        refuse(path, "the file must be a whole .npz", reason, f"get it again, or {REMEDY}")
    return folder


@dataclass(frozen=True, slots=True)
class _Member:
    """An array in an archive, its header read: data begin after ``start`` bytes."""

    info: zipfile.ZipInfo
    start: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        return self.info.filename.removesuffix(".npy")

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _members(archive: zipfile.ZipFile, path: Path, columns: int) -> list[_Member]:
    """The arrays of every split that there is, checked as far as headers go."""
    there = set(archive.namelist())
    found: list[_Member] = []
    for split in SPLITS:
        names = [f"{split}_images.npy", f"{split}_labels.npy"]
        if split != "train" and not there.intersection(names):
            continue
        if missing := [name for name in names if name not in there]:
            rule = "every split must have images and labels, and train must be there"
            refuse(path, rule, f"{missing[0].removesuffix('.npy')} is missing", REMEDY)
        images, labels = (_look(archive, name) for name in names)
        if fault := misfit(split, images, labels, columns):
            raise DataError(f"{path}: {fault}; {REMEDY}")
        found += [images, labels]
    for member in found:
        if member.info.file_size != member.start + member.bytes:
            rule = f"{member.name} must have the {member.bytes:,} bytes that its header declares"
            value = f"it has {member.info.file_size - member.start:,}"
            refuse(path, rule, value, f"get the file again, or {REMEDY}")
    return found


def _look(archive: zipfile.ZipFile, name: str) -> _Member:
    info = archive.getinfo(name)
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        # NumPy writes no others, and zipfile unpacks those without any bound on memory.
        raise ValueError(f"{name} is compressed by method {info.compress_type}")
    with archive.open(info) as file:
        # From a copy: a header may say that it is four gigabytes long, and would be read.
        head = io.BytesIO(file.read(HEAD_BYTES))
    # Version 3 is for names of fields, which these arrays have none of.
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(head)
    else:
        raise ValueError(f"{name} is of version {version}")
    return _Member(info, head.tell(), shape, fortran, dtype)


def _check_room(members: list[_Member], cache: Path, path: Path) -> None:
    needed = sum(member.bytes for member in members)
    if needed > MAX_BYTES:
        rule = f"arrays must have at most {MAX_BYTES / 1e9:,.0f} GB unpacked"
        refuse(path, rule, f"these have {needed / 1e9:,.1f} GB", "use smaller images")
    cache.mkdir(parents=True, exist_ok=True)
    if needed > (free := shutil.disk_usage(cache).free):
        rule = f"the arrays are unpacked into {cache} and need {needed / 1e9:,.1f} GB"
        refuse(path, rule, f"{free / 1e9:,.1f} GB are free there", "free space, or move the cache")


def _copy(archive: zipfile.ZipFile, member: _Member, target: Path) -> None:
    """Write the array with a header of our own; the checksum is compared at its last byte."""
    with archive.open(member.info) as source, target.open("xb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(member.dtype),
            "fortran_order": member.fortran,
            "shape": member.shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        source.read(member.start)
        left = member.bytes
        while left:
            if not (chunk := source.read(min(left, CHUNK_BYTES))):
                raise EOFError(f"{member.name} ends early")
            left -= len(chunk)
            file.write(chunk)


def _check_md5(file: io.BufferedReader, md5: str, path: Path) -> None:
    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        rule = f"the file's MD5 must be {md5}, as published"
        remedy = "nothing was deleted: move it away, and it is downloaded again"
        refuse(path, rule, f"is {found}", remedy)
