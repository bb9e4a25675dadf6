"""Images decoded once, in one form, into a uint8 array that later runs map into memory.

Two steps, each kept: the SHA-256 of every file (found again by the files' size and time of change),
and the pixels (found again by those contents and the form). So a folder that was copied or touched
is hashed again, which is quick, and not decoded again.

The pixels of all splits lie in one file, since only then can duplicates between splits be found.
What is given out are rows: those of the splits that were asked for.
"""

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nas.data.table import Source
from nas.errors import DataError, ImageError
from nas.files import atomic_folder, write_json
from nas.images import Pixels, Resize, decode

CACHE_VERSION = "2"
"""To be raised when the decoder gives other pixels for the same file."""

PART, PARTS_WAITING = 16, 32
"""Images that a thread takes at a time; and how many such parts wait in memory for the one that
writes."""

NAMES = "surrogateescape"
"""How file names are encoded that are not UTF-8: as the system has them."""

Report = Callable[[int, int], None]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Form:
    """What images are decoded to; see nas.images.decode."""

    size: int
    channels: int
    resize: Resize = Resize.SQUASH


@dataclass(frozen=True)
class Digests:
    """What files contain, without decoding them.

    Attributes:
        sha256: of every row of the source's table; None where the file cannot be read.
        sizes: (N,) int64, bytes; 0 where it cannot be read.
        failures: row -> why it cannot be read.
    """

    sha256: tuple[str | None, ...]
    sizes: npt.NDArray[np.int64]
    failures: dict[int, str]


@dataclass(frozen=True)
class Decoded:
    """Every readable image of a source in one form.

    Attributes:
        pixels: (M, channels, size, size) uint8, mapped from the cache; writing to it changes a
            private copy of the page and never the file.
        places: (N,) int64: where in ``pixels`` a row of the source's table is; -1 if unreadable.
        failures: row -> why it could not be decoded.
        digests: of the files, as they were looked up to find the pixels.
    """

    pixels: Pixels
    places: npt.NDArray[np.int64]
    failures: dict[int, str]
    digests: Digests


@dataclass(frozen=True)
class Images:
    """Decoded images of some splits.

    Attributes:
        form: what they were decoded to.
        mapped: (M, channels, size, size) uint8 with M >= N: all images of the source.
        rows: (N,) int64 into ``mapped``: these images.
        labels: (N,) int64.
        groups: (N,) names of what belongs on one side of a division: patients, joined where they
            share an image.
        domains: (N,) names, "" where unknown.
        paths: (N,) as in the source's table.
        splits: (N,) train, val or test.
        sha256: (N,) of the files.
        skipped: (path, reason) of files of these splits that could not be decoded.
        checksum: of every file's content, path and label; another data set has another one.
    """

    form: Form
    mapped: Pixels
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    domains: npt.NDArray[np.str_]
    paths: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    sha256: npt.NDArray[np.str_]
    skipped: tuple[tuple[str, str], ...]
    checksum: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pixels(self) -> Pixels:
        """(N, channels, size, size) uint8, a copy."""
        return self.mapped[self.rows]


def load_images(
    source: Source,
    splits: Sequence[str],
    *,
    size: int,
    channels: int,
    cache: Path,
    resize: Resize = Resize.SQUASH,
    report: Report | None = None,
) -> Images:
    """Images of the given splits, from the cache or decoded into it.

    Raises:
        DataError: no image of some class can be decoded, or the cache cannot be written.
    """
    form = Form(size, channels, resize)
    decoded = decode_all(source, form, cache, report)
    digests = decoded.digests
    wanted = source.table["split"].isin(list(splits)).to_numpy()
    found = wanted & (decoded.places >= 0)
    kept = source.table[found]
    labels = kept["label"].to_numpy(dtype=np.int64)
    paths = source.table["path"].tolist()
    skipped = [(row, why) for row, why in sorted(decoded.failures.items()) if wanted[row]]
    for label, name in enumerate(source.classes):
        if not (labels == label).any():
            own = set((source.table["label"] == label).to_numpy().nonzero()[0].tolist())
            reason = next((why for row, why in skipped if row in own), "no file")
            raise DataError(
                f"every class must have readable images, but none of {name}'s could be decoded "
                f"in {source.spec}; the first failed with: {reason}"
            )
    return Images(
        form=form,
        mapped=decoded.pixels,
        rows=decoded.places[found],
        labels=labels.copy(),
        groups=source.groups[found].to_numpy(dtype=np.str_),
        domains=kept["domain"].to_numpy(dtype=np.str_),
        paths=kept["path"].to_numpy(dtype=np.str_),
        splits=kept["split"].to_numpy(dtype=np.str_),
        sha256=np.array(digests.sha256, dtype=np.str_)[found],
        skipped=tuple((paths[row], why) for row, why in skipped),
        checksum=_checksum(source, digests, wanted),
    )


def hash_files(source: Source, cache: Path, report: Report | None = None) -> Digests:
    """SHA-256 and size of every file of a source; read anew only where a file may have changed.

    Raises:
        DataError: the cache cannot be written.
    """
    paths = source.table["path"].tolist()
    key = hashlib.sha256(b"1\n")
    for path in paths:
        key.update(f"{path}\0{source.store.stamp(path)}\n".encode(errors=NAMES))
    file = cache / f"files-{key.hexdigest()[:16]}.json"
    if not file.is_file():
        rows = list(_mapped(lambda path: _hashed(source, path), paths, report))
        failures = {row: one for row, one in enumerate(rows) if isinstance(one, str)}
        good = [None if isinstance(one, str) else one for one in rows]
        with writing(cache):
            write_json(
                file,
                {
                    "sha256": [one and one[0] for one in good],
                    "sizes": [one[1] if one else 0 for one in good],
                    "failures": {str(row): why for row, why in failures.items()},
                },
            )
    with reading(file):
        kept = json.loads(file.read_text())
        return Digests(
            tuple(kept["sha256"]),
            np.array(kept["sizes"], dtype=np.int64),
            {int(row): why for row, why in kept["failures"].items()},
        )


def decode_all(source: Source, form: Form, cache: Path, report: Report | None = None) -> Decoded:
    """Every image of a source in one form, from the cache or decoded into it by all processors.

    Raises:
        DataError: the cache cannot be written, or a file changed while it was read.
    """
    digests = hash_files(source, cache)
    folder = cache / f"images-{contents_key(digests, form)}"
    if not (folder / "meta.json").is_file():
        with writing(cache):
            _build(folder, source, digests, form, report)
    with reading(folder):
        meta = json.loads((folder / "meta.json").read_text())
        failures = digests.failures | {int(row): why for row, why in meta["failures"].items()}
        # Mode c: torch wants memory that it may write to, and no write must reach the file.
        pixels: Pixels = np.load(folder / "pixels.npy", mmap_mode="c")
    readable = np.ones(len(source.table), dtype=bool)
    readable[list(failures)] = False
    places = np.where(readable, np.cumsum(readable) - 1, -1)
    return Decoded(pixels[: int(readable.sum())], places, failures, digests)


def contents_key(digests: Digests, *parts: object) -> str:
    """A name for what is computed from these contents and ``parts``."""
    key = hashlib.sha256("\n".join([CACHE_VERSION, *map(str, parts), ""]).encode())
    for digest in digests.sha256:
        key.update(f"{digest}\n".encode())
    return key.hexdigest()[:16]


def _hashed(source: Source, path: str) -> tuple[str, int] | str:
    try:
        data = source.store.read(path)
    except OSError as error:
        return f"the file could not be read ({error.strerror or error}); check it"
    return hashlib.sha256(data).hexdigest(), len(data)


def _build(
    folder: Path, source: Source, digests: Digests, form: Form, report: Report | None
) -> None:
    rows = [row for row, digest in enumerate(digests.sha256) if digest is not None]
    paths = source.table["path"].tolist()

    def one(row: int) -> Pixels | str:
        try:
            data = source.store.read(paths[row])
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digests.sha256[row]:
            raise DataError(
                f"images must not change while they are read, but {paths[row]} did; "
                "start again when nothing writes there"
            )
        try:
            return decode(data, size=form.size, channels=form.channels, resize=form.resize)
        except ImageError as error:
            return str(error)

    with atomic_folder(folder, (folder / "meta.json").is_file) as part:
        shape = (len(rows), form.channels, form.size, form.size)
        failures: dict[str, str] = {}
        # Written, not mapped: where the disk is full, writing to mapped memory ends the process.
        with (part / "pixels.npy").open("xb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            end = file.tell() + math.prod(shape)
            for row, result in zip(rows, _mapped(one, rows, report), strict=True):
                if isinstance(result, str):
                    failures[str(row)] = result
                else:
                    file.write(result.data)
            # Rows of broken files were closed up, so the array may end in unused ones.
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
        write_json(part / "meta.json", {"failures": failures})


def _mapped(
    work: Callable[[Any], _Result], items: Sequence[Any], report: Report | None
) -> Iterator[_Result]:
    """``work`` of every item, in order, by one thread for each processor.

    Pillow and hashlib release the interpreter's lock, so threads are enough. They take several
    items at a time, since handing one over costs as much as hashing a small file.
    """

    def some(part: Sequence[Any]) -> list[_Result]:
        return [work(item) for item in part]

    parts = (items[start : start + PART] for start in range(0, len(items), PART))
    waiting: deque[Future[list[_Result]]] = deque()
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while True:
            for part in islice(parts, PARTS_WAITING - len(waiting)):
                waiting.append(pool.submit(some, part))
            if not waiting:
                return
            for result in waiting.popleft().result():
                yield result
                done += 1
                if report is not None:
                    report(done, len(items))


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Within the block a cache is written: what the system refuses becomes a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"decoded images are kept in {cache}, but writing there failed "
            f"({error.strerror or error}); free space or give another --runs folder"
        ) from None


@contextmanager
def reading(kept: Path) -> Iterator[None]:
    """Within the block what was kept is read: a damaged one becomes a DataError."""
    try:
        yield
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"what is kept must be as this program wrote it, but {kept} cannot be read "
            f"({type(error).__name__}); delete it, and it is made again"
        ) from None


def _checksum(source: Source, digests: Digests, wanted: npt.NDArray[np.bool_]) -> str:
    """Of contents, paths and labels, so that a copied folder is the same data."""
    digest = hashlib.sha256()
    table = source.table
    for path, label, content, mine in zip(
        table["path"], table["label"], digests.sha256, wanted, strict=True
    ):
        if mine:
            digest.update(f"{path}\0{label}\0{content}\n".encode(errors=NAMES))
    return digest.hexdigest()
