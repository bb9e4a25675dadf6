"""DICOM files of every kind, written with pydicom; import this after importorskip("pydicom")."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from nas.dicom import is_dicom, read_dicom
from nas.errors import ImageError
from tests.nas.hostile import encoded, noise

Array = npt.NDArray[Any]

IMPLICIT, EXPLICIT, BIG_ENDIAN = ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian
JPEG, JPEG_2000, RLE = JPEGBaseline8Bit, JPEG2000Lossless, RLELossless
NATIVE = {"implicit": IMPLICIT, "explicit": EXPLICIT, "big-endian": BIG_ENDIAN}
LOSSLESS = {**NATIVE, "rle": RLE, "jpeg 2000": JPEG_2000}
PATIENT = "Doe^Jane^19700101"


def dataset(pixels: Array, *, bits: int | None = None, **elements: Any) -> Dataset:
    """A secondary capture of (rows, columns) or (rows, columns, 3); elements by keyword."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, UID("1.2.3.4")
    ds.PatientName, ds.PatientID = PATIENT, PATIENT
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    ds.BitsAllocated = 8 * pixels.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def saved(ds: Dataset, syntax: UID = EXPLICIT) -> bytes:
    """The file; what ``ds`` holds is not looked at."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dcmwrite(
        buffer,
        ds,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG_ENDIAN,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def dicom(
    pixels: Array, *, syntax: UID = EXPLICIT, bits: int | None = None, **elements: Any
) -> bytes:
    """A file with these pixels, compressed if ``syntax`` says so."""
    ds = dataset(pixels, bits=bits, **elements)
    if syntax == RLE:
        ds.compress(RLE, pixels, generate_instance_uid=False)
        return saved(ds, syntax)
    if syntax in (JPEG, JPEG_2000):
        return framed(ds, frame(pixels, syntax), syntax)
    kind = pixels.dtype.newbyteorder(">" if syntax == BIG_ENDIAN else "<")
    body = pixels.astype(kind).tobytes()
    ds.add_new("PixelData", "OB" if pixels.itemsize == 1 else "OW", body + b"\0" * (len(body) % 2))
    return saved(ds, syntax)


def frame(pixels: Array, syntax: UID, **options: Any) -> bytes:
    """One frame as a JPEG or a lossless JPEG 2000 codestream."""
    image = Image.fromarray(pixels)
    if syntax == JPEG:
        return encoded(image, "JPEG", **{"quality": 95, "subsampling": 0} | options)
    return encoded(image, "JPEG2000", **{"no_jp2": True, "irreversible": False} | options)


def framed(ds: Dataset, frame: bytes, syntax: UID) -> bytes:
    """A file with these compressed pixels."""
    ds.add_new("PixelData", "OB", encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True
    return saved(ds, syntax)


def table(
    entries: Array, *, first: int = 0, bits: int = 16, as_bytes: bool = False
) -> list[Dataset]:
    """The value of a modality or VOI LUT sequence."""
    item = Dataset()
    descriptor = [len(entries) % 65536, first, bits]
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", descriptor)
    if as_bytes:
        item.add_new("LUTData", "OW", entries.tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return [item]


def palette(colours: Array, *, bits: int) -> dict[str, Any]:
    """The elements of a palette of (entries, 3) colours; words are little-endian."""
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for i, name in enumerate(("Red", "Green", "Blue")):
        key = f"{name}PaletteColorLookupTable"
        elements[f"{key}Descriptor"] = [len(colours) % 65536, 0, bits]
        kind = np.uint8 if bits == 8 else np.dtype("<u2")
        elements[f"{key}Data"] = colours[:, i].astype(kind).tobytes()
    return elements


GRAY, COLOUR = noise(13, 18), noise(13, 18, 3, seed=1)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SQUARES = (np.arange(4096) ** 2 // 256).astype(np.uint16)  # 16 bits out
MOST = 10_000

lossless = pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)


def shown(data: bytes) -> Array:
    assert is_dicom(data)
    image = read_dicom(data, most_pixels=MOST)
    assert image.mode in {"L", "RGB"}
    return np.asarray(image)


def refused(data: bytes, words: str, *, most_pixels: int = MOST) -> ImageError:
    with pytest.raises(ImageError, match=words) as caught:
        read_dicom(data, most_pixels=most_pixels)
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value
