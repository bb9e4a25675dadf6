"""The decoder: formats, bits, alpha, orientation."""

import io
import struct
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from nas.images import FORMATS, Pixels, decode
from tests.nas.hostile import (
    COLOUR_TYPES,
    GRAY,
    HEIGHT,
    IN_COLOUR,
    JUST_BITS,
    KINDS,
    PALETTE,
    WIDTH,
    both,
    deep_png,
    encoded,
    kinds,
    noise,
    png,
    raw_png,
    sixteen,
    smooth,
    with_alpha,
)

# Formats ------------------------------------------------------------------------------------------


@kinds
@both
@pytest.mark.parametrize("size", [8, 64])
def test_every_kind_gives_pixels_of_one_form_and_no_warning(
    kind: str, channels: int, size: int
) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        pixels = decode(KINDS[kind], size=size, channels=channels)
    assert not heard
    assert pixels.shape == (channels, size, size)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert pixels.max() > pixels.min()


def test_the_kinds_are_what_they_are_called() -> None:
    """Else a test might silently speak of another kind than it says."""
    modes = {name: Image.open(io.BytesIO(data)).mode for name, data in KINDS.items()}
    wanted = {"png 16": "I;16", "tiff 16": "I;16", "tiff 16 lzw": "I;16", "png 16 LA": "RGBA"}
    wanted |= {"tiff 16 big-endian": "I;16B", "png 16 RGB": "RGB", "jpeg progressive": "RGB"}
    for name, mode in modes.items():
        assert mode == wanted.get(name, name.split()[1]), name
    assert {Image.open(io.BytesIO(data)).format for data in KINDS.values()} == set(FORMATS)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_pixels_are_those_of_the_file_where_nothing_must_change(format: str) -> None:
    square, colour = noise(16, 16), noise(16, 16, 3)
    data = encoded(Image.fromarray(square), format)
    assert np.array_equal(decode(data, size=16, channels=1), square[None])
    assert np.array_equal(decode(data, size=16, channels=3), np.stack([square] * 3))
    data = encoded(Image.fromarray(colour), format)
    assert np.array_equal(decode(data, size=16, channels=3), colour.transpose(2, 0, 1))


@both
def test_the_same_picture_in_all_formats(channels: int) -> None:
    image = Image.fromarray(smooth())
    wanted = decode(encoded(image, "PNG"), size=16, channels=channels).astype(int)
    for format, most in {"BMP": 0, "TIFF": 0, "JPEG": 12}.items():
        options = {"quality": 95} if format == "JPEG" else {}
        got = decode(encoded(image, format, **options), size=16, channels=channels)
        assert np.abs(got - wanted).max() <= most, format


def test_a_jpeg_that_is_decoded_at_reduced_size_is_the_same_picture() -> None:
    image = Image.fromarray(smooth(480, 640))
    wanted = decode(encoded(image, "PNG"), size=16, channels=3).astype(int)
    got = decode(encoded(image, "JPEG", quality=95), size=16, channels=3)
    assert np.abs(got - wanted).max() <= 6


def test_one_bit_is_black_and_white() -> None:
    dots = np.indices((16, 16)).sum(0) % 2 == 0
    for format in ("PNG", "BMP", "TIFF"):
        data = encoded(Image.fromarray(dots), format)
        assert np.array_equal(decode(data, size=16, channels=1)[0], dots * np.uint8(255))


def test_palettes_show_their_colours() -> None:
    for kind in ("png P", "bmp P", "tiff P"):
        assert np.array_equal(
            decode(KINDS[kind], size=32, channels=3),
            decode(encoded(PALETTE.convert("RGB"), "PNG"), size=32, channels=3),
        )


def test_cmyk_is_not_inverted() -> None:
    data = encoded(Image.new("RGB", (16, 16), (250, 128, 10)).convert("CMYK"), "JPEG", quality=95)
    got = decode(data, size=8, channels=3).reshape(3, -1).T.astype(int)
    assert np.abs(got - [250, 128, 10]).max() <= 6


@given(st.integers(0, 2**32 - 1))
def test_grayscale_of_colour_is_luma(seed: int) -> None:
    colour = noise(16, 16, 3, seed=seed)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    got = decode(png(colour), size=16, channels=1)[0]
    assert np.abs(got - luma).max() <= 1


@given(st.integers(8, 40), st.integers(8, 40), st.integers(8, 40))
def test_a_constant_image_stays_constant(height: int, width: int, size: int) -> None:
    data = png(np.full((height, width), 77, dtype=np.uint8))
    assert (decode(data, size=size, channels=1) == 77).all()


def test_the_aspect_is_squashed_and_nothing_is_cut_off() -> None:
    picture = np.zeros((10, 40), dtype=np.uint8)
    picture[:5, :20], picture[5:, 20:] = 200, 100
    got = decode(png(picture), size=20, channels=1)[0]
    assert got.shape == (20, 20)
    assert (got[:8, :8] == 200).all()
    assert (got[12:, 12:] == 100).all()
    assert (got[:8, 12:] == 0).all()
    assert (got[12:, :8] == 0).all()


def test_shrinking_averages() -> None:
    """Without that a fine pattern would turn into another one."""
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    got = decode(png(stripes), size=8, channels=1)
    assert np.abs(got.astype(int) - 127).max() <= 20


# 16 bits ------------------------------------------------------------------------------------------


def eight_bit_twin(array: Pixels, format: str, **options: Any) -> bytes:
    return encoded(Image.fromarray(array), format, **options)


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 13, 30]))
def test_16_bit_grayscale_gives_exactly_the_picture_of_its_8_bit_copy(seed: int, size: int) -> None:
    array = noise(HEIGHT, WIDTH, seed=seed)
    for (mode, format), channels in product(
        [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF")], [1, 3]
    ):
        deep = encoded(sixteen(array, mode), format)
        wanted = decode(eight_bit_twin(array, format), size=size, channels=channels)
        assert np.array_equal(decode(deep, size=size, channels=channels), wanted)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@both
def test_16_bit_colour_and_alpha_give_the_picture_of_their_8_bit_copy(
    planes: int, channels: int
) -> None:
    array = noise(HEIGHT, WIDTH, planes, seed=planes)
    twin = array[:, :, 0] if planes == 1 else array
    wanted = decode(png(twin), size=16, channels=channels)
    got = decode(deep_png(array.astype(np.uint16) * 257), size=16, channels=channels)
    assert np.array_equal(got, wanted)


def test_16_bit_values_are_rounded_and_not_clipped() -> None:
    values = np.tile(np.array([0, 128, 129, 255, 300, 1000, 32768, 65535], np.uint16), (8, 1))
    for order, mode in (("<u2", "I;16"), (">u2", "I;16B")):
        image = Image.frombytes(mode, (8, 8), values.astype(order).tobytes())
        got = decode(encoded(image, "TIFF"), size=8, channels=1)[0, 0]
        assert got.tolist() == [0, 0, 1, 1, 1, 4, 128, 255]


# Alpha --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_alpha_is_laid_over_black(format: str) -> None:
    white = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    assert (decode(encoded(white, format), size=8, channels=1) == 0).all()
    half = Image.new("RGBA", (16, 16), (200, 100, 50, 128))
    got = decode(encoded(half, format), size=8, channels=3).reshape(3, -1)
    assert np.abs(got.astype(int).T - [100, 50, 25]).max() <= 1
    opaque = Image.new("LA", (16, 16), (90, 255))
    assert (decode(encoded(opaque, format), size=8, channels=1) == 90).all()


def test_what_is_transparent_does_not_shine_through_at_edges() -> None:
    """Averaging colours without their alpha would mix in the invisible ones."""
    picture = np.zeros((16, 16, 4), dtype=np.uint8)
    picture[:, ::2] = [10, 10, 10, 255]
    picture[:, 1::2] = [255, 255, 255, 0]
    assert decode(png(picture), size=8, channels=1).max() <= 10


def test_transparent_entries_of_palettes_and_single_colours_are_black() -> None:
    indices = np.zeros((16, 16), dtype=np.uint8)
    indices[:, 8:] = 1
    image = Image.fromarray(indices, "P")
    image.putpalette([200, 200, 200, 90, 90, 90])
    for transparency in (0, b"\x00\xff"):
        data = encoded(image, "PNG", transparency=transparency)
        assert decode(data, size=16, channels=1)[0, 0].tolist() == [0] * 8 + [90] * 8
    gray = Image.fromarray(np.where(indices == 1, 90, 200).astype(np.uint8))
    data = encoded(gray, "PNG", transparency=200)
    assert decode(data, size=16, channels=1)[0, 0].tolist() == [0] * 8 + [90] * 8


@pytest.mark.parametrize("planes", [1, 3])
@both
def test_transparent_single_colours_of_16_bits_are_black(planes: int, channels: int) -> None:
    values = np.full((16, 16, planes), 200 * 257, dtype=np.uint16)
    values[:, 8:] = 90 * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    clear = struct.pack(">H", 200 * 257) * planes
    data = raw_png(16, 16, 16, COLOUR_TYPES[planes], rows, (b"tRNS", clear))
    got = decode(data, size=16, channels=channels)
    assert got[:, 0].tolist() == [[0] * 8 + [90] * 8] * channels


def test_palette_with_alpha() -> None:
    clear = IN_COLOUR.quantize(4).convert("PA")
    clear.putalpha(0)
    assert (decode(encoded(clear, "TIFF"), size=8, channels=3) == 0).all()
    clear.putalpha(255)
    wanted = decode(encoded(clear.convert("RGB"), "TIFF"), size=8, channels=3)
    assert np.array_equal(decode(encoded(clear, "TIFF"), size=8, channels=3), wanted)


# EXIF ---------------------------------------------------------------------------------------------

TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@both
def test_exif_orientation_is_applied(orientation: int, format: str, channels: int) -> None:
    picture = smooth()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format == "JPEG" else {}
    turned = encoded(Image.fromarray(picture), format, exif=exif, **options)
    upright = png(np.ascontiguousarray(TURNS[orientation](picture)))
    got = decode(turned, size=16, channels=channels).astype(int)
    wanted = decode(upright, size=16, channels=channels)
    assert np.abs(got - wanted).max() <= (12 if format == "JPEG" else 0)


def test_exif_orientation_of_16_bits_and_palettes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in (sixteen(GRAY), PALETTE, JUST_BITS, with_alpha(IN_COLOUR)):
        data = encoded(image, "PNG", exif=exif)
        turned = encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), "PNG")
        assert np.array_equal(
            decode(data, size=16, channels=3), decode(turned, size=16, channels=3)
        )
        assert not np.array_equal(
            decode(data, size=16, channels=3), decode(encoded(image, "PNG"), size=16, channels=3)
        )
