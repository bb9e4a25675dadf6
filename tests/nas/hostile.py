"""Image files of every kind, made byte by byte where Pillow cannot write them."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nas.images import Pixels

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
