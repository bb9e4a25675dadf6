"""Images decoded once, at one size, into a uint8 array that later runs map into memory."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data.sources import Source
from nas.errors import DataError, ImageError
from nas.files import atomic_folder, write_json
from nas.images import Pixels, decode

CACHE_VERSION = "1"
"""To be raised when the decoder gives other pixels for the same file."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """Decoded images of some splits.

    Attributes:
        pixels: (N, channels, size, size) uint8, mapped from the cache, read-only.
        labels: (N,) int64.
        patients: (N,) names.
        paths: (N,) relative to the source's root.
        splits: (N,) train, val or test.
        skipped: (path, reason) of files that could not be decoded.
        checksum: of every file's content, path and label; another data set has another one.
    """

    pixels: Pixels
    labels: npt.NDArray[np.int64]
    patients: npt.NDArray[np.str_]
    paths: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    skipped: tuple[tuple[str, str], ...]
    checksum: str


def load_images(
    source: Source,
    splits: Sequence[str],
    *,
    size: int,
    channels: int,
    cache: Path,
    report: Report | None = None,
) -> Images:
    """Images of the given splits, from the cache or decoded into it.

    The cache is found by every file's path, size and time of change, so that nothing is read
    twice; the checksum is of contents, so that a copied folder is the same data.

    Raises:
        DataError: no image of some class can be decoded, or the cache cannot be written.
    """
    table = source.table[source.table["split"].isin(list(splits))]
    paths = [str(path) for path in table["path"]]
    folder = cache / f"images-{_key(source.root, paths, size, channels)}"
    if not (folder / "meta.json").is_file():
        try:
            _build(folder, source.root, paths, size, channels, report)
        except OSError as error:
            raise DataError(
                f"decoded images are kept in {cache}, but writing there failed "
                f"({error.strerror or error}); free space or give another --runs folder"
            ) from None
    meta = json.loads((folder / "meta.json").read_text())
    rows = np.array([index for index, digest in enumerate(meta["sha256"]) if digest], dtype=int)
    kept = table.iloc[rows]
    pixels: Pixels = np.load(folder / "pixels.npy", mmap_mode="r")[: len(rows)]
    labels = kept["label"].to_numpy(dtype=np.int64)
    for label, name in enumerate(source.classes):
        if not (labels == label).any():
            own = set(table["path"][table["label"] == label])
            reason = next((reason for path, reason in meta["skipped"] if path in own), "no file")
            raise DataError(
                f"every class must have readable images, but none of {name}'s could be decoded "
                f"in {source.root}; the first failed with: {reason}"
            )
    return Images(
        pixels=pixels,
        labels=labels,
        patients=kept["patient"].to_numpy(dtype=np.str_),
        paths=kept["path"].to_numpy(dtype=np.str_),
        splits=kept["split"].to_numpy(dtype=np.str_),
        skipped=tuple((path, reason) for path, reason in meta["skipped"]),
        checksum=_checksum(table["path"], table["label"], meta["sha256"]),
    )


def _key(root: Path, paths: list[str], size: int, channels: int) -> str:
    digest = hashlib.sha256(f"{CACHE_VERSION} {size} {channels}\n".encode())
    for path in paths:
        try:
            status = (root / path).stat()
        except OSError:  # gone since the folder was read: decoding will say so
            digest.update(f"{path}\0gone\n".encode())
        else:
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _checksum(paths: Any, labels: Any, digests: list[str | None]) -> str:
    digest = hashlib.sha256()
    for path, label, content in zip(paths, labels, digests, strict=True):
        digest.update(f"{path}\0{label}\0{content}\n".encode())
    return digest.hexdigest()


def _build(
    folder: Path, root: Path, paths: list[str], size: int, channels: int, report: Report | None
) -> None:
    with atomic_folder(folder, (folder / "meta.json").is_file) as part:
        shape = (len(paths), channels, size, size)
        # Room for all; rows of broken files are closed up, so the file may end in unused rows.
        pixels = np.lib.format.open_memmap(
            part / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        digests: list[str | None] = []
        skipped: list[tuple[str, str]] = []
        for done, (path, result) in enumerate(_decoded(root, paths, size, channels), start=1):
            if isinstance(result, str):
                digests.append(None)
                skipped.append((path, result))
            else:
                pixels[done - 1 - len(skipped)], digest = result
                digests.append(digest)
            if report is not None:
                report(done, len(paths))
        pixels.flush()
        del pixels
        write_json(part / "meta.json", {"sha256": digests, "skipped": skipped})


def _decoded(
    root: Path, paths: list[str], size: int, channels: int
) -> Iterator[tuple[str, tuple[Pixels, str] | str]]:
    """(path, pixels and SHA-256) or (path, reason), in order, decoded by threads."""

    def one(path: str) -> tuple[Pixels, str] | str:
        try:
            data = (root / path).read_bytes()
            return decode(data, size=size, channels=channels), hashlib.sha256(data).hexdigest()
        except ImageError as error:
            return str(error)
        except OSError as error:
            return f"the file could not be read ({error.strerror or error}); check it"

    # Pillow releases the interpreter's lock while it decodes, so threads are enough. Blocks bound
    # what waits in memory.
    remaining = iter(paths)
    with ThreadPoolExecutor() as pool:
        while block := list(islice(remaining, 512)):
            yield from zip(block, pool.map(one, block), strict=True)
