"""A folder of labelled images -> one table: path, name, label, patient, split.

Layouts, told apart by what is there:

    DIR/train/<CLASS>/*   DIR/test/<CLASS>/*   (DIR/val/<CLASS>/* if present)
    DIR/<CLASS>/*         split by us, by patient
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nas.data import demo
from nas.data.splits import TEST_SHARE, hold_out
from nas.errors import DataError
from nas.images import SUFFIXES

DEFAULT_FOLDER = Path("data/chestxrays")
SPLITS = ("train", "val", "test")
HIDDEN = (".", "__")
"""How folders begin that hold no data of their own: __MACOSX, .ipynb_checkpoints (copies)."""

SMALLEST_VALIDATION = 100
"""A given val/ with fewer images cannot rank networks (the public copy of the chest X-rays has 16):
it joins the train split, from which a larger one is then split off."""

SPLIT_SEED = 101010
"""The test split that we make never depends on a run's seed: otherwise it would not be sealed."""

PATIENT_PATTERNS = (
    # Kermany et al. 2018: the same number with another etiology is another person.
    re.compile(r"(person\d+_(?:bacteria|virus))_\d+"),
    re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+"),
    re.compile(r"(demo\d+)_\d+$"),
    # BIDS, and plain habits.
    re.compile(r"(sub-[A-Za-z0-9]+)"),
    re.compile(r"((?:patient|subject)[-_ ]?\d+)", re.IGNORECASE),
)


@dataclass(frozen=True)
class Source:
    """Labelled images, not yet read.

    Attributes:
        name: short, for run names.
        root: the folder.
        classes: class names, sorted; the position is the label.
        table: one row per image; columns path (relative to root), label, patient, split.
        synthetic: drawn by a program.
        notes: what a user should know of how the folder was read.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    synthetic: bool
    notes: tuple[str, ...]


def open_source(
    folder: Path | None, cache: Path, report: Callable[[int, int], None] | None = None
) -> Source:
    """The images of ``folder``; with None those of data/chestxrays, or else the demo set.

    Args:
        folder: as given by the user.
        cache: where the demo set is drawn, once.
        report: called with (done, total) while it is drawn.

    Raises:
        DataError: no such folder, no images, an empty class, fewer than two classes.
    """
    if folder is not None:
        return read_folder(folder)
    if DEFAULT_FOLDER.is_dir():
        return read_folder(DEFAULT_FOLDER)
    drawn = demo.write_demo(cache / f"demo-{demo.DEMO_VERSION}", report)
    return read_folder(drawn, name="demo", synthetic=True)


def read_folder(folder: Path, *, name: str | None = None, synthetic: bool = False) -> Source:
    """The table of a folder's images; nothing is decoded.

    Raises:
        DataError: see ``open_source``.
    """
    if not folder.is_dir():
        raise DataError(
            f"the data must be a folder, but {folder} is not; "
            "give the folder that holds train/ and test/, or one folder per class"
        )
    notes: list[str] = []
    if (folder / "train").is_dir():
        table, classes = _read_splits(folder)
    elif (folder / "test").is_dir():
        raise DataError(
            f"{folder} has test/ but no train/; add train/, or give one folder per class and "
            "the test split is made for you"
        )
    else:
        table, classes = _read_classes(folder, "train")
    if "test" not in set(table["split"]):
        chosen = hold_out(table["label"], table["patient"], TEST_SHARE, SPLIT_SEED)
        table.loc[chosen, "split"] = "test"
        notes.append(
            f"no test/ in the folder: {int(chosen.sum())} of {len(table)} images, whole patients, "
            "were set aside as the test split"
        )
    small = int((table["split"] == "val").sum())
    if 0 < small < SMALLEST_VALIDATION:
        table.loc[table["split"] == "val", "split"] = "train"
        notes.append(
            f"val/ has {small} images, too few to rank networks with "
            f"(at least {SMALLEST_VALIDATION}): they joined the train split"
        )
    known = int((table["patient"] != table["path"]).sum())
    if known < len(table):
        notes.append(
            f"{len(table) - known} of {len(table)} file names carry no patient that is recognised: "
            "each such image counts as a patient of its own"
        )
    resolved = folder.resolve()
    return Source(name or resolved.name, resolved, classes, table, synthetic, tuple(notes))


def patient_of(stem: str) -> str | None:
    """The patient in a file name without its ending, or None where no pattern fits."""
    for pattern in PATIENT_PATTERNS:
        if found := pattern.match(stem):
            return found.group(1)
    return None


def _read_splits(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    parts = [_read_classes(folder, split, split) for split in SPLITS if (folder / split).is_dir()]
    classes = parts[0][1]
    for table, found in parts[1:]:
        if found != classes:
            raise DataError(
                f"every split must have the same classes, but train/ has {list(classes)} and "
                f"{table['split'].iloc[0]}/ has {list(found)} in {folder}; make them the same"
            )
    return pd.concat([table for table, _ in parts], ignore_index=True), classes


def _read_classes(
    folder: Path, split: str, below: str = ""
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    top = folder / below
    classes = tuple(sorted(entry.name for entry in top.iterdir() if _is_class(entry)))
    if len(classes) < 2:
        found = f"one ({classes[0]})" if classes else "none"
        raise DataError(
            f"{top} must have a folder for each of at least two classes, but has {found}; "
            "sort the images into folders named after their classes"
        )
    rows: list[tuple[str, int, str, str]] = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (top / name).rglob("*") if _is_image(path, top))
        if not files:
            raise DataError(
                f"every class must have images, but {top / name} has none "
                f"({', '.join(sorted(SUFFIXES))}); add images or remove the folder"
            )
        for path in files:
            relative = path.relative_to(folder).as_posix()
            rows.append((relative, label, patient_of(path.stem) or relative, split))
    return pd.DataFrame(rows, columns=["path", "label", "patient", "split"]), classes


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(HIDDEN)


def _is_image(path: Path, top: Path) -> bool:
    return (
        path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not any(part.startswith(HIDDEN) for part in path.relative_to(top).parts[:-1])
        and path.is_file()
    )
