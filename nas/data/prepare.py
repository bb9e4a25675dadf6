"""From ``--data`` to a source that can be trusted: duplicates known, splits settled, leaks found.

Search, baselines and export all come through here, so that they agree on the splits.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from nas.data.cache import Form, contents_key, decode_all, hash_files, reading, writing
from nas.data.duplicates import SIDE, Duplicates, Pairs, find_duplicates, joined
from nas.data.sources import open_source
from nas.data.splits import TEST_SHARE, hold_out
from nas.data.table import SPLITS, Source
from nas.errors import DataError
from nas.files import write_json

THUMBNAIL = Form(SIDE, 1)

SPLIT_SEED = 101010
"""The test split that we make never depends on a run's seed: otherwise it would not be sealed."""

DUPLICATES_VERSION = "1"
"""To be raised when other pairs are found in the same images."""

Report = Callable[[str, int, int], None]


class LeakKind(StrEnum):
    """What two splits share. Stored: members are only ever added."""

    PATIENT = "patient"
    IDENTICAL = "identical"
    SIMILAR = "similar"


@dataclass(frozen=True)
class Leak:
    """What two splits share, and must not.

    Attributes:
        kind: patients, byte-identical files, or nearly equal images.
        splits: the two, in the order train, val, test.
        count: of patients, or of pairs of images.
        example: the patient, or the two paths.
    """

    kind: LeakKind
    splits: tuple[str, str]
    count: int
    example: tuple[str, ...]

    def __str__(self) -> str:
        one, more = {
            LeakKind.PATIENT: ("patient", "patients"),
            LeakKind.IDENTICAL: ("pair of byte-identical files", "pairs of byte-identical files"),
            LeakKind.SIMILAR: ("pair of nearly equal images", "pairs of nearly equal images"),
        }[self.kind]
        first, second = self.splits
        what = f"{self.count:,} {one if self.count == 1 else more}"
        return f"{first} and {second} share {what} ({' and '.join(self.example)})"


@dataclass(frozen=True)
class Prepared:
    """A source with settled splits, and what was found on the way.

    Attributes:
        source: its table has a column group; every image is in train, val or test.
        duplicates: among all its images.
        leaks: between its splits; the test split has none where it was made by us.
    """

    source: Source
    duplicates: Duplicates
    leaks: tuple[Leak, ...]

    def refuse_leaks(self) -> None:
        """Raise DataError if splits share anything, unless they are a published benchmark's."""
        if self.leaks and not self.source.published:
            more = f", and {len(self.leaks) - 1} more such" if len(self.leaks) > 1 else ""
            raise DataError(
                f"splits must share no patient and no image, but {self.leaks[0]}{more}; move them "
                "to one side (python -m nas.data audit lists them), or say --allow-leaks"
            )


def prepare(spec: str | None, cache: Path, report: Report = lambda *_: None) -> Prepared:
    """Open what ``spec`` names, compare all its images, and settle its splits.

    Args:
        spec: see nas.data.sources.
        cache: of decoded images.
        report: called with (what, done, total).

    Raises:
        DataError: the data cannot be used; leaks are not refused yet.
    """
    source = open_source(spec, cache, lambda *counts: report("drawing demo images", *counts))
    return settle(source, cache, report)


def settle(source: Source, cache: Path, report: Report = lambda *_: None) -> Prepared:
    """Compare all images of a source, and settle its splits; see ``prepare``."""
    hash_files(source, cache, lambda *counts: report("reading files", *counts))
    decode_all(source, THUMBNAIL, cache, lambda *counts: report("decoding images", *counts))
    duplicates = known_duplicates(
        source, cache, lambda *counts: report("comparing images", *counts)
    )
    whole = joined(source.table["patient"].tolist(), duplicates.identical, duplicates.similar)
    table = source.table.assign(group=whole)
    notes = source.notes
    if "test" not in set(table["split"]):
        chosen = hold_out(table["label"], table["group"], TEST_SHARE, SPLIT_SEED)
        table.loc[chosen, "split"] = "test"
        notes += (
            f"there is no test split: {int(chosen.sum())} of {len(table)} images, whole patients, "
            "were set aside as one",
        )
    if not duplicates.compared:
        notes += ("the images are too alike to look for near duplicates: only equal files count",)
    settled = replace(source, table=table, notes=notes)
    return Prepared(settled, duplicates, find_leaks(settled, duplicates))


def known_duplicates(
    source: Source, cache: Path, report: Callable[[int, int], None] = lambda *_: None
) -> Duplicates:
    """The duplicates of a source, from the cache or found."""
    digests = hash_files(source, cache)
    file = cache / f"duplicates-{contents_key(digests, DUPLICATES_VERSION)}.json"
    if file.is_file():
        with reading(file):
            kept = json.loads(file.read_text())
            pairs = {
                name: np.array(kept[name], dtype=np.int64).reshape(-1, 2)
                for name in ("identical", "similar")
            }
            return Duplicates(**pairs, compared=kept["compared"])
    decoded = decode_all(source, THUMBNAIL, cache)
    found = find_duplicates(digests.sha256, decoded.pixels, decoded.places, report)
    with writing(cache):
        write_json(
            file,
            {
                "identical": found.identical.tolist(),
                "similar": found.similar.tolist(),
                "compared": found.compared,
            },
        )
    return found


def find_leaks(source: Source, duplicates: Duplicates) -> tuple[Leak, ...]:
    """Everything that two splits of a source share."""
    table = source.table
    present = [split for split in SPLITS if (table["split"] == split).any()]
    leaks: list[Leak] = []
    for index, first in enumerate(present):
        for second in present[index + 1 :]:
            sides = (first, second)
            patients = [set(table["patient"][table["split"] == side]) for side in sides]
            if shared := sorted(patients[0] & patients[1]):
                leaks.append(Leak(LeakKind.PATIENT, sides, len(shared), (shared[0],)))
            for kind, pairs in (
                (LeakKind.IDENTICAL, duplicates.identical),
                (LeakKind.SIMILAR, duplicates.similar),
            ):
                across = crossing(source, pairs, sides)
                if len(across):
                    example = tuple(table["path"].iloc[across[0]])
                    leaks.append(Leak(kind, sides, len(across), example))
    return tuple(leaks)


def crossing(source: Source, pairs: Pairs, splits: tuple[str, str]) -> Pairs:
    """Those of the pairs that have one image in either split."""
    split = source.table["split"].to_numpy(dtype=np.str_)
    ends = np.sort(split[pairs], axis=1)
    across: Pairs = pairs[(ends == np.sort(np.array(splits))).all(axis=1)]
    return across
