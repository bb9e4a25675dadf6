"""Files of tensors and plain values, written whole and read without trusting them."""

from pathlib import Path
from typing import Any, BinaryIO

import torch

from nas.files import atomic_file


def write(path: Path, content: dict[str, Any]) -> None:
    """Put ``content``, tensors and plain values, at ``path``, whole or not at all."""
    with atomic_file(path) as file:
        torch.save(content, file)


def read(file: Path | BinaryIO) -> dict[str, Any]:
    """The content of what ``write`` wrote, on the CPU; no code in it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or damaged; the message names the kind of error only.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers fed with hostile bytes raise all kinds
        raise ValueError(type(error).__name__) from error
    if not isinstance(content, dict):
        raise ValueError("not a dictionary")
    return content
