"""A few numbers about every image file, which no picture of a disease should depend on."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nas.data.cache import Digests, contents_key, decode_all, hash_files, reading, writing
from nas.data.prepare import THUMBNAIL
from nas.data.table import Source
from nas.errors import DataError, ImageError
from nas.files import atomic_file
from nas.images import SIXTEEN_BIT, Header, Pixels, look
from nas.thumbnails import OF_THUMBNAILS, Features, of_thumbnails

STATISTICS = {
    "file_bytes": "size of the file in bytes",
    "bytes_per_pixel": "size of the file divided by width × height: how hard it was compressed",
    "width": "pixels",
    "height": "pixels",
    "aspect": "width divided by height",
    "colour": "1 if the file stores colour, 0 if gray",
} | OF_THUMBNAILS
"""Name -> meaning. From ``mean`` on they are of the 64×64 grayscale thumbnail."""

STATISTICS_VERSION = "1"
"""To be raised when the same images give other values."""

BLOCK = 512
"""Images that wait in memory at a time."""

GRAY = frozenset({"1", "L", "LA"}) | SIXTEEN_BIT

Report = Callable[[str, int, int], None]


def statistics(source: Source, cache: Path, report: Report = lambda *_: None) -> pd.DataFrame:
    """The statistics of every image that can be decoded, kept in the cache by contents.

    Returns:
        Index: rows of the source's table. Columns: those of STATISTICS (float64), format and mode
        (as nas.images.Header has them).

    Raises:
        DataError: a file changed while it was read, or the cache cannot be written.
    """
    digests = hash_files(source, cache)
    decoded = decode_all(source, THUMBNAIL, cache)
    rows = (decoded.places >= 0).nonzero()[0]
    file = cache / f"statistics-{contents_key(digests, STATISTICS_VERSION, THUMBNAIL)}.npz"
    if not file.is_file():
        headers = list(_headers(source, digests, rows.tolist(), report))
        values = np.empty((len(rows), len(STATISTICS)))
        for start in range(0, len(rows), BLOCK):  # they may be more than fit into memory
            part = slice(start, start + BLOCK)
            sizes = digests.sizes[rows[part]]
            values[part, :6] = _of_files(headers[part], sizes)
            values[part, 6:] = of_thumbnails(decoded.pixels[part])
        kinds = np.array([(one.format, one.mode) for one in headers], dtype=np.str_).reshape(-1, 2)
        with writing(cache), atomic_file(file) as stream:
            np.savez(stream, values=values, kinds=kinds)
    with reading(file), np.load(file, allow_pickle=False) as kept:
        frame = pd.DataFrame(kept["values"], columns=list(STATISTICS), index=rows)
        return frame.assign(format=kept["kinds"][:, 0], mode=kept["kinds"][:, 1])


def of_images(
    headers: Sequence[Header], sizes: npt.NDArray[np.int64], thumbnails: Pixels
) -> pd.DataFrame:
    """The statistics of images at hand, without a cache.

    Args:
        headers: N, from nas.images.look.
        sizes: (N,) bytes of the files.
        thumbnails: (N, 1, S, S) uint8, decoded to THUMBNAIL.

    Returns:
        N rows; columns: those of STATISTICS (float64).
    """
    values = np.column_stack([_of_files(headers, sizes), of_thumbnails(thumbnails)])
    return pd.DataFrame(values, columns=list(STATISTICS))


def _of_files(headers: Sequence[Header], sizes: npt.NDArray[np.int64]) -> Features:
    """(N, 6): the statistics up to ``colour``."""
    width = np.array([one.width for one in headers], dtype=np.float64)
    height = np.array([one.height for one in headers], dtype=np.float64)
    colour = np.array([one.mode not in GRAY for one in headers], dtype=np.float64)
    size = sizes.astype(np.float64)
    return np.column_stack([size, size / (width * height), width, height, width / height, colour])


def _headers(
    source: Source, digests: Digests, rows: Sequence[int], report: Report
) -> Iterator[Header]:
    """Of the files of these rows, in order; blocks bound what waits in memory."""
    paths = source.table["path"].tolist()

    def one(row: int) -> Header:
        try:
            data = source.store.read(paths[row])
            # What is kept is kept by content, so it must be of that content.
            if hashlib.sha256(data).hexdigest() == digests.sha256[row]:
                return look(data)
        except (OSError, ImageError):
            pass
        raise DataError(
            f"images must not change while they are read, but {paths[row]} did; "
            "start again when nothing writes there"
        )

    remaining, done = iter(rows), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while block := list(islice(remaining, BLOCK)):
            yield from pool.map(one, block)
            done += len(block)
            report("looking at files", done, len(rows))
