"""The frame of a DICOM file -> its samples, with pydicom's decoders where it is compressed."""

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from nas.dicom_elements import MAX_ELEMENTS, PIXELS, Array, Fields, Walker, must
from nas.errors import ImageError, UnsupportedImageError

MAX_TILES = 4096
"""Of a JPEG 2000 frame: OpenJPEG takes kilobytes for each before it looks at any."""

IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT, "1.2.840.10008.1.2.1", BIG_ENDIAN)
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_8_BIT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")  # beginnings, the second is HTJ2K
SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3}
SAMPLES |= {"YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3}

START_OF_FRAME = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7}) - {0xFFC4, 0xFFC8, 0xFFCC}
"""ISO/IEC 10918-1, table B.1; 0xFFF7 is that of JPEG-LS."""

Pixels = Array | Image.Image
"""Rows × columns × samples; as an image where that saves a copy."""


def decoder_for(syntax: str) -> Any:
    """pydicom's decoder for a transfer syntax.

    Raises:
        UnsupportedImageError: pydicom, or a plugin for this kind of compression, is missing.
    """
    try:
        from pydicom import uid
        from pydicom.pixels.decoders.base import get_decoder
    except ImportError:
        raise UnsupportedImageError(
            "a DICOM image needs pydicom, which is not installed; pip install pydicom"
        ) from None
    # An unknown text is neither repeated nor shown to pydicom, which warns of it.
    known = syntax in uid.AllTransferSyntaxes
    name = uid.UID(syntax).name if known else "an unknown transfer syntax"
    try:
        decoder = get_decoder(uid.UID(syntax)) if known else None
    except NotImplementedError:
        decoder = None
    if decoder is None or syntax == DEFLATED or not decoder.is_available:
        raise _unsupported(name)
    return decoder


def _unsupported(name: str) -> ImageError:
    return UnsupportedImageError(
        f"a DICOM image must be compressed in a way that can be read, but this is {name}; "
        "decompress it, or pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
    )


class Layout(NamedTuple):
    """How the pixels lie in the file (DICOM PS3.3, C.7.6.3), in pydicom's words."""

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int


def layout_of(fields: Fields, most_pixels: int) -> Layout:
    """Check all that decides how much memory decoding takes, before anything is decoded."""
    rows, columns = fields.whole("Rows", 0x00280010), fields.whole("Columns", 0x00280011)
    size = f"has {rows}×{columns}"
    must(rows * columns > 0, "have at least one pixel", size)
    must(rows * columns <= most_pixels, f"have at most {most_pixels:,} pixels", size, "shrink it")
    frames = fields.text(0x00280008)
    must(frames in ("", "1"), "have one frame", "has another number", "save the one that is meant")
    photometric, samples = fields.text(0x00280004), fields.whole("SamplesPerPixel", 0x00280002)
    ok = photometric in SAMPLES
    must(ok, f"be one of {', '.join(SAMPLES)}", "is not", "export it as grayscale or RGB")
    right = SAMPLES[photometric]
    must(samples == right, f"have {right} samples a pixel for {photometric}", f"has {samples}")
    allocated, stored = (
        fields.whole("BitsAllocated", 0x00280100),
        fields.whole("BitsStored", 0x00280101),
    )
    must(allocated in (8, 16), "have 8 or 16 bits allocated", f"has {allocated}")
    must(1 <= stored <= allocated, f"store 1 to {allocated} bits", f"stores {stored}")
    high = fields.whole("HighBit", 0x00280102, stored - 1)
    must(high == stored - 1, f"have {stored - 1} as its highest bit", f"has {high}")
    signed = fields.whole("PixelRepresentation", 0x00280103, 0)
    must(signed <= (samples == 1), "be unsigned, or gray and signed", f"has the code {signed}")
    planar = fields.whole("PlanarConfiguration", 0x00280006, 0)
    must(planar <= 1, "have planar configuration 0 or 1", f"has {planar}")
    must(PIXELS in fields.raw, "have pixels of whole numbers", "has none")
    return Layout(rows, columns, samples, photometric, planar, allocated, stored, signed)


def pixels_of(fields: Fields, layout: Layout, syntax: str, decoder: Any) -> tuple[Pixels, str]:
    """Decode; also returns the colour space that the result is in."""
    vr, value = fields.raw[PIXELS]
    photometric = layout.photometric_interpretation
    if syntax == RLE:
        return _unpacked(Walker(value, "<").frame(), layout), photometric
    if syntax in NATIVE:
        size = layout.rows * layout.columns * layout.samples_per_pixel * layout.bits_allocated // 8
        size = size * 2 // 3 if photometric == "YBR_FULL_422" else size
        must(len(value) >= size, f"have {size:,} bytes of pixels", f"has {len(value):,}")
        # Else pydicom would take what is too much for further frames.
        source: Any = value[: size + size % 2]
        options = {"view_only": True, "correct_unused_bits": False, "pixel_vr": vr.decode()}
    else:
        from pydicom.encaps import encapsulate

        frame = Walker(value, "<").frame()
        if syntax.startswith(JPEG_2000):
            frame = frame[max(frame.find(b"\xff\x4f\xff\x51"), 0) :]  # without the boxes of a JP2
            _check_jpeg_2000(frame, layout)
        else:
            photometric = _check_jpeg(frame, layout)
            if syntax in JPEG_8_BIT and layout.bits_allocated == 8:
                return _jpeg(frame, photometric)
            if decoder.available_plugins == ("pillow",):
                raise _unsupported("JPEG of more than 8 bits")
        source, options = encapsulate([frame], has_bot=False), {}
    told = layout._asdict() | {"photometric_interpretation": photometric}
    told |= options | {"number_of_frames": 1, "pixel_keyword": "PixelData"}
    pixels, after = decoder.as_array(source, index=0, raw=True, **told)
    return pixels, str(after["photometric_interpretation"])


def _unpacked(frame: bytes, layout: Layout) -> Array:
    """Undo RLE (DICOM PS3.5, annex G); pydicom unpacks all 64 times that a frame can grow."""
    area, depth = layout.rows * layout.columns, layout.bits_allocated // 8
    planes, *offsets = struct.unpack_from("<16L", frame)
    must(planes == layout.samples_per_pixel * depth, "have one segment a byte", f"has {planes}")
    result = np.empty((area, layout.samples_per_pixel, depth), np.uint8)
    for plane, (at, end) in enumerate(zip(offsets, [*offsets[1:planes], len(frame)], strict=False)):
        segment, out = frame[at:end], bytearray()
        at = 0
        while len(out) < area:
            count = segment[at]  # an IndexError ends a segment that is too short
            if count < 128:
                out += segment[at + 1 : at + 2 + count]
                at += 2 + count
            elif count > 128:
                out += segment[at + 1 : at + 2] * (257 - count)
                at += 2
            else:
                at += 1
        sample, byte = divmod(plane, depth)
        result[:, sample, depth - 1 - byte] = np.frombuffer(out, np.uint8, area)
    pixels = result.view(f"<u{depth}").reshape(layout.rows, layout.columns, -1)
    return pixels if layout.samples_per_pixel == 3 else pixels[:, :, 0]


def _check_jpeg_2000(frame: bytes, layout: Layout) -> None:
    """Its own header must say the same (ISO/IEC 15444-1, A.5.1)."""
    x1, y1, x0, y0, width, height, left, top, samples = struct.unpack_from(">8LH", frame, 8)
    _same_size((y1 - y0, x1 - x0, samples), layout)
    tiles = -(-(x1 - left) // width) * -(-(y1 - top) // height)
    must(0 < tiles <= MAX_TILES, f"have at most {MAX_TILES:,} tiles", f"has {tiles:,}")


def _check_jpeg(frame: bytes, layout: Layout) -> str:
    """Its own header must say the same; returns its colour space, where that says more."""
    at, marker, started, photometric = (
        2,
        0,
        frame[:2] == b"\xff\xd8",
        layout.photometric_interpretation,
    )
    must(started, "hold the kind of compression that it names", "holds another")
    for _ in range(MAX_ELEMENTS):
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker in START_OF_FRAME:
            break
        if frame.startswith(b"JFIF", at + 4) and layout.samples_per_pixel == 3:
            photometric = "YBR_FULL"
        at += 2 + length
    must(marker in START_OF_FRAME, "have a JPEG header", "has none")
    _same_size(struct.unpack_from(">HHB", frame, at + 5), layout)
    return photometric


def _jpeg(frame: bytes, photometric: str) -> tuple[Image.Image, str]:
    """Pillow alone: pydicom 3.0 converts the colours of a file with an Adobe marker twice."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(frame))
    names = [layer[0] for layer in image.layer]
    if photometric == "RGB" and names != list(b"RGB") and not {"jfif", "adobe"} & {*image.info}:
        image.draft("YCbCr", image.size)  # nothing in the JPEG speaks against RGB: no conversion
    return image, "RGB"


def _same_size(found: tuple[int, ...], layout: Layout) -> None:
    wanted = (layout.rows, layout.columns, layout.samples_per_pixel)
    sizes = [f"{rows}×{columns}×{samples}" for rows, columns, samples in (wanted, found)]
    must(found == wanted, f"be {sizes[0]} as it says", f"holds one of {sizes[1]}")
