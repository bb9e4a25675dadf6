"""Image folders for tests, and images that a network learns in a second.

Files hold noise that no two of them share, or nothing where nobody decodes.
"""

import io
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from nas.data.folds import Fold, Labelled
from nas.preprocessing import Preprocessing

SIDE = 12


def picture(seed: int, mode: str = "L") -> Image.Image:
    """Noise, SIDE × SIDE pixels; another seed gives another picture."""
    shape = (SIDE, SIDE) if mode == "L" else (SIDE, SIDE, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def stored(image: Image.Image, kind: str = "PNG", **settings: int) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def encoded(seed: int, mode: str = "L", kind: str = "PNG") -> bytes:
    """The bytes of a file with ``picture(seed)``."""
    return stored(picture(seed, mode), kind)


def film(seed: int, side: int = 96) -> Image.Image:
    """Structure of every size, as a photograph has; another seed gives another picture."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side))
    for sigma in (1, 2, 4, 8, 16):
        layer = gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
        picture += layer / layer.std() * sigma**0.5
    picture = (picture - picture.min()) / np.ptp(picture)
    return Image.fromarray((20 + 200 * picture).astype(np.uint8))


def write_pictures(root: Path, paths: Iterable[str]) -> Path:
    """PNG files below ``root``; the content of each is a function of its path. Returns ``root``."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded(zlib.crc32(path.encode())))
    return root


def touch(root: Path, paths: Iterable[str]) -> Path:
    """Empty files below ``root``, for whoever looks at names only. Returns ``root``."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def bars(labels: list[int], size: int, seed: int, channels: int = 1) -> Labelled:
    """Noise with a bar that lies (0), stands (1) or is missing (2)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(40, 120, (len(labels), channels, size, size))
    for image, label in zip(images, labels, strict=True):
        start = rng.integers(0, size - 1)
        if label == 0:
            image[:, start : start + 2] += 90
        elif label == 1:
            image[:, :, start : start + 2] += 90
    return Labelled.of(torch.from_numpy(images.astype(np.uint8)), torch.tensor(labels))


def bar_fold(
    train: list[int] | None = None,
    validation: list[int] | None = None,
    *,
    size: int = 12,
    channels: int = 1,
) -> Fold:
    """Bars to learn from and to judge by, always the same; by default 96 and 40 of two classes."""
    labels = train or [0, 1] * 48
    classes = ("LYING", "STANDING", "NONE")[: max(labels) + 1]
    return Fold(
        train=bars(labels, size, 1, channels),
        validation=bars(validation or [0, 1] * 20, size, 2, channels),
        classes=classes,
        preprocessing=Preprocessing(size, channels, (0.35,) * channels, (0.15,) * channels),
    )
