"""DICOM: what is shown, what is refused, and that nothing else can happen."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from pydicom import uid  # noqa: E402
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut  # noqa: E402

from nas import dicom as module  # noqa: E402
from nas.dicom import is_dicom  # noqa: E402
from tests.nas import dicoms  # noqa: E402
from tests.nas.dicoms import (  # noqa: E402
    COLOUR,
    GRAY,
    RAMP,
    SQUARES,
    Array,
    dataset,
    dicom,
    frame,
    framed,
    lossless,
    palette,
    saved,
    shown,
    table,
)
from tests.nas.hostile import noise, smooth  # noqa: E402

# What is shown ------------------------------------------------------------------------------------


def test_a_dicom_is_told_by_content() -> None:
    data = dicom(GRAY)
    assert is_dicom(data)
    assert not is_dicom(data[:131])
    assert not is_dicom(b"DICM" + data)
    assert not is_dicom(b"")


@lossless
def test_8_bits_are_shown_as_they_are(syntax: uid.UID) -> None:
    assert np.array_equal(shown(dicom(GRAY, syntax=syntax)), GRAY)
    assert np.array_equal(shown(dicom(COLOUR, syntax=syntax)), COLOUR)


@lossless
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_copies_of_8_bits_show_the_same(syntax: uid.UID, bits: int) -> None:
    deep = np.rint(GRAY * ((2**bits - 1) / 255)).astype(np.uint16)
    assert np.array_equal(shown(dicom(deep, syntax=syntax, bits=bits)), GRAY)


@pytest.mark.parametrize("syntax", [*dicoms.NATIVE.values(), dicoms.RLE])
def test_deep_colour_shows_its_8_bit_copy(syntax: uid.UID) -> None:
    assert np.array_equal(shown(dicom(COLOUR.astype(np.uint16) * 257, syntax=syntax)), COLOUR)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big-endian", "rle"])
def test_signed_values_start_at_their_lowest(name: str) -> None:
    values = np.array([[-2048, -1, 0, 2047]], dtype=np.int16)
    got = shown(dicom(values, syntax=dicoms.LOSSLESS[name], bits=12))
    assert got.tolist() == [[0, 127, 128, 255]]


def test_8_bits_in_words_of_big_endian_are_swapped() -> None:
    ds = dataset(GRAY[:, :17])  # an odd number of bytes
    body = GRAY[:, :17].tobytes() + b"\0"
    ds.add_new("PixelData", "OW", np.frombuffer(body, "<u2").astype(">u2").tobytes())
    assert np.array_equal(shown(saved(ds, dicoms.BIG_ENDIAN)), GRAY[:, :17])


def test_bits_that_are_not_stored_do_not_count() -> None:
    assert np.array_equal(shown(dicom(RAMP | 0xF000, bits=12)), shown(dicom(RAMP, bits=12)))
    signed = np.array([[-5, 7]], dtype=np.int16)
    garbage = signed ^ np.int16(0x5000)
    assert np.array_equal(shown(dicom(garbage, bits=12)), shown(dicom(signed, bits=12)))


def test_brightness_does_not_depend_on_what_occurs() -> None:
    dark = np.array([[100, 200]], dtype=np.uint16)
    assert shown(dicom(dark, bits=12)).tolist() == [[6, 12]]
    assert shown(dicom(dark)).tolist() == [[0, 1]]


def test_monochrome1_is_inverted_at_the_end() -> None:
    choices: tuple[dict[str, Any], ...] = ({}, {"WindowCenter": 1000, "WindowWidth": 300})
    for elements in choices:
        plain = shown(dicom(RAMP, bits=12, **elements))
        turned = shown(dicom(RAMP, bits=12, PhotometricInterpretation="MONOCHROME1", **elements))
        assert np.array_equal(turned, 255 - plain)


def test_strips_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [shown(dicom(GRAY)), shown(dicom(COLOUR, PhotometricInterpretation="YBR_FULL"))]
    monkeypatch.setattr(module, "STRIP", 40)
    parts = [shown(dicom(GRAY)), shown(dicom(COLOUR, PhotometricInterpretation="YBR_FULL"))]
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


# Windows and tables -------------------------------------------------------------------------------


def by_hand(values: Array, center: float, width: float, function: str) -> Array:
    """DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3 with an output range of 0 to 255, value by value."""
    result = []
    for x in values.ravel().tolist():
        if function == "SIGMOID":
            y = 255 / (1 + math.exp(min(-4 * (x - center) / width, 700)))
        elif function == "LINEAR_EXACT":
            y = ((x - center) / width + 0.5) * 255
        elif x <= center - 0.5 - (width - 1) / 2:
            y = 0
        elif x > center - 0.5 + (width - 1) / 2:
            y = 255
        else:
            y = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255
        result.append(min(max(y, 0), 255))
    return np.array(np.rint(result), dtype=np.uint8).reshape(values.shape)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (600.5, 37.25), (-80, 1), (5000, 2)])
@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (1, -1024), (0.5, 3), (-2, 100)])
def test_windows_by_hand(
    function: str | None, center: float, width: float, slope: float | None, intercept: float | None
) -> None:
    elements: dict[str, Any] = {"WindowCenter": center, "WindowWidth": width}
    values = RAMP.astype(float)
    if function:
        elements["VOILUTFunction"] = function
    if slope is not None and intercept is not None:
        elements |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
        values = values * slope + intercept
    wanted = by_hand(values, center, width, function or "LINEAR")
    assert np.array_equal(shown(dicom(RAMP, bits=12, **elements)), wanted)
    ds = dataset(RAMP, bits=12, **elements)
    with np.errstate(over="ignore"):
        theirs = apply_voi_lut(apply_modality_lut(RAMP, ds), ds)
    ends = np.array([0, 4095]) * (slope or 1) + (intercept or 0)
    theirs = (theirs - ends[0]) / (ends[1] - ends[0]) * 255
    assert np.abs(theirs - wanted).max() <= 0.5 + 1e-9


def test_a_window_of_width_1_is_a_step_after_its_center() -> None:
    got = shown(dicom(RAMP, bits=12, WindowCenter=100.5, WindowWidth=1))
    assert np.array_equal(got, np.where(RAMP <= 100, 0, 255))


def test_the_first_of_several_windows_counts() -> None:
    many = dicom(RAMP, bits=12, WindowCenter=[500, 9], WindowWidth=[100, 3])
    assert np.array_equal(shown(many), by_hand(RAMP, 500, 100, "LINEAR"))


def test_without_a_window_the_modality_range_counts() -> None:
    for slope, intercept, turned in ((2, -1024, False), (-1, 0, True)):
        got = shown(dicom(RAMP, bits=12, RescaleSlope=slope, RescaleIntercept=intercept))
        plain = shown(dicom(RAMP, bits=12))
        assert np.array_equal(got, 255 - plain if turned else plain)
    assert np.array_equal(shown(dicom(RAMP, bits=12, RescaleIntercept=-1024)), plain)


@pytest.mark.parametrize("syntax", dicoms.NATIVE.values(), ids=dicoms.NATIVE)
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_lookup_tables_by_hand(keyword: str, syntax: uid.UID) -> None:
    for entries, bits, first in ((SQUARES, 16, 0), (SQUARES // 256, 8, 0), (SQUARES[::2], 16, 99)):
        sequence: dict[str, Any] = {keyword: table(entries, first=first, bits=bits)}
        index = np.clip(RAMP.astype(int) - first, 0, len(entries) - 1)
        wanted = np.rint(entries[index] / (2**bits - 1) * 255)
        assert np.array_equal(shown(dicom(RAMP, syntax=syntax, bits=12, **sequence)), wanted)


def test_a_table_of_packed_bytes() -> None:
    sequence = table((SQUARES // 256).astype(np.uint8), bits=8, as_bytes=True)
    got = shown(dicom(RAMP, bits=12, VOILUTSequence=sequence))
    assert np.array_equal(got, (SQUARES // 256).reshape(64, 64))


def test_pydicoms_tables_agree_where_they_do_not_wrap() -> None:
    ds = dataset(RAMP, bits=12, VOILUTSequence=table(SQUARES))
    theirs = np.rint(apply_voi_lut(RAMP, ds) / 257)
    assert np.array_equal(shown(dicom(RAMP, bits=12, VOILUTSequence=table(SQUARES))), theirs)


def test_tables_of_negative_values_come_after_the_modality_and_before_windows() -> None:
    values = np.array([[-30, -20, -19, -1, 50]], dtype=np.int16)
    entries = np.array([0, 51, 102, 153, 204, 255])
    voi = table(entries, first=-20, bits=8)
    got = shown(dicom(values, VOILUTSequence=voi, WindowCenter=1, WindowWidth=2))
    assert got.tolist() == [[0, 0, 51, 255, 255]]
    shifted = shown(dicom(values, VOILUTSequence=voi, RescaleSlope=1, RescaleIntercept=-1))
    assert shifted.tolist() == [[0, 0, 0, 255, 255]]


def test_a_full_table_has_its_length_written_as_0() -> None:
    sequence = table(np.arange(65536)[::-1].astype("<u2"), as_bytes=True)
    got = shown(dicom(RAMP * 16, VOILUTSequence=sequence))
    assert np.array_equal(got, np.rint((65535 - RAMP * 16.0) / 257))


# Colour -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_show_their_colours(bits: int) -> None:
    colours = noise(256, 3, seed=3).astype(np.uint16)
    elements = palette(colours * (257 if bits == 16 else 1), bits=bits)
    assert np.array_equal(shown(dicom(GRAY, **elements)), colours[GRAY])
    assert np.array_equal(shown(dicom(GRAY, syntax=dicoms.RLE, **elements)), colours[GRAY])


def to_ybr(rgb: Array) -> Array:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


@pytest.mark.parametrize("syntax", [*dicoms.NATIVE.values(), dicoms.RLE])
def test_ybr_becomes_rgb(syntax: uid.UID) -> None:
    got = shown(dicom(to_ybr(COLOUR), syntax=syntax, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(got.astype(int) - COLOUR).max() <= 3


def test_ybr_422_is_widened() -> None:
    pairs = np.repeat(smooth(8, 10)[:, ::2], 2, axis=1)  # both pixels of a pair alike
    ybr = to_ybr(np.ascontiguousarray(pairs))
    half = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], 2)
    ds = dataset(ybr, PhotometricInterpretation="YBR_FULL_422")
    ds.add_new("PixelData", "OB", half.tobytes())
    assert np.abs(shown(saved(ds)).astype(int) - pairs).max() <= 3


def test_planes_one_after_the_other() -> None:
    ds = dataset(COLOUR, PlanarConfiguration=1)
    ds.add_new("PixelData", "OB", COLOUR.transpose(2, 0, 1).tobytes())
    assert np.array_equal(shown(saved(ds)), COLOUR)


def marked(jpeg: bytes, *, jfif: bool, adobe: int | None) -> bytes:
    """The JPEG with these markers instead of its own."""
    (length,) = struct.unpack_from(">H", jpeg, 4)
    marker = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, adobe or 0)
    head = jpeg[2 : 4 + length] if jfif else b""
    return jpeg[:2] + head + (b"" if adobe is None else marker) + jpeg[4 + length :]


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(("jfif", "adobe"), [(True, None), (False, 1), (True, 1), (False, None)])
def test_jpeg_colours(said: str, jfif: bool, adobe: int | None) -> None:
    picture = smooth()
    data = marked(frame(picture, dicoms.JPEG), jfif=jfif, adobe=adobe)
    wanted = to_ybr(picture) if said == "RGB" and not jfif and adobe is None else picture
    got = shown(framed(dataset(picture, PhotometricInterpretation=said), data, dicoms.JPEG))
    assert np.abs(got.astype(int) - wanted).max() <= 6


def test_jpegs_of_unconverted_and_of_gray_pixels() -> None:
    picture = smooth()
    for said in ("RGB", "YBR_FULL"):
        data = frame(picture, dicoms.JPEG, keep_rgb=True)
        got = shown(framed(dataset(picture, PhotometricInterpretation=said), data, dicoms.JPEG))
        assert np.abs(got.astype(int) - picture).max() <= 6
    unmarked = data[:2] + data[18:]  # without the Adobe marker the components are called R, G, B
    got = shown(framed(dataset(picture), unmarked, dicoms.JPEG))
    assert np.abs(got.astype(int) - picture).max() <= 6
    gray = np.ascontiguousarray(picture[:, :, 0])
    assert np.abs(shown(dicom(gray, syntax=dicoms.JPEG)).astype(int) - gray).max() <= 6


def test_a_jp2_file_is_taken_for_its_codestream() -> None:
    data = frame(COLOUR, dicoms.JPEG_2000, no_jp2=False)
    assert data[4:8] == b"jP  "
    assert np.array_equal(shown(framed(dataset(COLOUR), data, dicoms.JPEG_2000)), COLOUR)
