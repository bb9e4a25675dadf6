"""The decoder: what is refused, and hostile bytes."""

import struct
import warnings
import zlib
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from nas.errors import ImageError, UnsupportedImageError
from nas.images import FORMATS, MAX_PIXELS, Pixels, decode
from tests.nas.hostile import (
    HEIGHT,
    IN_COLOUR,
    IN_GRAY,
    KINDS,
    LOSSLESS,
    WIDTH,
    chunk,
    encoded,
    noise,
    raw_png,
)

# Refusals -----------------------------------------------------------------------------------------

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'

OTHERS: Mapping[str, bytes] = {
    "empty": b"",
    "text": b"This is not an image.",
    "svg": SVG,
    "gif": encoded(IN_GRAY, "GIF"),
    "ppm": encoded(IN_COLOUR, "PPM"),
    "ico": encoded(IN_COLOUR, "ICO"),
    "zeros": bytes(1000),
    "pdf": encoded(IN_COLOUR, "PDF"),
    "png signature": b"\x89PNG\r\n\x1a\n"[:6],
} | ({"webp": encoded(IN_COLOUR, "WEBP")} if features.check("webp") else {})


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        decode(OTHERS[name], size=16, channels=1)
    assert str(caught.value) == (
        "an image must be one of JPEG, PNG, BMP, TIFF, DICOM, but the content is not; "
        "convert it to one of these"
    )


def refused(data: bytes, part: str) -> None:
    """Refused for a reason, in the same way whatever is done with warnings."""
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            with pytest.raises(ImageError, match=part) as caught:
                decode(data, size=16, channels=1)
        assert caught.type is ImageError


def attempt(data: bytes) -> Pixels | None:
    """What is decoded, or None for an ImageError; the same with and without strict warnings."""
    results: list[Pixels | None] = []
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            try:
                results.append(decode(data, size=8, channels=3))
            except ImageError:
                results.append(None)
    strict, lax = results
    if strict is not None:
        assert lax is not None
        assert np.array_equal(strict, lax)
    return lax


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_several_frames_are_refused(format: str) -> None:
    frames = [Image.fromarray(noise(16, 16, seed=seed)) for seed in range(3)]
    refused(encoded(frames[0], format, save_all=True, append_images=frames[1:]), "one frame")


def test_several_pictures_in_a_jpeg_are_refused() -> None:
    second = Image.fromarray(noise(HEIGHT, WIDTH, 3, seed=5))
    refused(encoded(IN_COLOUR, "MPO", save_all=True, append_images=[second]), "one frame")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bits_are_refused(mode: str) -> None:
    refused(encoded(Image.new(mode, (16, 16)), "TIFF"), f"8 or 16 bits.*'{mode}'")


@pytest.mark.parametrize(
    ("width", "height"),
    [(60_000, 60_000), (12_000, 12_000), (8_001, 5_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2)],
)
def test_bombs_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    refused(raw_png(width, height, 8, 0, b"\0" * 100), f"at most {MAX_PIXELS:,} pixels")


def test_the_limit_itself_is_no_bomb() -> None:
    """8,000 × 5,000 is allowed: it fails later, because these are not all of its pixels."""
    refused(raw_png(8_000, 5_000, 8, 0, b"\0" * 100), "whole and readable")


def test_bombs_in_other_formats() -> None:
    bmp = bytearray(KINDS["bmp L"])
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    refused(bytes(bmp), "pixels")
    tiff = bytearray(KINDS["tiff L"])
    for tag, side in ((256, 60_000), (257, 60_000)):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[entry + 8 : entry + 12] = struct.pack("<I", side)
    refused(bytes(tiff), "pixels")


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused(kind: str) -> None:
    whole = attempt(KINDS[kind])
    assert whole is not None
    for eighth in range(8):
        part = attempt(KINDS[kind][: len(KINDS[kind]) * eighth // 8])
        # The last eighth of a very small file may hold no pixels at all.
        assert part is None or (eighth == 7 and part.tolist() == whole.tolist())


def test_a_truncated_photograph_is_never_shown_in_part() -> None:
    for format in FORMATS:
        data = encoded(Image.fromarray(noise(100, 100, 3)), format)
        for end in range(0, len(data) - 16, 101):
            assert attempt(data[:end]) is None, (format, end)


def test_images_without_pixels_are_refused() -> None:
    for width, height in ((0, 0), (0, 5), (5, 0)):
        assert attempt(raw_png(width, height, 8, 0, b"\0" * height)) is None
        bmp = bytearray(KINDS["bmp L"])
        bmp[18:26] = struct.pack("<ii", width, height)
        assert attempt(bytes(bmp)) is None


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(KINDS["png L"])
    data[data.index(b"IDAT") + 10] ^= 0xFF
    refused(bytes(data), r"decoding this PNG failed \(\w+\)")


def test_a_tiff_whose_next_page_is_broken_is_refused() -> None:
    """Its pages are counted by following offsets, each of which may lead anywhere."""
    data = KINDS["tiff L"]
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    following = start + 2 + 12 * entries
    assert data[following : following + 4] == bytes(4)
    for offset in (8, 9, following, len(data) - 1, len(data) + 1, 2**32 - 1):
        broken = data[:following] + struct.pack("<I", offset) + data[following + 4 :]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                decode(broken, size=16, channels=1)
            except ImageError:
                continue
            assert offset == start  # a page that is its own successor is one page


def test_a_huge_comment_is_no_way_in() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    text = b"Comment\0\0" + bomb
    refused(raw_png(4, 4, 8, 0, b"\0" * 20, (b"zTXt", text)), "decoding this image failed|PNG")


def test_messages_do_not_quote_the_content() -> None:
    """What is in a patient's file does not belong into a log."""
    secret = b"Jane Doe 1970"
    data = bytearray(encoded(IN_GRAY, "PNG"))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    header = bytes(data[:33]) + chunk(b"tEXt", b"Name\0" + secret) + bytes(data[33:])
    with pytest.raises(ImageError) as caught:
        decode(header, size=16, channels=1)
    assert "Jane" not in str(caught.value)
    assert caught.value.__suppress_context__


# Hostile bytes ------------------------------------------------------------------------------------


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"\xff\xd8\xff"]),
)
@settings(max_examples=100)
def test_random_bytes_are_image_errors(data: bytes, start: bytes) -> None:
    attempt(start + data)


@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans()),
        min_size=1,
        max_size=5,
    ),
)
@settings(max_examples=400)
def test_mutated_images_are_decoded_or_image_errors(
    kind: str, changes: list[tuple[float, int, bool]]
) -> None:
    data = bytearray(KINDS[kind])
    for where, value, insert in changes:
        place = int(where * len(data))
        data[place : place + (not insert)] = bytes([value])
    pixels = attempt(bytes(data))
    assert pixels is None or (pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8)


@given(st.sampled_from(LOSSLESS), st.integers(0, 500), st.integers(0, 255))
@settings(max_examples=200)
def test_mutated_headers_are_decoded_or_image_errors(kind: str, place: int, value: int) -> None:
    data = bytearray(KINDS[kind])
    data[place % min(len(data), 500)] = value
    attempt(bytes(data))
