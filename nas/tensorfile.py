"""Files of tensors and plain values, written whole and read without trusting them."""

import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch

from nas.files import atomic_file

ZIP_START = b"PK\x03\x04"


def write(path: Path, content: dict[str, Any]) -> None:
    """Put ``content``, tensors and plain values, at ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
    """
    with atomic_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch closes its archive after a write that failed, and that error hides the first.
            first = error.__context__
            raise (first if isinstance(first, OSError) else error) from None


def read(file: Path | BinaryIO) -> dict[str, Any]:
    """The content of what ``write`` wrote, on the CPU; no code in it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or damaged; the message names the kind of error only.
    """
    try:
        _check_sums(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # parsers fed with hostile bytes raise all kinds
        raise ValueError(type(error).__name__) from error
    if not isinstance(content, dict):
        raise ValueError("not a dictionary")
    return content


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor's values on the CPU, in order; what checksums are taken of."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _check_sums(file: Path | BinaryIO) -> None:
    """Compare every entry of the zip with its CRC-32, which torch's own reader does not.

    Without this a changed bit of a number or a word would go unseen. What torch wrote before 1.6,
    such as published weights, is no zip and has no such sums.
    """
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as source:
        if source.read(len(ZIP_START)) == ZIP_START:
            with zipfile.ZipFile(source) as archive:
                kinds = {entry.compress_type for entry in archive.infolist()}
                # torch compresses nothing; what is compressed might expand without end.
                if kinds - {zipfile.ZIP_STORED} or archive.testzip() is not None:
                    raise zipfile.BadZipFile
        source.seek(0)
