"""Folders of pictures and their caches."""

from pathlib import Path

import numpy as np

from nas.data.cache import Images, load_images
from nas.data.folders import read_folder
from nas.data.table import Source
from nas.images import Pixels, decode

SIZE = 8


TRAIN = [f"train/{c}/patient{p}_{i}.png" for c in "AB" for p in (1, 2) for i in (1, 2)]


TEST = [f"test/{c}/patient{p}_1.png" for c in "AB" for p in (8, 9)]


def load(source: Source | Path, cache: Path, *splits: str, channels: int = 1) -> Images:
    if isinstance(source, Path):
        source = read_folder(source)
    return load_images(source, splits or ("train",), size=SIZE, channels=channels, cache=cache)


def expected(root: Path, paths: list[str], channels: int = 1) -> Pixels:
    return np.stack([decode((root / p).read_bytes(), size=SIZE, channels=channels) for p in paths])
