"""What a source of images is: one table, and a store that gives an image's bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

COLUMNS = ("path", "label", "patient", "domain", "split")
SPLITS = ("train", "val", "test")


class Store(Protocol):
    """Where images lie. Threads share one."""

    def stamp(self, path: str) -> str:
        """What changes whenever the image does, without reading it; never raises."""
        ...

    def read(self, path: str) -> bytes:
        """The image as a file's content; raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class FileStore:
    """Image files below a folder."""

    root: Path

    def stamp(self, path: str) -> str:
        """Size and times of change: of the content, and of what else is known (may it be read)."""
        try:
            status = (self.root / path).stat()
        except OSError:  # gone since the folder was read: reading will say so
            return "gone"
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

    def read(self, path: str) -> bytes:
        """The file's content."""
        return (self.root / path).read_bytes()


@dataclass(frozen=True)
class Source:
    """Labelled images, not yet read.

    Attributes:
        name: short, for run names.
        spec: what opens the same source again, from any working directory.
        store: gives an image's bytes for a path of the table.
        classes: class names; the position is the label.
        table: one row per image, index 0 to N-1; columns path (for the store), label, patient,
            domain ("" where unknown), split (train, val or test); and once duplicates are
            known (nas.data.prepare), group: patients, joined where they share an image.
        synthetic: drawn by a program.
        notes: what a user should know of how it was read.
        licence: of the images, where it is known.
        published: the splits are those of a published benchmark, which figures are compared on:
            leaks between them are reported, not refused.
    """

    name: str
    spec: str
    store: Store
    classes: tuple[str, ...]
    table: pd.DataFrame
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    licence: str | None = None
    published: bool = False

    @property
    def groups(self) -> "pd.Series[str]":
        """What belongs on one side of every division: the column group, or else the patient."""
        return self.table["group" if "group" in self.table else "patient"]


SMALLEST_VALIDATION = 100
"""A given val/ with fewer images cannot rank networks (the public copy of the chest X-rays has 16):
it joins the train split, from which a larger one is then split off."""


def usable_validation(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with a validation split that can rank networks, or with none; and what was done.

    Args:
        table: with a column split.
    """
    small = int((table["split"] == "val").sum())
    if not 0 < small < SMALLEST_VALIDATION:
        return table, ()
    joined = table.assign(split=table["split"].replace("val", "train"))
    return joined, (
        f"val has {small} images, too few to rank networks with "
        f"(at least {SMALLEST_VALIDATION}): they joined the train split",
    )


def without_patients(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with a patient for every image: where the column is "" the image is its own.

    A given patient's name is set apart from such an image's, so that no two are taken for one.
    """
    unknown = table["patient"] == ""
    if not unknown.any():
        return table, ()
    filled = table.assign(patient=table["patient"].where(~unknown, "image " + table["path"]))
    return filled, (
        f"{int(unknown.sum())} of {len(table)} images have no patient that is known: each counts "
        "as a patient of its own",
    )
