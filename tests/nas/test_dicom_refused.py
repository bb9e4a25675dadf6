"""DICOM: what is refused, and that nothing else can happen."""

import io
import struct
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from pydicom import uid  # noqa: E402
from pydicom.pixels.decoders.base import get_decoder  # noqa: E402

from nas import dicom as module  # noqa: E402
from nas.dicom import read_dicom  # noqa: E402
from nas.errors import ImageError, UnsupportedImageError  # noqa: E402
from tests.nas import dicoms  # noqa: E402
from tests.nas.dicoms import (  # noqa: E402
    COLOUR,
    GRAY,
    MOST,
    RAMP,
    SQUARES,
    dataset,
    dicom,
    frame,
    framed,
    palette,
    refused,
    saved,
    shown,
    table,
)
from tests.nas.hostile import noise, smooth  # noqa: E402

# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 0}, "at least one pixel.*0×18"),
        ({"Rows": [13, 13]}, "one Rows.*has 2"),
        ({"Rows": 60000, "Columns": 60000}, "at most 10,000 pixels.*60000×60000"),
        ({"Rows": 14}, "252 bytes of pixels.*234"),
        ({"NumberOfFrames": 2}, "one frame"),
        ({"NumberOfFrames": 0}, "one frame"),
        ({"SamplesPerPixel": 3}, "1 samples.*MONOCHROME2.*has 3"),
        ({"SamplesPerPixel": 0}, "1 samples"),
        ({"BitsAllocated": 1}, "8 or 16 bits.*has 1"),
        ({"BitsAllocated": 32}, "8 or 16 bits.*has 32"),
        ({"BitsStored": 9}, "store 1 to 8 bits.*stores 9"),
        ({"BitsStored": 0}, "store 1 to 8 bits.*stores 0"),
        ({"HighBit": 5}, "7 as its highest bit.*5"),
        ({"PixelRepresentation": 2}, "unsigned.*code 2"),
        ({"PhotometricInterpretation": "CMYK"}, "one of MONOCHROME1"),
        ({"PhotometricInterpretation": "DOE JANE"}, "one of MONOCHROME1"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "three plain palettes"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "at least 1 wide.*0"),
        ({"WindowCenter": 5, "WindowWidth": -3, "VOILUTFunction": "SIGMOID"}, "wider than 0.*-3"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "DOE"}, "LINEAR_EXACT"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "usable windows and slopes"),
        ({"VOILUTSequence": table(SQUARES, bits=7)}, "8 to 16 bits.*7"),
    ],
)
def test_what_cannot_be_shown_is_refused(elements: dict[str, Any], words: str) -> None:
    ds = dataset(GRAY, **elements)
    ds.add_new("PixelData", "OB", GRAY.tobytes())
    refused(saved(ds), words)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "SamplesPerPixel", "BitsStored"])
def test_what_is_missing_is_named(keyword: str) -> None:
    ds = dataset(GRAY)
    delattr(ds, keyword)
    ds.add_new("PixelData", "OB", GRAY.tobytes())
    refused(saved(ds), f"one {keyword}")


def test_pixels_that_are_missing_or_floats_are_refused() -> None:
    refused(saved(dataset(GRAY)), "pixels of whole numbers")
    ds = dataset(GRAY)
    ds.add_new("FloatPixelData", "OF", GRAY.astype("<f4").tobytes())
    refused(saved(ds), "pixels of whole numbers")


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "Doe", "1;2"])
def test_windows_that_are_no_numbers_are_refused(value: str) -> None:
    data = dicom(GRAY, WindowCenter="1111111", WindowWidth="9")
    refused(data.replace(b"1111111", value.encode().ljust(7)), "DICOM")


def test_signed_colour_is_refused() -> None:
    refused(dicom(COLOUR.astype(np.int16)), "unsigned, or gray")


def test_the_limit_itself_is_allowed() -> None:
    assert read_dicom(dicom(GRAY), most_pixels=234).size == (18, 13)
    refused(dicom(GRAY), "at most 233 pixels, but this one has 13×18", most_pixels=233)


def has_decoder(name: str) -> bool:
    try:
        return bool(get_decoder(uid.UID(name)).is_available)
    except NotImplementedError:
        return False


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (str(uid.JPEGLSLossless), "JPEG-LS.*pip install pylibjpeg"),
        (str(uid.MPEG2MPML), "MPEG2.*pip install pylibjpeg"),
        ("1.2.3.19700101", "unknown transfer syntax"),
    ],
)
def test_what_has_no_decoder_is_unsupported(name: str, words: str) -> None:
    if has_decoder(name):
        pytest.skip("a decoder is installed")
    error = refused(framed(dataset(GRAY), GRAY.tobytes(), uid.UID(name)), words)
    assert isinstance(error, UnsupportedImageError)
    assert "19700101" not in str(error)


def test_jpegs_of_12_bits_need_another_plugin() -> None:
    data = bytearray(frame(GRAY, dicoms.JPEG))
    data[data.index(b"\xff\xc0") + 1] = 0xC1  # the extended process
    if get_decoder(uid.JPEGExtended12Bit).available_plugins != ("pillow",):
        pytest.skip("another decoder is installed")
    deep = dataset(GRAY.astype(np.uint16), bits=12)
    error = refused(framed(deep, bytes(data), uid.JPEGExtended12Bit), "more than 8 bits.*pylibjpeg")
    assert isinstance(error, UnsupportedImageError)


def test_deflated_files_are_not_inflated() -> None:
    refused(dicom(GRAY, syntax=uid.DeflatedExplicitVRLittleEndian), "Deflated Explicit.*decompress")


def test_without_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(GRAY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refused(data, "needs pydicom, which is not installed; pip install pydicom")
    assert isinstance(error, UnsupportedImageError)


# Hostile files ------------------------------------------------------------------------------------


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element; ``length`` may lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"OB", b"OW", b"SQ", b"UN")
    return head + (struct.pack("<xxL", size) if long else struct.pack("<H", size)) + value


def headed(*elements: bytes) -> bytes:
    """A whole file with these elements before the pixels' description."""
    data = dicom(GRAY)
    at = data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    return data[:at] + b"".join(elements) + data[at:]


UNDEFINED = 0xFFFFFFFF
OPEN, SHUT = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED), struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
EMPTY, END = struct.pack("<HHL", 0xFFFE, 0xE000, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
BEGIN = explicit(0x00081140, b"SQ", b"", UNDEFINED)


def test_sequences_of_every_form_are_stepped_over() -> None:
    inner = explicit(0x00280010, b"US", b"\x07\x00")  # Rows, but not the picture's
    implicit = struct.pack("<HHL", 0x0028, 0x0010, 2) + b"\x07\x00"
    for body in (
        BEGIN + END,
        BEGIN + EMPTY + OPEN + inner + BEGIN + OPEN + inner + SHUT + END + SHUT + END,
        explicit(0x00081140, b"SQ", OPEN + inner + SHUT),
        explicit(0x00081140, b"UN", b"", UNDEFINED) + OPEN + implicit + SHUT + END,
        explicit(0x00091010, b"OB", EMPTY * 3),
        # An item whose length looks like the letters US.
        BEGIN + struct.pack("<HH", 0xFFFE, 0xE000) + b"US\0\0" + bytes(0x5355) + END,
    ):
        assert np.array_equal(shown(headed(body)), GRAY)


def test_nesting_is_no_recursion() -> None:
    deep = (BEGIN + OPEN) * 10_000
    assert np.array_equal(shown(headed(deep + (SHUT + END) * 10_000)), GRAY)
    refused(headed(deep), "DICOM")


def test_millions_of_elements_are_not_walked() -> None:
    bomb = headed(BEGIN + EMPTY * 2_000_000 + END)
    tracemalloc.start()
    refused(bomb, "at most 50,000 elements")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_lengths_that_lie_are_refused() -> None:
    for length in (0x7FFFFFFF, UNDEFINED - 1, 10_000):
        refused(headed(explicit(0x00091010, b"OB", b"", length)), "ends inside an element")
    data = dicom(GRAY)
    for size in (0, 131, 132, 140, 300, len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError):
            read_dicom(data[:size], most_pixels=MOST)


def test_frames_that_are_larger_than_they_say_are_not_decoded() -> None:
    for syntax in (dicoms.JPEG, dicoms.JPEG_2000):
        big = frame(np.zeros((3000, 3000), np.uint8), syntax)
        data = framed(dataset(GRAY), big, syntax)
        tracemalloc.start()
        refused(data, "be 13×18×1 as it says, but this one holds one of 3000×3000×1")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()
        refused(framed(dataset(GRAY), frame(COLOUR, syntax), syntax), "holds one of 13×18×3")


def test_a_frame_of_many_tiles_is_refused() -> None:
    data = bytearray(frame(noise(100, 100), dicoms.JPEG_2000))
    struct.pack_into(">LL", data, 24, 1, 1)
    ds = dataset(noise(100, 100))
    refused(framed(ds, bytes(data), dicoms.JPEG_2000), "at most 4,096 tiles.*10,000")


def rle(segments: list[bytes]) -> bytes:
    starts = np.cumsum([64, *map(len, segments)]).tolist()[:-1]
    head = struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments)))
    return head + b"".join(segments)


def test_runs_stop_where_the_picture_ends() -> None:
    """128 bytes for each two of the file, 640 MB here, if they were all unpacked."""
    bomb = rle([b"\x81\x55" * 5_000_000])
    tracemalloc.start()
    got = shown(framed(dataset(GRAY), bomb, dicoms.RLE))
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()
    assert (got == 0x55).all()


def test_runs_of_every_kind() -> None:
    pixels = np.array([[1, 2, 3, 9, 9, 9]], dtype=np.uint8)
    whole = rle([b"\x80\x02\x01\x02\x03\x80\xfe\x09\x00"])
    assert np.array_equal(shown(framed(dataset(pixels), whole, dicoms.RLE)), pixels)
    refused(framed(dataset(pixels), rle([b"\x02\x01\x02\x03"]), dicoms.RLE), "IndexError")
    refused(framed(dataset(pixels), rle([b"\x02", b"\x00"]), dicoms.RLE), "one segment a byte")


def test_a_frame_in_pieces_is_joined() -> None:
    from pydicom.encaps import encapsulate

    ds = dataset(GRAY)
    ds.add_new("PixelData", "OB", encapsulate([frame(GRAY, dicoms.JPEG_2000)], 5))
    ds["PixelData"].is_undefined_length = True
    assert np.array_equal(shown(saved(ds, dicoms.JPEG_2000)), GRAY)


def test_other_compression_than_named_is_refused() -> None:
    refused(framed(dataset(GRAY), frame(GRAY, dicoms.JPEG_2000), dicoms.JPEG), "that it names")
    refused(framed(dataset(GRAY), frame(GRAY, dicoms.JPEG), dicoms.JPEG_2000), "DICOM")


def test_errors_of_every_type_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (MemoryError, RecursionError, ZeroDivisionError, UserWarning):

        def fail(*_: Any, kind: type[Exception] = kind) -> None:
            raise kind("Doe^Jane")

        monkeypatch.setattr(module, "layout_of", fail)
        refused(dicom(GRAY), rf"\({kind.__name__}\); export it again")


ELEMENTS: dict[str, Any] = {
    "WindowCenter": 100,
    "WindowWidth": 50,
    "VOILUTSequence": table(SQUARES),
}
VALID = [dicom(GRAY, syntax=syntax, **ELEMENTS) for syntax in dicoms.LOSSLESS.values()]
VALID += [dicom(smooth(), syntax=syntax) for syntax in (dicoms.JPEG, dicoms.JPEG_2000)]
VALID += [
    dicom(GRAY, ModalityLUTSequence=table(SQUARES)),
    dicom(GRAY, **palette(RAMP[:, :3], bits=8)),
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(range(len(VALID))),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.one_of(st.just(1.0), st.floats(0, 1)),
    st.booleans(),
)
def test_broken_files_are_refused_or_shown(
    which: int, changes: list[tuple[float, int]], kept: float, everywhere: bool
) -> None:
    data = bytearray(VALID[which])
    # Most of the bytes are a table's or pixels; a header's mean more.
    reach = len(data) - 1 if everywhere else min(len(data) - 1, 800)
    for place, value in changes:
        data[132 + int(place * (reach - 132))] = value
    try:
        image = read_dicom(bytes(data[: int(kept * len(data))]), most_pixels=MOST)
    except ImageError:
        pass
    else:
        assert image.mode in {"L", "RGB"}
        assert 0 < image.width * image.height <= MOST


def test_nothing_is_logged_or_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings are errors here; a JPEG that contradicts its header makes pydicom warn."""
    caplog.set_level(0)
    for data in VALID:
        shown(data)
    shown(dicom(smooth(), syntax=dicoms.JPEG))
    assert "Doe" not in caplog.text
    assert not [r for r in caplog.records if r.name.startswith("pydicom")]


def test_images_that_are_kept_do_not_hold_the_file() -> None:
    image = read_dicom(dicom(GRAY), most_pixels=MOST)
    again = io.BytesIO()
    image.save(again, "PNG")
    assert np.array_equal(np.asarray(Image.open(again)), GRAY)
