"""What is shown for each value that a DICOM file's bits can hold: its modality and VOI steps."""

import numpy as np

from nas.dicom_elements import Array, Fields, must
from nas.dicom_frames import Layout


def shades_of(fields: Fields, layout: Layout) -> Array:
    """What each of the 2**stored patterns of bits looks like: (patterns,) or (patterns, 3) uint8.

    So all arithmetic is exact, and is done for 65,536 values at most instead of for each pixel.
    """
    codes = np.arange(2**layout.bits_stored)
    if layout.samples_per_pixel == 3:
        return _eight_bits(codes / codes[-1])
    if layout.pixel_representation:
        codes[len(codes) // 2 :] -= len(codes)
    if layout.photometric_interpretation == "PALETTE COLOR":
        found = [
            fields.table(0x00281101, 0x00281201 + i, bool(layout.pixel_representation))
            for i in range(3)
        ]
        whole = [look for look in found if look is not None]
        must(len(whole) == 3, "have three plain palettes", "has not", "export it as RGB")
        return _eight_bits(np.stack([look(codes) / (2**look.bits - 1) for look in whole], 1))
    with np.errstate(all="ignore"):  # what is not finite is refused at the end
        values, low, high = _modality(fields, codes, bool(layout.pixel_representation))
        shades = _eight_bits(_voi(fields, values, low, high))
    return 255 - shades if layout.photometric_interpretation == "MONOCHROME1" else shades


def _eight_bits(shades: Array) -> Array:
    must(bool(np.isfinite(shades).all()), "have usable windows and slopes", "has not")
    rounded: Array = np.rint(np.clip(shades, 0, 1) * 255).astype(np.uint8)
    return rounded


def _modality(fields: Fields, codes: Array, signed: bool) -> tuple[Array, float, float]:
    """The values that the codes stand for, and the range that these can have (PS3.3, C.11.1)."""
    item = fields.first_item(0x00283000)
    if item and (look := item.table(0x00283002, 0x00283006, signed)):
        return look(codes), 0, 2**look.bits - 1
    slope, intercept = fields.real(0x00281053), fields.real(0x00281052)
    values = codes * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values, float(values.min()), float(values.max())


def _voi(fields: Fields, values: Array, low: float, high: float) -> Array:
    """Shades, 0 is black and 1 is white: the first table, window or all (PS3.3, C.11.2)."""
    item = fields.first_item(0x00283010)
    if item and (look := item.table(0x00283002, 0x00283006, low < 0)):
        return np.asarray(look(values) / (2**look.bits - 1))
    center, width = fields.real(0x00281050), fields.real(0x00281051)
    if center is None or width is None:
        return (values - low) / (high - low)
    function = fields.text(0x00281056) or "LINEAR"
    if function == "LINEAR":
        must(width >= 1, "have a window at least 1 wide", f"has one of {width:g}")
        if width == 1:
            return np.where(values <= center - 0.5, 0.0, 1.0)
        return (values - (center - 0.5)) / (width - 1) + 0.5
    must(width > 0, "have a window wider than 0", f"has one of {width:g}")
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    must(function == "SIGMOID", "have a LINEAR, LINEAR_EXACT or SIGMOID window", "has another")
    return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
