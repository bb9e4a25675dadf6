"""Images that are the same image: byte for byte, or nearly.

Nearly means: stored again with other compression, size, brightness or sharpness. Two tests must
agree. A perceptual hash (Zauner 2010, the sign of low DCT frequencies against their median) finds
candidates among all pairs; the correlation of fine structure tells a copy from another patient in
the same pose. On 5,529 chest X-rays at 64×64 no two different images were closer than 33 of 255
bits, and none correlated above 0.86; copies at JPEG quality 20, half size, brightness × 1.3,
contrast × 0.7 or 1.5, gamma 1.5, blurred or sharpened were within 30 bits and above 0.93 (200 of
each; runs/LOG.md). A crop by 2 % or a turn by 3° is not found.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nas.images import Pixels

SIDE = 64
"""Of the grayscale thumbnails that are compared."""

FREQUENCIES = 16
MOST_BITS = 30
LEAST_CORRELATION = 0.9
FINE_SIGMA = 3.0

ROWS_AT_ONCE = 512

TILE = (64, 4096)
"""Rows and columns of pairs that are compared at once, so that they stay in the processor's cache:
20,000 hashes with each other took 1.0 s, and 2.4 s a row of 512 at a time."""

Report = Callable[[int, int], None]

MOST_PER_IMAGE = 20
"""Candidates per image on average above which a set is not made of photographs that a hash can
tell apart (digits, say): nothing is then called nearly the same."""

Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicates:
    """Pairs of rows of a source's table; each (P, 2) int64, the smaller row first.

    Attributes:
        identical: byte for byte; a group of three is two pairs.
        similar: nearly the same, and not identical.
        compared: False where the images are too alike for the second.
    """

    identical: Pairs
    similar: Pairs
    compared: bool = True


def find_duplicates(
    sha256: Sequence[str | None],
    thumbnails: Pixels,
    places: npt.NDArray[np.int64],
    report: Report = lambda *_: None,
) -> Duplicates:
    """All duplicates of a source.

    Args:
        sha256: of every row; None where unreadable.
        thumbnails: (M, 1, SIDE, SIDE) uint8.
        places: (N,) int64: the row's thumbnail, or -1.
        report: called with (done, total) images.
    """
    identical = identical_pairs(sha256)
    # One of each set of identical files stands for all.
    shown = places >= 0
    shown[identical[:, 1]] = False
    rows = shown.nonzero()[0]
    pairs = similar_pairs(thumbnails, places[rows], report)
    if pairs is None:
        return Duplicates(identical, np.empty((0, 2), dtype=np.int64), compared=False)
    return Duplicates(identical, np.sort(rows[pairs], axis=1))


def identical_pairs(sha256: Sequence[str | None]) -> Pairs:
    """(P, 2): the first row with a content, and a later row with the same."""
    first: dict[str, int] = {}
    pairs = [
        (first[digest], row)
        for row, digest in enumerate(sha256)
        if digest is not None and first.setdefault(digest, row) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def similar_pairs(
    thumbnails: Pixels, places: npt.NDArray[np.int64], report: Report = lambda *_: None
) -> Pairs | None:
    """(P, 2) positions in ``places`` of nearly equal images; None if nearly all are.

    Args:
        thumbnails: (M, 1, SIDE, SIDE) uint8.
        places: (N,) which of them to compare with each other.
    """
    # In blocks: the thumbnails may be more than fit into memory.
    starts = range(0, max(len(places), 1), ROWS_AT_ONCE)
    hashes = np.concatenate(
        [perceptual_hashes(thumbnails[places[s : s + ROWS_AT_ONCE]]) for s in starts]
    )
    most = MOST_PER_IMAGE * max(len(places), 1)
    found: list[Pairs] = []
    count = 0
    for candidates in _close(hashes, report):
        count += len(candidates)
        if count > most:
            return None
        found.append(candidates)
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *found])
    # Again in blocks: near the limit above, the fine structures of all would take gigabytes.
    starts = range(0, len(pairs), ROWS_AT_ONCE)
    alike = [_alike(thumbnails, places[pairs[s : s + ROWS_AT_ONCE]]) for s in starts]
    similar: Pairs = pairs[np.concatenate([np.empty(0, dtype=bool), *alike])]
    return similar


def perceptual_hashes(thumbnails: Pixels) -> npt.NDArray[np.uint64]:
    """(N, 1, SIDE, SIDE) uint8 to (N, 4) uint64: which low DCT frequencies exceed their median."""
    half = thumbnails.reshape(len(thumbnails), SIDE // 2, 2, SIDE // 2, 2).mean((2, 4))
    low = dctn(half, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    low = low.reshape(len(thumbnails), FREQUENCIES**2)
    # The first is the mean brightness, which says nothing of the picture.
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    packed: npt.NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)
    return packed


def fine_structure(thumbnails: Pixels) -> npt.NDArray[np.float32]:
    """(N, 1, SIDE, SIDE) uint8 to (N, SIDE²) float32 of length 1: what a blur takes away."""
    pictures = thumbnails[:, 0].astype(np.float32)
    fine = pictures - gaussian_filter(pictures, (0, FINE_SIGMA, FINE_SIGMA))
    flat = fine.reshape(len(fine), SIDE * SIDE)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = flat / np.maximum(length, 1e-6)  # 0 for an empty picture
    return result


def joined(names: Sequence[str], *edges: Pairs) -> list[str]:
    """One name for all rows that hang together: by an equal name, or by an edge.

    Args:
        names: (N,), such as patients.
        edges: (P, 2) int64 each.

    Returns:
        (N,) the first name of each row's group.
    """
    _, first, of_name = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    links = np.concatenate([np.empty((0, 2), dtype=np.int64), *edges])
    ends = of_name[links]
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(first),) * 2)
    _, group = connected_components(graph, directed=False)
    row_group = group[of_name]
    _, leader = np.unique(row_group, return_index=True)
    return [names[leader[number]] for number in row_group]


def _alike(thumbnails: Pixels, pairs: Pairs) -> npt.NDArray[np.bool_]:
    """(P,) which pairs of thumbnails have the same fine structure."""
    places, position = np.unique(pairs, return_inverse=True)
    fine = fine_structure(thumbnails[places])
    left, right = (fine[position.reshape(-1, 2)[:, side]] for side in (0, 1))
    alike: npt.NDArray[np.bool_] = np.einsum("ij,ij->i", left, right) >= LEAST_CORRELATION
    return alike


def _close(hashes: npt.NDArray[np.uint64], report: Report) -> Iterator[Pairs]:
    """Pairs of rows within MOST_BITS of each other, tile by tile."""
    count, words = len(hashes), np.ascontiguousarray(hashes.T)
    for start in range(0, count, TILE[0]):
        rows = words[:, start : start + TILE[0], None]
        for other in range(start, count, TILE[1]):
            columns = words[:, None, other : other + TILE[1]]
            distance = np.zeros((rows.shape[1], columns.shape[2]), dtype=np.uint8)
            for row, column in zip(rows, columns, strict=True):
                distance += np.bitwise_count(row ^ column)
            left, right = (distance <= MOST_BITS).nonzero()
            pairs = np.stack([left + start, right + other], 1)
            yield pairs[pairs[:, 1] > pairs[:, 0]].astype(np.int64)
        report(min(start + TILE[0], count), count)
