"""Image files of every kind, made byte by byte where Pillow cannot write them."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features

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


# The corpus ---------------------------------------------------------------------------------------


def tiff(tags: Mapping[int, tuple[int, list[int]]], body: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: tag -> type (1 byte, 3 short, 4 long, 5 rational) and numbers."""
    start = 8 + len(body) + len(body) % 2
    entries, outside = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}{'_BBHII'[kind]}", *numbers)
        count = len(numbers) // 2 if kind == 5 else len(numbers)
        if len(packed) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(outside)
            outside += packed
            packed = struct.pack("<I", place)
        entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", start) + body.ljust(start - 8, b"\0")
    return head + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + outside


def plain_tiff(
    changes: Mapping[int, list[int]],
    body: bytes = bytes(64),
    *,
    width: int = 8,
    height: int = 8,
) -> bytes:
    """8-bit grayscale in one strip; ``changes`` are tags with other numbers."""
    tags = {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 273: [8], 277: [1]}
    tags |= {278: [height], 279: [len(body)], **changes}
    return tiff({tag: (4, numbers) for tag, numbers in tags.items()}, body)


def bmp(
    width: int, height: int, body: bytes, *, bits: int = 8, coding: int = 0, header: int = 40
) -> bytes:
    """A BMP without a palette of its own."""
    if header == 12:
        head = struct.pack("<IHHHH", 12, width & 0xFFFF, height & 0xFFFF, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, coding, 0, 0, 0, 0, 0)
        head = head.ljust(header, b"\0")
    palette = bytes((3 if header == 12 else 4) << bits) if bits <= 8 else b""
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + palette + body


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def exif(orientation: int, kind: int = 3, numbers: int = 1, following: int = 0) -> bytes:
    """What a JPEG or PNG holds of EXIF: a small TIFF."""
    return tiff({274: (kind, [orientation] * numbers)}, following=following)


def in_jpeg(*parts: bytes, kind: str = "jpeg RGB") -> bytes:
    return KINDS[kind][:2] + b"".join(parts) + KINDS[kind][2:]


def in_png(*parts: tuple[bytes, bytes], late: bool = False) -> bytes:
    """A grayscale PNG with chunks before or after its pixels."""
    data = KINDS["png L"]
    place = data.index(b"IEND") - 4 if late else 33
    return data[:place] + b"".join(chunk(*part) for part in parts) + data[place:]


def zeros_png(
    width: int, height: int, bits: int, colour: int, *extra: tuple[bytes, bytes]
) -> bytes:
    """All zeros, without ever holding them."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    squeeze = zlib.compressobj(1)
    row = bytes(1 + (width * samples * bits + 7) // 8)
    rows = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*one) for one in extra)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scans(count: int, side: int = 128) -> bytes:
    """A progressive JPEG whose last scan is said again and again."""
    data = encoded(Image.fromarray(noise(side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def _sizes() -> Iterator[tuple[str, bytes]]:
    forms = {"PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], "JPEG": ["L", "RGB", "CMYK"]}
    forms |= {"BMP": ["1", "L", "P", "RGB"], "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"]}
    for format, modes in forms.items():
        for mode in modes:
            for size in [(1, 1), (1, 97), (97, 1), (3, 5000), (5000, 3)]:
                yield f"{format} {mode} {size}", encoded(Image.new(mode, size), format)


def _damaged() -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(1)
    for kind, data in KINDS.items():
        for end in random.choice(len(data), 6, replace=False):
            yield f"{kind} cut at {end}", data[:end]
        for place in random.choice(min(len(data), 400), 6, replace=False):
            flipped = bytearray(data)
            flipped[place] ^= 1 << random.integers(8)
            yield f"{kind} flipped at {place}", bytes(flipped)
        yield f"{kind} with another's header", KINDS["png RGB"][:40] + data[40:]
        yield f"{kind} in another", KINDS["jpeg RGB"][:300] + data
        yield f"{kind} twice", data * 2
        yield f"{kind} and a ZIP", data + b"PK\5\6" + bytes(18)


def _odd_pngs() -> Iterator[tuple[str, bytes]]:
    for bits in (0, 1, 2, 4, 8, 16, 17):
        for colour in (0, 1, 2, 3, 4, 6, 7):
            yield f"png {bits} bits, colour {colour}", raw_png(8, 8, bits, colour, bytes(600))
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 9), (2**32 - 1, 1)):
        yield f"png said to be {width}×{height}", raw_png(width, height, 8, 0, bytes(99))
    bomb = b"x\0\0" + zlib.compress(bytes(50_000_000), 9)
    megabyte = zlib.compress(bytes(1_000_000), 9)
    for late in (False, True):
        when = " late" if late else ""
        yield f"png zTXt{when}", in_png((b"zTXt", bomb), late=late)
        yield f"png iCCP{when}", in_png((b"iCCP", bomb), late=late)
        yield f"png iTXt{when}", in_png((b"iTXt", b"x\0\1\0\0\0" + bomb[3:]), late=late)
        yield (
            f"png nameless texts{when}",
            in_png(*[(b"zTXt", b"\0\0" + megabyte)] * 2000, late=late),
        )
        yield f"png texts{when}", in_png(*[(b"zTXt", b"x\0\0" + megabyte)] * 60, late=late)
        yield f"png chunks{when}", in_png(*[(b"abCd", b"")] * 400_000, late=late)
        yield f"png many numbers{when}", in_png((b"eXIf", exif(1, 5, 800_000)), late=late)
        yield f"png exif{when}", in_png((b"eXIf", bytes(70_000)), late=late)
        yield (
            f"png exif as text{when}",
            in_png((b"tEXt", b"exif\0" + exif(6, 5, 600_000)), late=late),
        )
    yield "png XMP", in_png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation>6"))
    yield "png empty IDATs", in_png(*[(b"IDAT", b"")] * 400_000)
    yield "png with more than its pixels", raw_png(4, 4, 8, 0, bytes(200_000_000))
    yield "png animated", in_png((b"acTL", struct.pack(">II", 2, 0)))
    yield "png animated endlessly", in_png((b"acTL", struct.pack(">II", 2**31, 0)))
    yield "png animated once", in_png((b"acTL", struct.pack(">II", 1, 0)))
    yield "png two headers", in_png((b"IHDR", struct.pack(">IIBBBBB", 6000, 6000, 8, 6, 0, 0, 0)))
    yield "png two palettes", in_png((b"PLTE", bytes(30)), (b"PLTE", bytes(3 * 300)))
    yield "png short transparency", in_png((b"tRNS", b"\0"))
    yield "png RLE length", KINDS["png L"].replace(b"\0\0\0\rIHDR", b"\xff\xff\xff\xffIHDR")


def _odd_jpegs() -> Iterator[tuple[str, bytes]]:
    frame = KINDS["jpeg RGB"].index(b"\xff\xc0")
    for name, place, value in [
        ("sampling 4×4", 11, 0x44), ("sampling 0", 11, 0), ("sampling 15", 11, 0xFF),
        ("sampling 1×4 of blue", 14, 0x14), ("12 bits", 4, 12), ("2 layers", 9, 2),
        ("255 layers", 9, 255), ("no table", 12, 9), ("arithmetic", 1, 0xC9), ("lossless", 1, 0xC3),
        ("progressive in name", 1, 0xC2), ("huge", 5, 0xFF), ("flat", 6, 0),
    ]:  # fmt: skip
        data = bytearray(KINDS["jpeg RGB"])
        data[frame + place] = value
        yield f"jpeg {name}", bytes(data)
    for count in (11, 100, 3000):
        yield f"jpeg {count} scans", scans(count)
    yield "jpeg 3000 scans of a tiny one", scans(3000, 8)
    for interval in (0, 1, 65535):
        yield f"jpeg restart {interval}", in_jpeg(segment(0xDD, struct.pack(">H", interval)))
    for orientation in (0, 9, 65535):
        yield f"jpeg turned {orientation}", in_jpeg(segment(0xE1, b"Exif\0\0" + exif(orientation)))
    text = segment(0xE1, b"Exif\0\0" + exif(6, kind=2))
    for name, parts in {
        "turned by text": [text],
        "EXIF loop": [segment(0xE1, b"Exif\0\0" + exif(6, following=8))],
        "EXIF of many numbers": [segment(0xE1, b"Exif\0\0" + exif(6, 5, 8000))],
        "EXIF garbage": [segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 100)],
        "EXIF segments": [segment(0xE1, b"Exif\0\0" + bytes(9))] * 200_000,
        "EXIF of 16 segments": [segment(0xE1, b"Exif\0\0" + exif(6, 4, 10_000))] * 16,
        "comments": [segment(0xFE, b"")] * 2_000_000,
        "stray bytes": [segment(0xFE, b""), bytes(4_000_000)],
        "padding": [b"\xff" * 4_000_000],
        "ICC": [segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(65_000))] * 255,
        "MPF": [segment(0xE2, b"MPF\0" + exif(6))],
        "MPF images": [segment(0xE2, b"MPF\0" + tiff({0xB001: (4, [2**32 - 1])}))],
        "Photoshop": [segment(0xED, b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\0" * 5000)],
        "second start": [b"\xff\xd8\xff\xd9"],
    }.items():
        yield f"jpeg {name}", in_jpeg(*parts)


def _odd_tiffs() -> Iterator[tuple[str, bytes]]:
    many = 2_000_000
    codings = [2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34676, 34712, 34925, 50000, 50001, 65535]
    for coding in codings:
        yield f"tiff coding {coding}", plain_tiff({259: [coding]})
    for bits in (1, 2, 4, 12, 16, 24, 32, 64):
        for form in (1, 2, 3):
            data = plain_tiff({258: [bits], 339: [form]}, bytes(512))
            yield f"tiff {bits} bits, sample format {form}", data
    side, row = 40_000, zlib.compress(bytes(40_000))
    odd: dict[str, dict[int, list[int]]] = {
        "samples 65535": {277: [65535]}, "samples 7": {277: [7]},
        "no rows": {278: [0]}, "all rows": {278: [2**32 - 1]},
        "strip beyond": {273: [2**32 - 1]}, "no strip": {273: []},
        "strips": {273: [8] * many}, "strips of one row": {273: [8] * 50_000, 278: [1]},
        "bits": {258: [8] * many}, "turned by many": {274: [6] * many},
        "width of two": {256: [8, 8]}, "huge": {256: [2**32 - 1], 257: [2**32 - 1]},
        "tiles": {322: [6000], 323: [6000], 324: [8] * 9, 325: [9]},
        "tiles 0": {322: [0], 323: [0], 324: [8]},
        "tiles beyond": {322: [2**31], 323: [2**31], 324: [8], 259: [8]},
        "tiles of one row": {257: [30_000], 322: [30_000_000], 323: [1], 259: [8],
                             324: [8] * 30_000, 325: [64] * 30_000},
        "itself as child": {330: [72], 34665: [72]},
    }  # fmt: skip
    for name, changes in odd.items():
        yield f"tiff {name}", plain_tiff(changes)
    yield "tiff wide", plain_tiff({259: [8]}, row, width=side, height=1)
    yield "tiff planes", plain_tiff({262: [2], 277: [3], 284: [2], 258: [8] * 3}, bytes(192))
    yield "tiff old JPEG", plain_tiff({259: [6], 513: [8], 514: [9]}, KINDS["jpeg L"])
    for count in (100, 3000):
        yield f"tiff {count} scans", plain_tiff({259: [7]}, scans(count), width=128, height=128)
    yield "tiff rationals", tiff({256: (5, [1] * many)})
    child = tiff({33434: (5, [1] * many)}, bytes(64))
    place = struct.unpack("<I", child[4:8])[0]
    tags = {256: [8], 257: [8], 258: [8], 259: [1], 262: [1], 273: [8], 277: [1], 34665: [place]}
    parent = tiff({tag: (4, numbers) for tag, numbers in tags.items()}, child[8:])
    yield "tiff rationals in a child", parent
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * i) for i in range(1, 100_000))
    start = struct.unpack("<I", (first := plain_tiff({}, chain))[4:8])[0]
    following = start + 2 + 12 * int.from_bytes(first[start : start + 2], "little")
    for name, place in (("chain", 8), ("itself", start), ("beyond", 2**31)):
        data = first[:following] + struct.pack("<I", place) + first[following + 4 :]
        yield f"tiff next {name}", data
    for order in (b"II\x2b\0", b"MM\0\x2b", b"II\0\x2a"):
        yield f"tiff {order!r}", order + struct.pack("<HHQQ", 8, 0, 16, 2**60) + bytes(1000)
    entries = b"".join(struct.pack("<HHQQ", i % 65536, 9, 1, 1) for i in range(600_000))
    yield "tiff of 64 bits", b"II\x2b\0" + struct.pack("<HHQQ", 8, 0, 16, 600_000) + entries


def _odd_bmps() -> Iterator[tuple[str, bytes]]:
    for header in (12, 16, 40, 52, 56, 64, 108, 124, 125, 2**31):
        data = bmp(8, 8, bytes(999), header=min(header, 200))
        yield f"bmp header {header}", data[:14] + struct.pack("<I", header) + data[18:]
    for bits in (0, 1, 2, 4, 8, 16, 24, 32, 33):
        yield f"bmp {bits} bits", bmp(8, 8, bytes(999), bits=bits)
        yield f"bmp {bits} bits top down", bmp(8, -8, bytes(999), bits=bits)
    for width, height in ((30_000, 30_000), (-8, 8), (0, 8), (8, -(2**31)), (40_000_000, 1)):
        yield f"bmp said to be {width}×{height}", bmp(width, height, bytes(99))
    codes = {"run": b"\xff\1", "odd": b"\0\5abcde", "step": b"\0\2\xff\xff", "end": b"\1\1\0\0"}
    for coding, bits in ((1, 8), (2, 4)):
        for name, code in codes.items():
            for side in (50, 2000, 6000):
                data = bmp(side, side, code * 50_000, bits=bits, coding=coding)
                yield f"bmp coding {coding} {name} {side}", data
    for coding in (3, 4, 5, 6, 99):
        yield f"bmp coding {coding}", bmp(8, 8, bytes(999), bits=32, coding=coding)


def _others() -> Iterator[tuple[str, bytes]]:
    """What is no image of a format that is read."""
    yield from {"empty": b"", "a byte": b"\x89", "text": b"no image", "NUL": bytes(1000)}.items()
    yield "html", b"<!doctype html><img src=x>"
    yield "thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)
    yield "psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(99)
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    yield "zip", b"PK\5\6" + bytes(18)
    for format in ("GIF", "PPM", "ICO", "PDF", "TGA", "PCX", "EPS", "DDS", "SGI", "WEBP", "AVIF"):
        if format.lower() not in ("webp", "avif") or features.check(format.lower()):
            yield format.lower(), encoded(IN_COLOUR, format)
    yield "gif and PNG", encoded(IN_GRAY, "GIF") + KINDS["png L"]


def corpus() -> dict[str, bytes]:
    """Odd and hostile files; what is large in them is made anew at each call."""
    sections = (_others, _sizes, _damaged, _odd_pngs, _odd_jpegs, _odd_tiffs, _odd_bmps)
    return {name: data for section in sections for name, data in section()}
