"""Duplicates: pairs, groups, and what counts as nearly the same, against plain references."""

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from nas.data import duplicates as module
from nas.data.duplicates import (
    FINE_SIGMA,
    LEAST_CORRELATION,
    MOST_BITS,
    SIDE,
    Duplicates,
    find_duplicates,
    fine_structure,
    identical_pairs,
    joined,
    perceptual_hashes,
    similar_pairs,
)
from nas.images import Pixels, decode
from tests.pictures import film, stored

# Identical files


@pytest.mark.parametrize(
    ("contents", "pairs"),
    [
        ("", []),
        ("abc", []),
        ("aba", [[0, 2]]),
        ("abab", [[0, 2], [1, 3]]),
        ("aaba", [[0, 1], [0, 3]]),
        ("aaaa", [[0, 1], [0, 2], [0, 3]]),
        ("a??a", [[0, 3]]),
    ],
)
def test_identical_files_are_paired_with_the_first(contents: str, pairs: list[list[int]]) -> None:
    """A question mark is a file that cannot be read: it is like no other."""
    found = identical_pairs([None if content == "?" else content for content in contents])
    assert found.dtype == np.int64
    assert found.shape == (len(pairs), 2)
    assert found.tolist() == pairs


# Groups


def reachable(names: list[str], edges: list[tuple[int, int]]) -> list[str]:
    """The first name of a row's group, by a search from every row."""
    result = []
    for start in range(len(names)):
        seen, queue = {start}, deque([start])
        while queue:
            row = queue.popleft()
            near = {other for other in range(len(names)) if names[other] == names[row]}
            near |= {b for a, b in edges if a == row} | {a for a, b in edges if b == row}
            queue.extend(near - seen)
            seen |= near
        result.append(names[min(seen)])
    return result


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int]]]:
    names = draw(st.lists(st.sampled_from([f"p{n}" for n in range(12)]), min_size=1, max_size=14))
    row = st.integers(0, len(names) - 1)
    return names, draw(st.lists(st.tuples(row, row), max_size=8))


@given(graphs(), st.integers(0, 8))
def test_groups_are_those_of_a_plain_search(
    graph: tuple[list[str], list[tuple[int, int]]], cut: int
) -> None:
    names, edges = graph
    pairs = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert joined(names, pairs[:cut], pairs[cut:]) == reachable(names, edges)


def test_without_edges_names_stay() -> None:
    assert joined(["b", "a", "b"]) == ["b", "a", "b"]


# Hash and fine structure, written out


def plain_cosines(picture: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Orthonormal DCT-II of a square, from its definition."""
    side = len(picture)
    rows = np.arange(side)
    basis = np.cos(np.pi * (2 * rows[None, :] + 1) * rows[:, None] / (2 * side))
    basis *= np.where(rows == 0, math.sqrt(1 / side), math.sqrt(2 / side))[:, None]
    result: npt.NDArray[np.float64] = basis @ picture @ basis.T
    return result


def thumbnails(*pictures: Image.Image | bytes) -> Pixels:
    """As the cache decodes them."""
    files = [one if isinstance(one, bytes) else stored(one) for one in pictures]
    return np.stack([decode(file, size=SIDE, channels=1) for file in files])


def bits_of(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.unpackbits(hashes.view(np.uint8), axis=1)


def test_the_hash_is_which_low_frequencies_exceed_their_median() -> None:
    pictures = thumbnails(film(1), film(2))
    hashes = perceptual_hashes(pictures)
    assert hashes.dtype == np.uint64
    assert hashes.shape == (2, 4)
    for picture, bits in zip(pictures[:, 0].astype(float), bits_of(hashes), strict=True):
        corners = [picture[row::2, column::2] for row in (0, 1) for column in (0, 1)]
        low = plain_cosines(sum(corners) / 4)[:16, :16].flatten()
        expected = low > np.median(low[1:])
        expected[0] = False  # brightness
        assert bits.tolist() == expected.tolist()
        assert bits.sum() == 127  # of 255 others, those above the middle one


def test_fine_structure_is_what_a_gaussian_takes_away() -> None:
    picture = thumbnails(film(3))
    distance = np.arange(-12, 13)  # four sigmas
    weights = np.exp(-0.5 * (distance / FINE_SIGMA) ** 2)
    weights /= weights.sum()
    blurred = np.pad(picture[0, 0].astype(float), 12, mode="symmetric")
    for _ in range(2):
        lines = [np.convolve(line, weights, mode="valid") for line in blurred]
        blurred = np.array(lines).T
    fine = (picture[0, 0] - blurred).flatten()
    fine -= fine.mean()
    result = fine_structure(picture)
    assert result.dtype == np.float32
    assert result.shape == (1, SIDE * SIDE)
    assert result[0] == pytest.approx(fine / math.sqrt((fine**2).sum()), abs=1e-5)


def test_a_blank_picture_has_no_fine_structure() -> None:
    blank = np.full((1, 1, SIDE, SIDE), 200, dtype=np.uint8)
    assert not fine_structure(blank).any()


# Nearly the same


def brighter(image: Image.Image) -> bytes:
    return stored(ImageEnhance.Brightness(image).enhance(1.3))


def less_contrast(image: Image.Image) -> bytes:
    return stored(ImageEnhance.Contrast(image).enhance(0.7))


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 40": lambda image: stored(image, "JPEG", quality=40),
    "half size": lambda image: stored(image.resize((image.width // 2, image.height // 2))),
    "brighter": brighter,
    "less contrast": less_contrast,
    "blurred": lambda image: stored(image.filter(ImageFilter.GaussianBlur(1))),
    "16 bits": lambda image: stored(
        Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "TIFF"
    ),
}


def pairs_in(pictures: Pixels) -> list[list[int]]:
    found = similar_pairs(pictures, np.arange(len(pictures)))
    assert found is not None
    assert found.dtype == np.int64
    return sorted(found.tolist())


@pytest.mark.parametrize("kind", COPIES)
def test_a_picture_that_was_stored_again_is_found_among_others(kind: str) -> None:
    others = [film(seed, 128) for seed in range(1, 12)]
    originals = [film(seed, 128) for seed in (100, 101, 102)]
    copies = [COPIES[kind](image) for image in originals]
    assert pairs_in(thumbnails(*others, *originals, *copies)) == [[11, 14], [12, 15], [13, 16]]


def test_different_pictures_are_not_the_same() -> None:
    assert pairs_in(thumbnails(*(film(seed) for seed in range(60)))) == []


def test_different_noise_is_not_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 1, SIDE, SIDE), dtype=np.uint8)
    assert pairs_in(noise) == []


def test_the_same_pose_with_other_structure_is_not_the_same() -> None:
    """Low frequencies agree; only the fine structure tells."""
    pose = np.asarray(film(1, SIDE).filter(ImageFilter.GaussianBlur(2)), dtype=float)
    rng = np.random.default_rng(0)
    half = (SIDE // 2, SIDE // 2)
    # Of every 2 × 2 pixels the mean stays, which is all that the hash sees.
    finest = [np.kron(rng.uniform(-40, 40, half), [[1, -1], [-1, 1]]) for _ in range(2)]
    two = [pose + one for one in finest]
    poses = [Image.fromarray(one.clip(0, 255).astype(np.uint8)) for one in two]
    pictures = thumbnails(*poses, *(film(seed) for seed in range(2, 10)))
    first, second = bits_of(perceptual_hashes(pictures))[:2]
    assert (first != second).sum() <= MOST_BITS
    assert pairs_in(pictures) == []


def test_blank_pictures_are_not_called_the_same() -> None:
    """There is nothing in them that could tell."""
    blank = np.stack([np.full((1, SIDE, SIDE), value, dtype=np.uint8) for value in (0, 90, 255)])
    assert pairs_in(np.concatenate([blank, thumbnails(*map(film, range(9)))])) == []


def test_pictures_that_are_too_alike_are_not_compared() -> None:
    picture = thumbnails(film(1))
    few, many = np.repeat(picture, 41, 0), np.repeat(picture, 42, 0)
    found = similar_pairs(few, np.arange(41))
    assert found is not None
    assert len(found) == 41 * 20  # as many as may be
    assert similar_pairs(many, np.arange(42)) is None
    duplicates = find_duplicates([str(row) for row in range(42)], many, np.arange(42))
    assert duplicates.compared is False
    assert duplicates.similar.shape == (0, 2)


def by_brute_force(pictures: Pixels) -> list[list[int]]:
    bits, fine = bits_of(perceptual_hashes(pictures)), fine_structure(pictures)
    return [
        [one, other]
        for one in range(len(pictures))
        for other in range(one + 1, len(pictures))
        if (bits[one] != bits[other]).sum() <= MOST_BITS
        and fine[one] @ fine[other] >= LEAST_CORRELATION
    ]


@pytest.mark.parametrize("rows", [1, 2, 5, 23, 512])
def test_blocks_of_rows_find_what_one_look_at_all_does(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    films = [film(seed) for seed in range(8)]
    again = [stored(image, "JPEG", quality=60) for image in (films[6], films[0], films[1])]
    pictures = thumbnails(*films, *again, films[3], *again)
    expected = by_brute_force(pictures)
    assert len(expected) == 3 * 2 + 1 + 3
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(module, "TILE", (rows, 2 * rows + 1))
    assert pairs_in(pictures) == expected


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare_with(count: int) -> None:
    assert pairs_in(thumbnails(*map(film, range(5)))[:count]) == []


# All of it


def test_rows_are_those_of_the_table_whatever_cannot_be_read() -> None:
    copy = stored(film(2), "JPEG", quality=50)
    # Row:    0        1     2        3     4              5        6
    pictures = thumbnails(film(1), copy, film(3), film(2), film(1), film(2))
    contents = ["one", None, "copy", "three", "two", "one", "two"]
    places = np.array([0, -1, 1, 2, 3, 4, 5])
    found = find_duplicates(contents, pictures, places)
    assert found.compared
    assert sorted(found.identical.tolist()) == [[0, 5], [4, 6]]
    # Of identical files the first alone is compared.
    assert found.similar.tolist() == [[2, 4]]
    names = joined([f"p{row}" for row in range(7)], found.identical, found.similar)
    assert names == ["p0", "p1", "p2", "p3", "p2", "p0", "p2"]


def test_a_set_without_a_readable_image_has_no_duplicates() -> None:
    found = find_duplicates(
        [None, None], np.zeros((0, 1, SIDE, SIDE), np.uint8), np.array([-1, -1])
    )
    assert isinstance(found, Duplicates)
    assert len(found.identical) == len(found.similar) == 0
    assert found.compared
