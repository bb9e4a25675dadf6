"""Bytes -> pixels: the one decoder that training and serving share.

An image is looked at before it is decoded: its format by content (never by name), its size, its
number of frames. What is refused is refused with a reason.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.errors import ImageError, UnsupportedImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff"})
"""File names that a folder is searched for; the format itself is told by content."""

MAX_PIXELS = 64_000_000
"""Twice the largest digital radiography detectors (about 30 megapixels); decoded it is 192 MB."""

SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}) | SIXTEEN_BIT

Pixels = npt.NDArray[np.uint8]


def decode(data: bytes, *, size: int, channels: int) -> Pixels:
    """Decode one image and squash it to a square.

    Args:
        data: a JPEG, PNG, BMP or TIFF file with one frame; 8 or 16 bits, grayscale, palette,
            colour, CMYK, with or without alpha (laid over black) and EXIF orientation (applied).
        size: height and width of the result in pixels; the aspect ratio is not kept.
        channels: 1 for grayscale, 3 for RGB.

    Returns:
        (channels, size, size) uint8, 0 is black. A 16-bit image gives the
        picture of its 8-bit copy.

    Raises:
        UnsupportedImageError: not such an image.
        ImageError: too large, animated, truncated or broken.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(_too_large("its header's")) from None
    except UnidentifiedImageError:
        raise UnsupportedImageError(
            f"an image must be one of {', '.join(FORMATS)}, but the content is not; "
            "convert it to one of these"
        ) from None
    except Exception as error:  # noqa: BLE001 - parsers fed with hostile bytes raise all kinds
        raise ImageError(_broken("image", error)) from None
    with image:
        try:
            _check(image)
            return _pixels(image, size, channels)
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise ImageError(_broken(image.format or "image", error)) from None


def _check(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(f"{width}×{height}"))
    if getattr(image, "n_frames", 1) != 1:
        raise ImageError(
            "an image must have one frame, but this one has several; save the frame that is meant"
        )
    if image.mode not in MODES:
        raise ImageError(
            f"an image must have 8 or 16 bits a channel, but this one's pixels are {image.mode!r}; "
            "save it as 8-bit or 16-bit grayscale"
        )


def _too_large(size: str) -> str:
    return f"an image must have at most {MAX_PIXELS:,} pixels, but {size} are more; save it smaller"


def _broken(kind: str, error: Exception) -> str:
    return (
        f"an image must be whole and readable, but decoding this {kind} failed "
        f"({type(error).__name__}); export it again from its source"
    )


def _pixels(image: Image.Image, size: int, channels: int) -> Pixels:
    mode = "L" if channels == 1 else "RGB"
    if image.format == "JPEG" and image.mode in {"L", "RGB"}:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 size at a fraction of the cost; twice the final
        # size is kept so that the last step still averages.
        image.draft(mode, (2 * size, 2 * size))
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in SIXTEEN_BIT:
        upright = _eight_bit(upright)
    clear = upright.mode in {"LA", "PA", "RGBA"} or "transparency" in upright.info
    if clear:
        upright = upright.convert("RGBA")
    elif upright.mode not in {mode, "L"}:
        upright = upright.convert("RGB")  # palettes and CMYK have no direct way to grayscale
    small = upright.resize((size, size), Image.Resampling.BILINEAR)
    if clear:
        small = Image.alpha_composite(Image.new("RGBA", small.size, (0, 0, 0, 255)), small)
        small = small.convert("RGB")
    small = small.convert(mode)
    array = np.array(small, dtype=np.uint8)  # a copy: Pillow's own is read-only, torch warns of it
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8; Pillow's own conversion clips everything above 255 to white."""
    values = np.asarray(image).astype(np.float32)
    if isinstance(clear := image.info.get("transparency"), int):
        values[values == clear] = 0  # a PNG may name one value that is transparent: over black
    # 65535 / 255 = 257 exactly: a 16-bit copy of an 8-bit value v is 257 v.
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))
