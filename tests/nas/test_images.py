import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from nas.errors import ImageError, UnsupportedImageError
from nas.images import FORMATS, MAX_PIXELS, Pixels, decode

Words = npt.NDArray[np.uint16]

HEIGHT, WIDTH = 13, 18


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int = 24, width: int = 40) -> Pixels:
    """(height, width, 3): what JPEG changes little, different in every corner and channel."""
    y, x = np.mgrid[0:height, 0:width]
    down, right = 255 * y / (height - 1), 255 * x / (width - 1)
    return np.stack([down, right, (down + 255 - right) / 2], 2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    width: int, height: int, bits: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    """A PNG of which every byte is known; Pillow cannot write 16-bit colour."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*one) for one in extra)]
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def deep_png(values: Words) -> bytes:
    """(height, width, channels) 16-bit values as a PNG."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png(width, height, 16, COLOUR_TYPES[channels], rows)


def png(array: Pixels) -> bytes:
    return encoded(Image.fromarray(array), "PNG")


GRAY, COLOUR = noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, 3, seed=1)
ALPHA = noise(HEIGHT, WIDTH, seed=2)
IN_GRAY, IN_COLOUR = Image.fromarray(GRAY), Image.fromarray(COLOUR)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.fromarray(ALPHA))
    return image


def sixteen(array: Pixels, mode: str = "I;16") -> Image.Image:
    order = ">u2" if mode == "I;16B" else "<u2"
    words = (array.astype(np.uint16) * 257).astype(order)
    return Image.frombytes(mode, (array.shape[1], array.shape[0]), words.tobytes())


PALETTE = IN_COLOUR.quantize(16)
JUST_BITS = IN_GRAY.convert("1")

KINDS: Mapping[str, bytes] = {
    "jpeg L": encoded(IN_GRAY, "JPEG"),
    "jpeg RGB": encoded(IN_COLOUR, "JPEG"),
    "jpeg progressive": encoded(IN_COLOUR, "JPEG", progressive=True),
    "jpeg CMYK": encoded(IN_COLOUR.convert("CMYK"), "JPEG"),
    "png 1": encoded(JUST_BITS, "PNG"),
    "png L": encoded(IN_GRAY, "PNG"),
    "png LA": encoded(with_alpha(IN_GRAY), "PNG"),
    "png P": encoded(PALETTE, "PNG"),
    "png P transparent": encoded(PALETTE, "PNG", transparency=3),
    "png P with many": encoded(PALETTE, "PNG", transparency=bytes(range(0, 160, 10))),
    "png L transparent": encoded(IN_GRAY, "PNG", transparency=7),
    "png RGB": encoded(IN_COLOUR, "PNG"),
    "png RGBA": encoded(with_alpha(IN_COLOUR), "PNG"),
    "png 16": encoded(sixteen(GRAY), "PNG"),
    "png 16 LA": deep_png(np.stack([GRAY, ALPHA], 2).astype(np.uint16) * 257),
    "png 16 RGB": deep_png(COLOUR.astype(np.uint16) * 257),
    "bmp 1": encoded(JUST_BITS, "BMP"),
    "bmp L": encoded(IN_GRAY, "BMP"),
    "bmp P": encoded(PALETTE, "BMP"),
    "bmp RGB": encoded(IN_COLOUR, "BMP"),
    "tiff 1": encoded(JUST_BITS, "TIFF"),
    "tiff L": encoded(IN_GRAY, "TIFF"),
    "tiff L lzw": encoded(IN_GRAY, "TIFF", compression="tiff_lzw"),
    "tiff LA": encoded(with_alpha(IN_GRAY), "TIFF"),
    "tiff P": encoded(PALETTE, "TIFF"),
    "tiff PA": encoded(with_alpha(PALETTE), "TIFF"),
    "tiff RGB": encoded(IN_COLOUR, "TIFF"),
    "tiff RGB jpeg": encoded(IN_COLOUR, "TIFF", compression="jpeg"),
    "tiff RGBA": encoded(with_alpha(IN_COLOUR), "TIFF"),
    "tiff CMYK": encoded(IN_COLOUR.convert("CMYK"), "TIFF"),
    "tiff 16": encoded(sixteen(GRAY), "TIFF"),
    "tiff 16 lzw": encoded(sixteen(GRAY), "TIFF", compression="tiff_lzw"),
    "tiff 16 big-endian": encoded(sixteen(GRAY, "I;16B"), "TIFF"),
}
LOSSLESS = [name for name in KINDS if "jpeg" not in name]

kinds = pytest.mark.parametrize("kind", KINDS)
both = pytest.mark.parametrize("channels", [1, 3])


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
    "dicom": bytes(128) + b"DICM" + bytes(100),
    "png signature": b"\x89PNG\r\n\x1a\n"[:6],
} | ({"webp": encoded(IN_COLOUR, "WEBP")} if features.check("webp") else {})


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        decode(OTHERS[name], size=16, channels=1)
    assert str(caught.value) == (
        "an image must be one of JPEG, PNG, BMP, TIFF, but the content is not; "
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
    [(60_000, 60_000), (12_000, 12_000), (8_001, 8_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2)],
)
def test_bombs_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    refused(raw_png(width, height, 8, 0, b"\0" * 100), f"at most {MAX_PIXELS:,} pixels")


def test_the_limit_itself_is_no_bomb() -> None:
    """8,000 × 8,000 is allowed: it fails later, because these are not all of its pixels."""
    refused(raw_png(8_000, 8_000, 8, 0, b"\0" * 100), "whole and readable")


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
