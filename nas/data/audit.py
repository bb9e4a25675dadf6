"""Look at a source before anything is trained on it.

    python -m nas.data audit DIR

Counts, sizes, copies, leaks, what splits can measure, and how far file size and a few pixel
statistics alone get. The slow part, some classifiers on these statistics, is kept in the cache.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nas.data.audit_values import (
    Audit,
    ClassCount,
    Copies,
    Level,
    Precision,
    Range,
    SharedPatient,
    Sizes,
    SplitCount,
    Unreadable,
    counted,
    plain,
    printable,
    rebuilt,
)
from nas.data.cache import contents_key, decode_all, hash_files, reading, writing
from nas.data.duplicates import Pairs
from nas.data.findings import grade, precision
from nas.data.prepare import THUMBNAIL, Prepared, Report
from nas.data.shortcuts import (
    Difference,
    Floor,
    domain_difference,
    shortcut_floor,
    split_difference,
)
from nas.data.splits import VALIDATION_SHARE
from nas.data.statistics import STATISTICS_VERSION, statistics
from nas.data.table import SPLITS, Source
from nas.data.telling import TELLING_VERSION, draw_sample
from nas.files import write_json

BRIEF_FINDINGS = 3


def audit(
    prepared: Prepared,
    cache: Path,
    report: Report = lambda *_: None,
    *,
    size: int | None = None,
) -> Audit:
    """Everything about a source that can be known without a network.

    Args:
        prepared: its leaks need not be refused; they become findings.
        cache: of decoded images; figures are kept there too.
        report: called with (what, done, total).
        size: side in pixels that images will be searched at, if that is known.

    Raises:
        DataError: a file changed while it was read, or the cache cannot be written.
    """
    source, duplicates = prepared.source, prepared.duplicates
    frame = statistics(source, cache, report)
    failures = decode_all(source, THUMBNAIL, cache).failures
    floor, differences = _shortcuts(source, frame, cache, report)
    table = source.table.assign(
        name=np.array(source.classes, dtype=object)[source.table["label"]],
        known=source.table["patient"] != "image " + source.table["path"],
        readable=~source.table.index.isin(list(failures)),
    )
    found = Audit(
        name=source.name,
        synthetic=source.synthetic,
        licence=source.licence,
        notes=source.notes,
        published=source.published,
        classes=source.classes,
        splits=_splits(table, source.classes),
        sizes=_sizes(frame) if len(frame) else None,
        unreadable=tuple(_unreadable(table, row, why) for row, why in sorted(failures.items())),
        identical=_identical(table, duplicates.identical),
        similar=tuple(_copies(table, pair) for pair in duplicates.similar.tolist()),
        compared=duplicates.compared,
        leaks=prepared.leaks,
        shared=_shared(table),
        floor=floor,
        differences=differences,
        findings=(),
    )
    return replace(found, findings=grade(found, size))


def brief(audit: Audit) -> list[str]:
    """Three to six lines for the start of a search."""
    splits = ", ".join(
        f"{split.name} {split.images:,} ({_patients_text(split)})" for split in audit.splits
    )
    copies = (
        f"{len(audit.unreadable):,} unreadable, "
        f"{counted(len(audit.identical), 'group')} of equal files, "
        f"{counted(len(audit.similar), 'near duplicate')}"
    )
    floor = (
        "not measured, too few images"
        if audit.floor.auroc is None
        else f"AUROC {audit.floor.auroc:.3f} by file size and pixel statistics alone"
    )
    lines = [
        f"data: {printable(audit.name)}, {audit.images:,} images of {len(audit.classes)} classes: "
        + splits,
        f"{_shares_text(audit)}; {copies}",
        f"shortcut floor: {floor}",
    ]
    # The floor has its own line.
    graver = [
        one for one in audit.findings if one.level is not Level.NOTE and one.code != "shortcut"
    ]
    shown = BRIEF_FINDINGS if len(graver) <= BRIEF_FINDINGS else BRIEF_FINDINGS - 1
    lines += [f"{one.level}: {printable(one.value or one.rule)}" for one in graver[:shown]]
    if len(graver) > shown:
        lines.append(f"and {len(graver) - shown} more: python -m nas.data audit lists them")
    return lines


def _shares_text(audit: Audit) -> str:
    """How frequent the positive class is in each split; with several classes, the rarest."""
    first = audit.splits[0].classes
    number = 1 if len(first) == 2 else min(range(len(first)), key=lambda one: first[one].images)
    shares = [f"{split.name} {split.classes[number].prevalence or 0:.1%}" for split in audit.splits]
    return f"{printable(first[number].name)}: {', '.join(shares)}"


def _patients_text(split: SplitCount) -> str:
    if not split.patients:
        return "patients unknown"
    return f"{split.patients:,} patients" + (" and unknown ones" if split.unknown else "")


def _shortcuts(
    source: Source, frame: pd.DataFrame, cache: Path, report: Report
) -> tuple[Floor, tuple[Difference, ...]]:
    """What the statistics tell; from the cache where contents, labels and splits are the same."""
    rows = hashlib.sha256(json.dumps(source.classes).encode())
    columns = [source.table[name].tolist() for name in ("label", "domain", "split")]
    for row in zip(*columns, source.groups.tolist(), strict=True):
        rows.update(json.dumps(row).encode())
    digests = hash_files(source, cache)
    key = contents_key(digests, STATISTICS_VERSION, TELLING_VERSION, rows.hexdigest())
    file = cache / f"shortcuts-{key}.json"
    if file.is_file():
        with reading(file):
            kept = json.loads(file.read_text())
            return rebuilt(Floor, kept["floor"]), tuple(
                rebuilt(Difference, one) for one in kept["differences"]
            )
    report("measuring shortcuts", 0, 3)
    sample = draw_sample(source, frame)
    floor = shortcut_floor(sample)
    report("measuring shortcuts", 1, 3)
    splits = split_difference(sample)
    report("measuring shortcuts", 2, 3)
    differences = splits + domain_difference(sample)
    report("measuring shortcuts", 3, 3)
    with writing(cache):
        write_json(file, {"floor": plain(floor), "differences": plain(differences)})
    return floor, differences


def _splits(table: pd.DataFrame, classes: tuple[str, ...]) -> tuple[SplitCount, ...]:
    present = [split for split in SPLITS if (table["split"] == split).any()]
    result = []
    for split in present:
        inside = table[(table["split"] == split)]
        good = inside[inside["readable"]]
        counts = tuple(_class_count(good, label, name) for label, name in enumerate(classes))
        domains = good["domain"].value_counts().sort_index()
        result.append(
            SplitCount(
                name=split,
                images=len(good),
                unreadable=len(inside) - len(good),
                patients=int(good["patient"][good["known"]].nunique()),
                unknown=int((~good["known"]).sum()),
                classes=counts,
                domains={str(name): int(count) for name, count in domains.items()},
                precision=_precision(split, present, [one.images for one in counts]),
            )
        )
    return tuple(result)


def _class_count(good: pd.DataFrame, label: int, name: str) -> ClassCount:
    own = good[good["label"] == label]
    patients = int(own["patient"][own["known"]].nunique())
    return ClassCount(name, len(own), patients, len(own) / len(good) if len(good) else None)


def _precision(split: str, present: list[str], counts: list[int]) -> Precision | None:
    if split != "train":
        return precision(counts)
    if "val" in present:
        return None
    return precision([round(count * VALIDATION_SHARE) for count in counts])


def _sizes(frame: pd.DataFrame) -> Sizes:
    counts = {name: frame[name].value_counts().sort_index() for name in ("format", "mode")}
    return Sizes(
        width=_range(frame["width"]),
        height=_range(frame["height"]),
        file_bytes=_range(frame["file_bytes"]),
        distinct=len(frame[["width", "height"]].drop_duplicates()),
        short_side=_range(frame[["width", "height"]].min(axis=1)),
        formats={str(name): int(count) for name, count in counts["format"].items()},
        modes={str(name): int(count) for name, count in counts["mode"].items()},
    )


def _range(values: "pd.Series[float]") -> Range:
    return Range(float(values.min()), float(values.median()), float(values.max()))


def _unreadable(table: pd.DataFrame, row: int, why: str) -> Unreadable:
    path, split, name = (str(table.at[row, column]) for column in ("path", "split", "name"))
    return Unreadable(path, split, name, why)


def _identical(table: pd.DataFrame, pairs: Pairs) -> tuple[Copies, ...]:
    groups: dict[int, list[int]] = {}
    for first, later in pairs.tolist():
        groups.setdefault(first, [first]).append(later)
    return tuple(_copies(table, rows) for rows in groups.values())


def _copies(table: pd.DataFrame, rows: list[int]) -> Copies:
    own = table.loc[rows]
    return Copies(tuple(own["path"]), tuple(own["split"]), tuple(own["name"]))


def _shared(table: pd.DataFrame) -> tuple[SharedPatient, ...]:
    counts = table.groupby(["patient", "split"]).size().unstack(fill_value=0)
    crossing = counts[(counts > 0).sum(axis=1) > 1]
    return tuple(
        SharedPatient(str(name), {s: int(row[s]) for s in SPLITS if row.get(s, 0)})
        for name, row in crossing.iterrows()
    )
