"""An exported model's answers for labelled images, and what those images look like.

Nothing is kept: images of another hospital are read, answered and forgotten.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nas.data.prepare import THUMBNAIL
from nas.data.statistics import of_images
from nas.data.table import Source
from nas.errors import DataError, ImageError, SettingsError
from nas.images import Header, Pixels, decode, look
from nas.predictions import Predictions
from nas.predictor import Predictor

BLOCK = 32
"""Images that wait in memory at a time, and that the network gets at a time."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Scoring:
    """What a model says of labelled images.

    Attributes:
        predictions: with the model's classes and threshold.
        statistics: one row per image, columns as in nas.data.statistics.
        skipped: (path, reason) of files that are no images which can be used.
    """

    predictions: Predictions
    statistics: pd.DataFrame
    skipped: tuple[tuple[str, str], ...]


def of_split(source: Source, split: str | None) -> Source:
    """The images of one split alone.

    Args:
        source: images.
        split: test; train, which is all that is not test; or all. None is test where there is
            one, and all otherwise.

    Raises:
        DataError: that split has no image.
    """
    in_test = source.table["split"] == "test"
    if split is None:
        split = "test" if in_test.any() else "all"
    wanted = {"test": in_test, "train": ~in_test, "all": in_test | ~in_test}[split]
    if not wanted.any():
        raise DataError(
            f"--split {split} needs images of that split, but {source.spec} has none; "
            "give --split all, or a folder with test/"
        )
    return replace(source, table=source.table[wanted].reset_index(drop=True))


def mapped(source: Source, classes: tuple[str, ...], names: Mapping[str, str]) -> Source:
    """The same images under a model's class names.

    Args:
        source: images under names of their own.
        classes: the model's.
        names: of the source -> of the model; a name that both have need not be there.

    Raises:
        SettingsError: a name leads nowhere, or is of neither side.
    """
    present = [source.classes[label] for label in sorted(set(source.table["label"]))]
    for name, target in names.items():
        if target not in classes or name not in source.classes:
            raise SettingsError(
                f"--map must lead from a class of the data ({_listed(source.classes)}) to one of "
                f"the model ({_listed(classes)}), but is {name}={target}; correct it"
            )
    renamed = [names.get(name, name) for name in source.classes]
    foreign = [name for name in present if names.get(name, name) not in classes]
    if foreign:
        raise SettingsError(
            f"classes of the data must be classes of the model ({_listed(classes)}), but there "
            f"is {_listed(foreign)} in {source.spec}; say which is meant, such as "
            f"--map {foreign[0]}={classes[0]}"
        )
    # What is in no image of this split has no label to go to.
    places = [classes.index(name) if name in classes else -1 for name in renamed]
    labels = [places[label] for label in source.table["label"]]
    return replace(source, classes=classes, table=source.table.assign(label=labels))


def score(predictor: Predictor, source: Source, report: Report = lambda *_: None) -> Scoring:
    """Let a model answer for every image of a source, whose classes are the model's.

    Args:
        predictor: the model.
        source: see ``mapped``.
        report: called with (done, total).

    Raises:
        DataError: no image can be read.
    """
    paths = source.table["path"].tolist()
    rows: list[int] = []
    answers, headers, sizes, thumbnails = [], list[Header](), list[int](), list[Pixels]()
    skipped: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), BLOCK):
            block = range(start, min(start + BLOCK, len(paths)))
            read = pool.map(lambda row: _read(predictor, source, paths[row]), block)
            pixels = []
            for row, one in zip(block, read, strict=True):
                if isinstance(one, str):
                    skipped.append((paths[row], one))
                    continue
                rows.append(row)
                pixels.append(one.pixels)
                headers.append(one.header)
                sizes.append(one.size)
                thumbnails.append(one.thumbnail)
            if pixels:
                answers.append(predictor.probabilities(np.stack(pixels)))
            report(block.stop, len(paths))
    if not rows:
        raise DataError(
            f"there must be an image that can be read, but of {len(paths)} files in {source.spec} "
            f"none can; the first failed with: {skipped[0][1]}"
        )
    table = source.table.iloc[rows]
    predictions = Predictions(
        classes=predictor.classes,
        paths=table["path"].to_numpy(dtype=np.str_),
        labels=table["label"].to_numpy(dtype=np.int64),
        groups=source.groups.iloc[rows].to_numpy(dtype=np.str_),
        domains=table["domain"].to_numpy(dtype=np.str_),
        probabilities=np.concatenate(answers),
        threshold=predictor.bundle.threshold,
    )
    measured = of_images(headers, np.array(sizes, dtype=np.int64), np.stack(thumbnails))
    return Scoring(predictions, measured, tuple(skipped))


@dataclass(frozen=True, slots=True)
class _Image:
    """An image as the network sees it, and what statistics need."""

    pixels: Pixels
    thumbnail: Pixels
    header: Header
    size: int


def _read(predictor: Predictor, source: Source, path: str) -> _Image | str:
    """An image, or why it cannot be had."""
    try:
        data = source.store.read(path)
        thumbnail = decode(data, size=THUMBNAIL.size, channels=THUMBNAIL.channels)
        return _Image(predictor.decode(data), thumbnail, look(data), len(data))
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"the file could not be read ({error.strerror or error}); check it"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
