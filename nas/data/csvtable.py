"""A CSV file that lists images -> the table of a source."""

import csv
import math
from pathlib import Path

import pandas as pd

from nas.data.table import COLUMNS, SPLITS
from nas.errors import DataError

NAMES = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "image index"),
    "label": ("label", "class", "target", "diagnosis", "finding"),
    "patient": ("patient", "patient_id", "patient id", "patientid", "subject", "subject_id"),
    "domain": ("domain", "site", "hospital", "scanner", "device", "series"),
    "split": ("split", "subset"),
}
"""Headings that are taken for a column, in any case; the first that is there."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
} | dict.fromkeys(("val", "valid", "validation", "dev"), "val")


def read_table(file: Path) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """The rows of a CSV, the classes, and what to tell the user.

    Args:
        file: CSV in UTF-8 with a heading line; a column for path and label, and where they are
            known for patient, domain and split. Paths are relative to the file's folder.

    Returns:
        The table (columns of a source; "" where patient or domain is unknown; all of it train
        where there is no split), class names in order, and notes.

    Raises:
        DataError: it cannot be read, a column is missing, a cell is empty or unknown or too many,
            a path comes twice, or there are fewer than two classes.
    """
    raw = _raw(file)
    found = _columns(file, raw)
    table = pd.DataFrame(
        {name: raw[found[name]].str.strip() if name in found else "" for name in COLUMNS},
        index=raw.index,
    )
    table["path"] = table["path"].str.replace("\\", "/", regex=False)
    for name in ("path", "label"):
        rule = f"every row must have a {name}"
        _refuse(file, table[name], table[name] == "", rule, "fill it in")
    again = table["path"].duplicated()
    _refuse(file, table["path"], again, "every image must come once", "remove the second")
    table["split"] = _splits(file, table["split"]) if "split" in found else "train"
    classes = tuple(sorted(table["label"].unique(), key=_order))
    if len(classes) < 2:
        raise DataError(
            f"a data set must have at least two classes, but {file} has only {classes[0]!r}; "
            "add images of another"
        )
    for split in table["split"].unique():
        if missing := set(classes) - set(table["label"][table["split"] == split]):
            raise DataError(
                f"every split must have images of every class, but in {file} {split} has none of "
                f"{min(missing)!r}; add some"
            )
    table["label"] = table["label"].map({name: label for label, name in enumerate(classes)})
    table = table.reset_index(drop=True)
    renamed = [f"{column} from {found[column]!r}" for column in found if column != found[column]]
    note = f"columns of {file.name}: {', '.join(renamed)}" if renamed else ""
    return table, classes, (note,) if note else ()


def _raw(file: Path) -> pd.DataFrame:
    """Every cell as text, as it stands: a patient 007 must not become 7, nor NA nothing.

    The index is the line where a row ends. Rows may lack their last cells, as some programs leave
    out empty ones; empty lines are no rows.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            headings = next(reader, [])
            rows = [(reader.line_num, cells) for cells in reader if any(cells)]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"the list of images must be a CSV file in UTF-8, but {file} cannot be read "
            f"({reason}); save it anew"
        ) from None
    if not rows:
        raise DataError(f"the list of images must have rows, but {file} has none; add images")
    for line, cells in rows:
        if len(cells) > len(headings):
            raise DataError(
                f"a row must have at most one cell for each of the {len(headings)} headings, but "
                f"line {line} of {file} has {len(cells)}; quote cells that have commas in them"
            )
        cells += [""] * (len(headings) - len(cells))
    table: dict[str, list[str]] = {}
    for place, heading in enumerate(headings):
        table.setdefault(heading, [cells[place] for _, cells in rows])
    return pd.DataFrame(table, index=[line for line, _ in rows])


def _columns(file: Path, raw: pd.DataFrame) -> dict[str, str]:
    """Our column -> the heading that is taken for it."""
    headings = {heading.strip().lower(): heading for heading in raw.columns}
    found = {
        column: headings[next(name for name in names if name in headings)]
        for column, names in NAMES.items()
        if any(name in headings for name in names)
    }
    for column in ("path", "label"):
        if column not in found:
            raise DataError(
                f"a list of images must have a column {column!r}, but {file} has "
                f"{', '.join(map(repr, raw.columns[:8]))}; rename the one that is meant"
            )
    return found


def _splits(file: Path, column: "pd.Series[str]") -> "pd.Series[str]":
    known = column.str.lower().map(SPLIT_NAMES)
    _refuse(file, column, known.isna(), f"a split must be {', '.join(SPLITS)}", "choose one")
    if "train" not in set(known):
        raise DataError(f"the split train must have images, but in {file} it has none; add some")
    return known


def _refuse(
    file: Path, column: "pd.Series[str]", bad: "pd.Series[bool]", rule: str, remedy: str
) -> None:
    """Raise DataError for the first bad row of a column."""
    if bad.any():
        line = bad.index[bad][0]
        value = column.loc[line]
        raise DataError(f"{rule}, but line {line} of {file} has {value!r}; {remedy}")


def _order(name: str) -> tuple[int, float, str]:
    """Numbers by value, then words by letter."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    # A class may be called nan, which is larger than nothing and smaller than nothing.
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)
