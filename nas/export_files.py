"""What an export writes beside the_nas_model.pth: other forms of it, its card, and checksums."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from nas.bundle import load, save_safetensors
from nas.checksums import SUMS, write_sums
from nas.data.cache import Images
from nas.errors import BundleError
from nas.files import write_bytes
from nas.images import Pixels
from nas.model_card import model_card
from nas.onnx_model import missing_packages, write_onnx

CARD = "README.md"
CHECKED_IMAGES = 64
"""That the ONNX file is checked on; they take a second."""


def some(images: Images) -> Pixels:
    """(N, channels, size, size) uint8: at most CHECKED_IMAGES, evenly spread over ``images``."""
    count = min(CHECKED_IMAGES, len(images))
    places = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    pixels: Pixels = images.mapped[images.rows[places]]
    return pixels


def forget_files(model: Path) -> None:
    """Remove what an earlier export wrote beside a model that is about to be written anew.

    Else a form, a card or checksums of another model would lie beside it if this export is stopped,
    or cannot write one of them.

    Raises:
        BundleError: a file cannot be removed.
    """
    try:
        for path in _beside(model).values():
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(model.parent, error) from None


def write_files(
    model: Path, evaluation: Mapping[str, Any], images: Pixels, console: Console
) -> list[Path]:
    """Write safetensors, ONNX, card and SHA256SUMS beside a bundle; the last of an export's steps.

    Without the packages that ONNX needs that file is left out, and a sentence says so.

    Args:
        model: the bundle's file; all others are made from it.
        evaluation: what evaluation.json holds.
        images: (N, channels, size, size) uint8, real ones, on which the ONNX file is checked.
        console: where the user is told.

    Returns:
        The files that were written.

    Raises:
        BundleError: the bundle cannot be loaded, the ONNX file says something else than it, or the
            folder cannot be written.
    """
    paths = _beside(model)
    bundle = load(model)
    written = [paths["safetensors"]]
    try:
        save_safetensors(bundle, paths["safetensors"])
        console.print(f"wrote {paths['safetensors']}")
        if missing := missing_packages():
            console.print(
                f"no ONNX file: it needs {', '.join(missing)}, which are not installed; "
                'pip install ".[onnx]" and export again',
                style="bold",
                markup=False,
            )
        else:
            difference = write_onnx(bundle, paths["onnx"], images)
            written.append(paths["onnx"])
            console.print(
                f"wrote {paths['onnx']}: differs from the model by at most {difference:.1g} "
                f"on {len(images)} images"
            )
        others = sorted(
            path.name
            for path in model.parent.iterdir()
            if path.is_file() and not path.name.startswith(".")
        )
        files = [*others, CARD, SUMS]
        write_bytes(paths["card"], model_card(bundle, evaluation, files).encode())
        written += [paths["card"], write_sums(model.parent)]
    except OSError as error:
        raise _unwritable(model.parent, error) from None
    console.print(f"wrote {paths['card']} and {SUMS}")
    return written


def _beside(model: Path) -> dict[str, Path]:
    return {
        "safetensors": model.with_suffix(".safetensors"),
        "onnx": model.with_suffix(".onnx"),
        "card": model.parent / CARD,
        "sums": model.parent / SUMS,
    }


def _unwritable(folder: Path, error: OSError) -> BundleError:
    return BundleError(
        f"an export must be able to write to {folder}, but that failed "
        f"({error.strerror or error}); free space or mend the folder's permissions"
    )
