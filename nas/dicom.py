"""DICOM bytes -> an 8-bit picture; needs the extra "dicom" (pydicom).

The elements are walked here, and only those that describe pixels are looked at. pydicom's reader
makes 84 bytes of objects of each byte of a hostile header (measured), inflates deflated files, and
quotes values, a patient's name among them, in warnings and logs. It is given only the pixel data
and checked numbers, in a form that it has nothing to warn of: a warning could be silenced only for
the whole process, since ``warnings.catch_warnings`` is not thread-safe.
"""

import numpy as np
from PIL import Image

from nas.dicom_elements import Array, Walker
from nas.dicom_frames import BIG_ENDIAN, IMPLICIT, Layout, Pixels, decoder_for, layout_of, pixels_of
from nas.dicom_shades import shades_of
from nas.errors import ImageError

STRIP = 1 << 20
"""Pixels that are worked on at a time: what is wider than 16 bits never exists for all of them."""


def is_dicom(data: bytes) -> bool:
    """Whether this is a DICOM file with its preamble (DICOM PS3.10, 7.1)."""
    return data[128:132] == b"DICM"


def read_dicom(data: bytes, *, most_pixels: int) -> Image.Image:
    """Decode a file for which ``is_dicom`` holds to the picture that its window shows.

    Grayscale goes through the modality and the first VOI transformation, whose output range
    becomes 0 to 255; without a VOI, all that the stored bits can hold does. It never depends on
    the values that occur, so brightness can be compared between images.

    Args:
        data: one frame of 8 or 16 bits a sample; a compressed one if pydicom has a decoder for it.
        most_pixels: rows × columns at most.

    Returns:
        (rows, columns) in mode "L" or "RGB"; 0 is black, also for MONOCHROME1.

    Raises:
        UnsupportedImageError: pydicom, or a decoder for this kind of compression, is missing.
        ImageError: too large, of several frames, truncated or broken.
    """
    try:
        return _read(memoryview(data), most_pixels)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers fed with hostile bytes raise all kinds
        raise ImageError(
            "an image must be whole and readable, but decoding this DICOM failed "
            f"({type(error).__name__}); export it again from its source"
        ) from None


def _read(data: memoryview, most_pixels: int) -> Image.Image:
    meta, at = Walker(data, "<").elements(132, last=0x0002FFFF)
    syntax = meta.text(0x00020010)
    decoder = decoder_for(syntax)
    order = ">" if syntax == BIG_ENDIAN else "<"
    fields, _ = Walker(data, order, explicit=syntax != IMPLICIT).elements(at)
    layout = layout_of(fields, most_pixels)
    table = shades_of(fields, layout)
    pixels, photometric = pixels_of(fields, layout, syntax, decoder)
    return _paint(pixels, table, layout, photometric)


def _paint(pixels: Pixels, table: Array, layout: Layout, photometric: str) -> Image.Image:
    """Look every pixel up; bits that are not stored do not count."""
    from pydicom.pixels.processing import convert_color_space

    colour = layout.samples_per_pixel == 3 or table.ndim == 2
    image = Image.new("RGB" if colour else "L", (layout.columns, layout.rows))
    height = max(1, STRIP // layout.columns)
    for top in range(0, layout.rows, height):
        end = min(top + height, layout.rows)
        if isinstance(pixels, Image.Image):
            codes = np.asarray(pixels.crop((0, top, layout.columns, end)))
        else:
            codes = pixels[top:end]
        strip: Array = table[codes.astype(np.int32) & (2**layout.bits_stored - 1)]
        if photometric.startswith("YBR_FULL"):
            strip = convert_color_space(strip, "YBR_FULL", "RGB")
        image.paste(Image.fromarray(strip), (0, top))
    return image
