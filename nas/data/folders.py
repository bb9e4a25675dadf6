"""Folders and CSV files of labelled images -> a source.

Layouts, told apart by what is there:

    DIR/train/<CLASS>/*   DIR/test/<CLASS>/*   (DIR/val/<CLASS>/* if present)
    DIR/<CLASS>/*         split by us, by patient
    DIR/*.csv             path, label, and where they are known patient, domain, split
"""

from pathlib import Path

import pandas as pd

from nas.data.csvtable import read_table
from nas.data.names import recognise
from nas.data.table import (
    COLUMNS,
    SPLITS,
    FileStore,
    Source,
    usable_validation,
    without_patients,
)
from nas.errors import DataError
from nas.images import SUFFIXES

HIDDEN = (".", "__")
"""How folders begin that hold no data of their own: __MACOSX, .ipynb_checkpoints (copies)."""


def read_folder(folder: Path, *, name: str | None = None, synthetic: bool = False) -> Source:
    """The table of a folder's images; nothing is decoded.

    Args:
        folder: of one of the layouts above.
        name: the folder's own if not given.
        synthetic: whether the images were drawn by a program.

    Raises:
        DataError: no such folder, no images, an empty class, fewer than two classes, or a CSV
            that cannot be used.
    """
    if not folder.is_dir():
        raise DataError(
            f"the data must be a folder, but {folder} is not; "
            "give the folder that holds train/ and test/, or one folder per class"
        )
    if (folder / "train").is_dir():
        table, classes = _read_splits(folder)
    elif (folder / "test").is_dir():
        raise DataError(
            f"{folder} has test/ but no train/; add train/, or give one folder per class and "
            "the test split is made for you"
        )
    elif (listing := _listing(folder)) is not None:
        return read_csv(listing, name=name or folder.resolve().name)
    else:
        table, classes = _read_classes(folder, "train")
    return _source(folder, folder.resolve(), table, classes, name, synthetic, ())


def read_labelled(folder: Path) -> Source:
    """A folder's images for a model that is there already; nothing is decoded.

    More is allowed than for a search: one class alone, test/ without train/, and splits with
    different classes. Classes are those of all splits together.

    Args:
        folder: of one of the layouts above, or one whose splits are not all there.

    Raises:
        DataError: no such folder, no images, an empty class, or a CSV that cannot be used.
    """
    if not folder.is_dir():
        raise DataError(
            f"the data must be a folder, but {folder} is not; "
            "give the folder that holds a folder for each class, or test/ with them"
        )
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    if not splits and (listing := _listing(folder)) is not None:
        return read_csv(listing, name=folder.resolve().name)
    parts = [_read_classes(folder, split, split, least=1) for split in splits]
    parts = parts or [_read_classes(folder, "train", least=1)]
    classes = tuple(sorted({name for _, names in parts for name in names}))
    tables = [
        table.assign(label=[classes.index(names[label]) for label in table["label"]])
        for table, names in parts
    ]
    whole = pd.concat(tables, ignore_index=True)
    return _source(folder, folder.resolve(), whole, classes, None, False, ())


def read_csv(file: Path, *, name: str | None = None) -> Source:
    """The table of a CSV file; paths in it are relative to its folder, or absolute.

    Raises:
        DataError: see nas.data.csvtable.
    """
    table, classes, notes = read_table(file)
    return _source(file.parent, file.absolute(), table, classes, name or file.stem, False, notes)


def _source(
    root: Path,
    spec: Path,
    table: pd.DataFrame,
    classes: tuple[str, ...],
    name: str | None,
    synthetic: bool,
    notes: tuple[str, ...],
) -> Source:
    """Fill in what the table does not say from file names, and note how."""
    known = recognise(table["path"].tolist())
    filled: list[str] = []
    for column, found in (("patient", known.patients), ("domain", known.domains)):
        empty = table[column] == ""
        if empty.any() and any(found):
            table[column] = table[column].where(~empty, pd.Series(found, index=table.index))
            filled.append(column)
    if known.preset and filled:
        notes += (f"file names are those of {known.preset}: they tell {' and '.join(filled)}",)
    table, joined = usable_validation(table)
    table, alone = without_patients(table)
    return Source(
        name=name or root.resolve().name,
        spec=str(spec),
        store=FileStore(root.resolve()),
        classes=classes,
        table=table[list(COLUMNS)],
        synthetic=synthetic,
        notes=notes + joined + alone,
    )


def _listing(folder: Path) -> Path | None:
    """The CSV file that describes a folder: the only one beside its images."""
    files = sorted(path for path in folder.glob("*.csv") if not path.name.startswith(HIDDEN))
    if len(files) > 1 and not any(_is_class(entry) for entry in folder.iterdir()):
        raise DataError(
            f"a folder must have one CSV file, but {folder} has {len(files)} "
            f"({', '.join(path.name for path in files[:3])}); give the one that is meant"
        )
    return files[0] if len(files) == 1 else None


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
    folder: Path, split: str, below: str = "", *, least: int = 2
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    top = folder / below
    classes = tuple(sorted(entry.name for entry in top.iterdir() if _is_class(entry)))
    if len(classes) < least:
        found = f"one ({classes[0]})" if classes else "none"
        wanted = "at least two classes" if least == 2 else "one or more classes"
        raise DataError(
            f"{top} must have a folder for each of {wanted}, but has {found}; "
            "sort the images into folders named after their classes"
        )
    rows: list[tuple[str, int, str]] = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (top / name).rglob("*") if _is_image(path, top))
        if not files:
            raise DataError(
                f"every class must have images, but {top / name} has none "
                f"({', '.join(sorted(SUFFIXES))}); add images or remove the folder"
            )
        rows += [(path.relative_to(folder).as_posix(), label, split) for path in files]
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    return table.assign(patient="", domain=""), classes


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(HIDDEN)


def _is_image(path: Path, top: Path) -> bool:
    return (
        path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not any(part.startswith(HIDDEN) for part in path.relative_to(top).parts[:-1])
        and path.is_file()
    )
