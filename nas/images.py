"""Bytes -> pixels: the one decoder that training and serving share.

An image is looked at before it is decoded: its format by content (never by name), its size, its
number of frames, and what decoding it would cost. What is refused is refused with a reason. In a
process of its own no file takes more than 512 MB, its own bytes and the interpreter included.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL import TiffImagePlugin as Tiff

from nas.dicom import is_dicom, read_dicom
from nas.errors import ImageError, UnsupportedImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # the fifth is DICOM, where pydicom is installed

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff", ".dcm", ".dicom"})
"""File names that a folder is searched for; the format itself is told by content."""

MAX_PIXELS = 40_000_000
"""The largest detectors, of mammography, have 28 megapixels. Twice 160 MB in colour with alpha."""

MAX_SCANS = 12
"""Of a JPEG at the largest size, more for smaller ones: each refines the whole image once. The
usual progressive file has 10; a file of a few kilobytes may have thousands and decode for hours."""

# What else a small file can make Pillow do for minutes or with gigabytes, and where that ends.
MAX_SIDE = 32_768  # pixels: 1×40,000,000 would become 64×40,000,000 on the way to a square
MAX_BYTES = 4 * MAX_PIXELS + (1 << 20)  # of a file: four channels and a header
MAX_READS = 250_000  # of parts of a header, which are read and kept one by one in Python
MAX_NUMBERS = 100_000  # in a TIFF's tags: Python objects of up to 80 times the size in the file
MAX_TEXTS = 500  # in a PNG: each may unpack to 1 MB
MAX_EXIF_BYTES, MAX_EXIF_SEGMENTS = 1 << 20, 16  # 64 kB are allowed; joined in quadratic time
MAX_RUN_LENGTH_PIXELS = 4_000_000  # of a BMP, which are decoded in Python: half a second

SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}) | SIXTEEN_BIT

Pixels = npt.NDArray[np.uint8]


class Resize(StrEnum):
    """How a picture of any shape becomes a square. Stored: members are only ever added.

    SQUASH scales both sides to the same length, whatever the aspect ratio was. CROP scales the
    short side and cuts off the long one evenly. LETTERBOX scales the long side and fills up with
    black evenly.
    """

    SQUASH = "squash"
    CROP = "crop"
    LETTERBOX = "letterbox"


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its image: format, width and height in pixels, and Pillow's mode."""

    format: str
    width: int
    height: int
    mode: str


THUMBNAIL_SIDE = 64
"""Of the thumbnail whose statistics a model's card holds (nas.data.prepare)."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture looks like, whatever a network's input is.

    Attributes:
        width: of the file's picture in pixels, as in Header.
        height: likewise.
        thumbnail: (1, 64, 64) uint8, the whole picture in gray, squashed.
        chroma: how much its pixels differ from gray: mean over 64×64 of them of the largest minus
            the smallest of red, green and blue, 0 to 255.
    """

    width: int
    height: int
    thumbnail: Pixels
    chroma: float


def decode(
    data: bytes, *, size: int, channels: int, resize: Resize | str = Resize.SQUASH
) -> Pixels:
    """Decode one image and make it a square.

    Args:
        data: a JPEG, PNG, BMP or TIFF file with one frame; 8 or 16 bits, grayscale, palette,
            colour, CMYK, with or without alpha (laid over black) and EXIF orientation (applied).
            Or a DICOM file, see nas.dicom.
        size: height and width of the result in pixels.
        channels: 1 for grayscale, 3 for RGB.
        resize: what becomes of the aspect ratio.

    Returns:
        (channels, size, size) uint8, 0 is black. A 16-bit image gives the
        picture of its 8-bit copy.

    Raises:
        UnsupportedImageError: not such an image.
        ImageError: too large, animated, truncated or broken.
    """
    resize = Resize(resize)  # here, else a wrong name would be blamed on the image
    if is_dicom(data):
        return _pixels(read_dicom(data, most_pixels=MAX_PIXELS), size, channels, resize)
    with _opened(data) as image:
        return _pixels(image, size, channels, resize)


def examine(
    data: bytes, *, size: int, channels: int, resize: Resize | str = Resize.SQUASH
) -> tuple[Pixels, Look]:
    """As ``decode``, and what the picture looks like; the file is decoded once.

    Returns:
        The pixels that ``decode`` gives, and the look.

    Raises:
        ImageError: as ``decode`` does.
    """
    resize = Resize(resize)
    if is_dicom(data):
        return _examined(read_dicom(data, most_pixels=MAX_PIXELS), size, channels, resize)
    with _opened(data) as image:
        return _examined(image, size, channels, resize)


def look(data: bytes) -> Header:
    """What ``decode`` would find, without decoding; of a DICOM file the pixels are decoded.

    Raises:
        ImageError: ``decode`` would refuse it before decoding; see there.
    """
    if is_dicom(data):
        picture = read_dicom(data, most_pixels=MAX_PIXELS)
        return Header("DICOM", *picture.size, picture.mode)
    with _opened(data) as image:
        return Header(image.format or "?", *image.size, image.mode)


class _Reader(io.BytesIO):
    """A file that cannot be read in too many pieces."""

    left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        _cheap(self.left >= 0, "too many parts")
        return super().read(size)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image, checked and not yet decoded; whatever goes wrong inside becomes an ImageError."""
    kind = "image"
    try:
        _check_header(data)
        with Image.open(_Reader(data), formats=FORMATS) as image:
            kind = image.format or kind
            _check(image, data)
            yield image
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _must(False, f"have at most {MAX_PIXELS:,} pixels", "has more", "save it smaller")
    except UnidentifiedImageError:
        raise UnsupportedImageError(
            f"an image must be one of {', '.join(FORMATS)}, DICOM, but the content is not; "
            "convert it to one of these"
        ) from None
    except Exception as error:  # noqa: BLE001 - parsers fed with hostile bytes raise all kinds
        raise ImageError(
            f"an image must be whole and readable, but decoding this {kind} failed "
            f"({type(error).__name__}); export it again from its source"
        ) from None


def _must(holds: bool, rule: str, found: str, remedy: str) -> None:
    if not holds:
        raise ImageError(f"an image must {rule}, but this one {found}; {remedy}") from None


def _cheap(holds: bool, found: str) -> None:
    _must(holds, "be cheap to decode", f"has {found}", "save it anew")


def _check_header(data: bytes) -> None:
    """What would be too late after Image.open."""
    fits = len(data) <= MAX_BYTES
    _must(fits, f"have at most {MAX_BYTES:,} bytes", f"has {len(data):,}", "save it smaller")
    if data.startswith(b"\xff\xd8"):
        _cheap(data.count(b"Exif\0\0") <= MAX_EXIF_SEGMENTS, "EXIF data in many segments")
    elif data.startswith(b"\x89PNG"):
        _cheap(sum(map(data.count, (b"iCCP", b"iTXt", b"zTXt"))) <= MAX_TEXTS, "too many texts")
    elif data.startswith((b"II", b"MM")):
        _cheap(_numbers(data) <= MAX_NUMBERS, f"more than {MAX_NUMBERS:,} numbers in its tags")


def _numbers(data: bytes) -> int:
    """How many the tags of a TIFF's first image hold, beside its bytes (of types 1, 2 and 7)."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], "little" if data[0] == 0x49 else "big")

    # Widths of a number of tags, of an offset and of a tag; Pillow knows BigTIFF by this byte.
    few, wide, tag = (8, 8, 20) if data[2:3] == b"\x2b" else (2, 4, 12)
    first = number(wide, wide) + few
    tags = range(first, min(first + number(first - few, few) * tag, len(data)), tag)
    return sum(number(at + 4, wide) for at in tags if number(at + 2, 2) not in {1, 2, 7})


def _check(image: Image.Image, data: bytes) -> None:
    area = image.width * image.height
    rule = f"have at most {MAX_PIXELS:,} pixels, {MAX_SIDE:,} a side"
    fits = area <= MAX_PIXELS and max(image.size) <= MAX_SIDE
    _must(fits, rule, f"has {image.width}×{image.height}", "save it smaller")
    # Not n_frames, which in a TIFF walks through every frame that a file can be made to have.
    single = not getattr(image, "is_animated", False)
    _must(single, "have one frame", "has several", "save the frame that is meant")
    bits = getattr(image, "tag_v2", {}).get(Tiff.BITSPERSAMPLE, (16,))[0]
    known = image.mode in MODES and (image.mode not in SIXTEEN_BIT or bits == 16)
    rule, found = "have 8 or 16 bits a channel", f"has pixels of {image.mode!r}, {bits} bits"
    _must(known, rule, found, "save it as 16-bit grayscale")
    match image.format:
        case "JPEG" | "MPO":
            scans = _check_scans(data, area)
            if scans > 1 or "progressive" in image.info:
                kept = 2 * getattr(image, "layers", 4) * area + len(data)  # all coefficients
                _cheap(kept <= 8 * MAX_PIXELS, "too many pixels for several scans")
        case "TIFF":
            _check_tiff(image, data)
        case "BMP" if image.info.get("compression") in {1, 2}:
            _cheap(area <= MAX_RUN_LENGTH_PIXELS, "too much run-length code")


def _check_tiff(image: Image.Image, data: bytes) -> None:
    get: Any = getattr(image, "tag_v2", {}).get
    width, height = get(Tiff.IMAGEWIDTH), get(Tiff.IMAGELENGTH)  # image.size is already turned
    across = get(Tiff.TILEWIDTH, width)
    down = get(Tiff.TILELENGTH, min(height, get(Tiff.ROWSPERSTRIP, height)))
    padded = -(-width // across) * across * -(-height // down) * down
    _cheap(padded <= 2 * MAX_PIXELS, f"tiles of {across}×{down} pixels")
    # Strips may lie over each other; seven planes is the most that Pillow knows.
    boxes = (tile[1] for tile in getattr(image, "tile", ()))
    painted = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)
    _cheap(painted <= 7 * width * height, "more strips than it needs")
    compression = image.info["compression"]
    if "jpeg" in compression:
        _check_scans(data, across * down)
    if compression != "raw":
        # One is kept beside the file and two images, as RGBA if its colours are YCbCr.
        samples = 1 if get(Tiff.PLANAR_CONFIGURATION) == 2 else get(Tiff.SAMPLESPERPIXEL, 1)
        as_colours = get(Tiff.PHOTOMETRIC_INTERPRETATION) == 6 or compression == "tiff_jpeg"
        bits = 32 if as_colours else samples * max(get(Tiff.BITSPERSAMPLE, (1,)))
        size = across * down * bits // 8
        _cheap(size + len(data) <= MAX_BYTES, f"strips of {size:,} bytes")


def _check_scans(data: bytes, pixels: int) -> int:
    scans = data.count(b"\xff\xda")
    _cheap(scans <= max(MAX_SCANS, MAX_SCANS * MAX_PIXELS // pixels), f"{scans} scans")
    return scans


def _pixels(image: Image.Image, size: int, channels: int, resize: Resize) -> Pixels:
    mode = "L" if channels == 1 else "RGB"
    whole = _whole(image, size, mode)
    return _array(_square(whole, size, resize), mode)


def _examined(image: Image.Image, size: int, channels: int, resize: Resize) -> tuple[Pixels, Look]:
    width, height = image.size
    mode = "L" if channels == 1 else "RGB"
    # A JPEG keeps brightness apart from colour: with its colours the same gray costs little more.
    whole = _whole(image, size, "YCbCr" if mode == "L" and _keeps_brightness(image) else mode)
    # One pixel of many: of the mean of so many that is good enough, and costs nothing.
    chroma = _chroma(whole.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.NEAREST))
    if whole.mode == "YCbCr" and mode == "L":
        whole = whole.getchannel(0)
    small = _square(whole, size, resize)
    if resize is Resize.SQUASH and size == THUMBNAIL_SIDE:
        tiny = small
    else:
        shape = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        tiny = whole.resize(shape, Image.Resampling.BILINEAR, reducing_gap=3)
    return _array(small, mode), Look(width, height, _array(tiny, "L"), chroma)


def _chroma(picture: Image.Image) -> float:
    """Mean of the largest minus the smallest of red, green and blue."""
    if picture.mode == "L":
        return 0.0
    if picture.mode == "YCbCr":
        picture = picture.convert("RGB")
    colours = np.asarray(picture)[:, :, :3]
    red, green, blue = colours[:, :, 0], colours[:, :, 1], colours[:, :, 2]
    highest = np.maximum(np.maximum(red, green), blue)
    return float((highest - np.minimum(np.minimum(red, green), blue)).mean())


def _keeps_brightness(image: Image.Image) -> bool:
    """Whether a JPEG is surely stored as YCbCr, by the rules of libjpeg's default_colorspace.

    The few others are decoded to gray as ever, and their colours are not seen.
    """
    if image.format not in {"JPEG", "MPO"} or image.mode != "RGB":
        return False
    names = [layer[0] for layer in getattr(image, "layer", ())]
    return "jfif" in image.info or (
        image.info.get("adobe_transform", 1) == 1 and names != [*b"RGB"]
    )


def _whole(image: Image.Image, size: int, mode: str) -> Image.Image:
    """Decoded, upright, 8 bits, of mode L, RGB, RGBa (with alpha) or the YCbCr of ``mode``."""
    if image.format == "JPEG" and image.mode in {"L", "RGB", "CMYK"}:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 size at a fraction of the cost; twice the final
        # size is kept so that the last step still averages.
        image.draft(mode, (2 * size, 2 * size))
    if image.format == "TIFF":
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop):
            image.getexif().pop(directory, None)  # else all numbers in it would become objects
    image.load()
    _cheap(len(image.info.get("exif", b"")) <= MAX_EXIF_BYTES, "too much EXIF data")
    # In place: a copy of everything would be made even where there is nothing to turn.
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in SIXTEEN_BIT:
        image = _eight_bit(image)
    if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
        # Multiplied by alpha, colours can be averaged, and they lie over black.
        return _converted(_converted(image, "RGBA"), "RGBa")
    if image.mode not in {"L", "RGB", mode}:
        return _converted(image, "RGB")  # palettes and CMYK have no direct way to grayscale
    return image


def _array(small: Image.Image, mode: str) -> Pixels:
    """(channels, height, width) uint8 of a picture as ``_whole`` gives it."""
    if small.mode == "RGBa":
        small = Image.fromarray(np.asarray(small)[:, :, :3])
    array = np.array(small.convert(mode))  # a copy: Pillow's own is read-only, torch warns of it
    return np.ascontiguousarray(array[None] if mode == "L" else array.transpose(2, 0, 1))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """In another mode. The original is let go of: a third copy would be too much."""
    converted = image.convert(mode)
    image.close()
    return converted


def _square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    """(size, size) pixels of the same mode."""
    width, height = image.size
    match resize:
        case Resize.SQUASH:
            return image.resize((size, size), Image.Resampling.BILINEAR)
        case Resize.CROP:
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
            return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        case Resize.LETTERBOX:
            side = max(width, height)
            shape = (max(1, round(width * size / side)), max(1, round(height * size / side)))
            whole = image.resize(shape, Image.Resampling.BILINEAR)
            square = Image.new(whole.mode, (size, size))  # black; with alpha, nothing
            square.paste(whole, ((size - shape[0]) // 2, (size - shape[1]) // 2))
            return square


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8; Pillow's own conversion clips everything above 255 to white."""
    # 65535 / 255 = 257 exactly: a 16-bit copy of an 8-bit value v is 257 v.
    table = np.rint(np.arange(1 << 16) / 257).astype(int).tolist()
    if isinstance(clear := image.info.pop("transparency", None), int):
        table[clear] = 0  # a PNG may name one value that is transparent: over black
    return image.convert("I").point(table, "L")
