"""An audit as one HTML file that needs nothing else: figures, explanations, example images.

Whatever comes from outside, names of files above all, is escaped, and the page forbids itself
scripts and every address but data: for images.
"""

from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from nas.data.audit_examples import copies, examples
from nas.data.audit_figures import histogram
from nas.data.audit_html import Cell, said, section, table, text
from nas.data.audit_style import STYLE
from nas.data.audit_values import Audit, Level, counted, printable
from nas.data.prepare import Prepared
from nas.data.shortcuts import Single
from nas.data.statistics import STATISTICS, statistics

MOST_ROWS = 100
HISTOGRAMS = 3

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(audit: Audit, prepared: Prepared, cache: Path) -> str:
    """The page, to be written as UTF-8.

    Args:
        audit: of ``prepared``.
        prepared: gives the images.
        cache: of decoded images.

    Raises:
        DataError: a file changed, or the cache cannot be written.
    """
    frame = statistics(prepared.source, cache)
    title = f"Audit of {printable(audit.name)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _head(audit),
        _findings(audit),
        _images(audit),
        _files(audit, prepared, frame),
        _measured(audit),
        _shortcuts(audit, prepared, frame),
        _differences(audit),
        copies(audit, prepared),
        _shared(audit),
        _unreadable(audit),
        examples(audit, prepared, cache),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" '
        f'content="no-referrer"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _head(audit: Audit) -> str:
    worst = next((one for one in Level if audit.count(one)), Level.NOTE)
    facts = f"{audit.images:,} images of {len(audit.classes)} classes."
    if audit.synthetic:
        facts += " SYNTHETIC: drawn by a program."
    if audit.licence:
        facts += f" Licence: {printable(audit.licence)}."
    return (
        f'<p class="verdict {worst}">{escape(audit.verdict)}</p><p>{escape(facts)}</p>'
        '<p class="said">Research use only. Not a medical device. Not for diagnosis.</p>'
    )


def _findings(audit: Audit) -> str:
    if not audit.findings:
        return ""
    items = []
    for one in audit.findings:
        value = f", but <strong>{text(one.value)}</strong>" if one.value else ""
        remedy = (
            f' <span class="remedy">What to do: {text(one.remedy)}.</span>' if one.remedy else ""
        )
        rule = text(one.rule[:1].upper() + one.rule[1:])
        items.append(
            f'<li class="{one.level}"><span class="level">{one.level}</span> {rule}'
            f"{value}.{remedy}</li>"
        )
    intro = said(
        "An error makes figures on this data wrong, a warning says how they may mislead,",
        "a note is good to know.",
    )
    return section("Findings", intro, f'<ul class="findings">{"".join(items)}</ul>')


def _images(audit: Audit) -> str:
    rows: list[tuple[Cell, ...]] = []
    for split in audit.splits:
        known: Cell = split.patients or "unknown"
        domains = ", ".join(f"{name or 'unknown'} {n:,}" for name, n in split.domains.items())
        rows.append((split.name, "all", split.images, known, "", domains))
        for one in split.classes:
            share = "" if one.prevalence is None else f"{one.prevalence:.1%}"
            patients: Cell = one.patients if split.patients else "unknown"
            rows.append((split.name, one.name, one.images, patients, share, ""))
    head = ("split", "class", "images", "patients", "share", "images of each domain")
    intro = said(
        "A network learns from train, is chosen on val (or on a part of train), and is measured",
        "once on test. The share is the class's prevalence within the split. A domain is a site,",
        "a series or a subtype that file names or a CSV file tell.",
    )
    return section("Images and patients", intro, table("Readable images", head, rows))


def _files(audit: Audit, prepared: Prepared, frame: pd.DataFrame) -> str:
    if (sizes := audit.sizes) is None:
        return ""
    ranges = (
        ("width in pixels", sizes.width),
        ("height in pixels", sizes.height),
        ("file size in bytes", sizes.file_bytes),
    )
    rows: list[tuple[Cell, ...]] = [
        (name, round(one.least), round(one.median), round(one.most)) for name, one in ranges
    ]
    kinds = [
        f"{what}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}."
        for what, counts in (("File formats", sizes.formats), ("Pixel modes", sizes.modes))
    ]
    splits = prepared.source.table["split"].loc[frame.index]
    drawn = histogram(
        "file size in bytes, by split",
        {
            one.name: frame["file_bytes"][(splits == one.name).to_numpy()].to_numpy()
            for one in audit.splits
        },
    )
    intro = said(
        "All images have one width and height."
        if sizes.distinct == 1
        else f"There are {sizes.distinct:,} different pairs of width and height.",
        *kinds,
        "Curves that lie on each other mean that the splits were stored in the same way; each",
        "curve has the same area, however many images it is of.",
    )
    head = ("of the files", "least", "median", "most")
    return section("Files", intro, table("Sizes", head, rows), drawn)


def _measured(audit: Audit) -> str:
    rows: list[tuple[Cell, ...]] = []
    for split in audit.splits:
        if (exact := split.precision) is None:
            continue
        what = "a sixth of train, to validate on" if split.name == "train" else split.name
        half = "cannot be measured" if exact.error is None else f"± {1.96 * exact.error:.3f}"
        rows.append((what, exact.images, exact.smallest, half))
    head = ("images", "number", "of the smallest class", "an AUROC of 0.95 is known to")
    intro = said(
        "How exactly a set of this size tells an AUROC (95 % interval after Hanley and McNeil",
        "1982, images taken for independent). Two networks whose scores differ by less cannot be",
        "ranked by one such measurement alone.",
    )
    return section("What can be measured", intro, table("Precision", head, rows))


def _shortcuts(audit: Audit, prepared: Prepared, frame: pd.DataFrame) -> str:
    floor = audit.floor
    intro = said(
        "How well the label can be told with no look at the anatomy: by the size of the file and",
        "a few numbers about the whole image. 0.5 is chance, 1 is always. A high value means that",
        "classes were taken or stored differently; a network can learn that instead of the",
        "disease, and will fail where images are stored differently. The test split is not used.",
        "A statistic alone is taken in its better direction, so chance gives a little above 0.5.",
    )
    if not floor.singles:
        return section("Shortcuts", intro, "<p>There are too few images to measure this.</p>")
    rows: list[tuple[Cell, ...]] = []
    if floor.auroc is not None:
        interval = "" if floor.interval is None else "{:.3f} to {:.3f}".format(*floor.interval)
        meaning = "a classifier of all of these, on patients that it did not learn from"
        rows.append(("all together", floor.auroc, interval, meaning))
    rows += [(one.name, one.auroc, "", STATISTICS[one.name]) for one in floor.singles]
    head = ("statistic", "AUROC", "95 % interval, by patient", "what it is")
    charts = "".join(_by_class(one, prepared, frame) for one in floor.singles[:HISTOGRAMS])
    caption = f"What tells the label, {floor.images:,} images of train and val"
    return section(
        "Shortcuts", intro, table(caption, head, rows),
        f'<div class="charts">{charts}</div>',
    )  # fmt: skip


def _by_class(single: Single, prepared: Prepared, frame: pd.DataFrame) -> str:
    rows = prepared.source.table.loc[frame.index]
    learned = (rows["split"] != "test").to_numpy()
    labels = rows["label"].to_numpy()
    values = frame[single.name].to_numpy(dtype=np.float64)
    title = f"{single.name}, by class"
    return histogram(
        title,
        {
            name: values[learned & (labels == label)]
            for label, name in enumerate(prepared.source.classes)
        },
    )


def _differences(audit: Audit) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.first} / {one.second}",
            one.within or "all classes",
            "{:,} / {:,}".format(*one.images),
            "too few images" if one.auroc is None else one.auroc,
            "{:.3f} to {:.3f}".format(*one.interval) if one.interval else "",
            one.strongest.name if one.strongest else "",
        )
        for one in audit.differences
    ]
    if not rows:
        return ""
    head = ("sets", "within", "images", "AUROC", "95 % interval", "differs most in")
    intro = said(
        "Whether the same numbers tell which split or domain an image is from. Near 0.5 the two",
        "are alike. Well above, the second has images of another kind: a network that was chosen",
        "on one will do worse on the other. Within a class, a different prevalence plays no part.",
    )
    return section("Sets that differ", intro, table("Told apart by statistics", head, rows))


def _shared(audit: Audit) -> str:
    if not audit.shared:
        return ""
    rows: list[tuple[Cell, ...]] = [
        (one.name, ", ".join(f"{count} in {split}" for split, count in one.images.items()))
        for one in audit.shared[:MOST_ROWS]
    ]
    intro = said(
        "A network recognises a patient that it learned from: scores on that patient's other",
        f"images are too good. There are {len(audit.shared):,};",
        f"the first {MOST_ROWS} are listed."
        if len(audit.shared) > MOST_ROWS
        else "all are listed.",
    )
    return section(
        "Patients in several splits", intro, table("Patients", ("patient", "images"), rows)
    )


def _unreadable(audit: Audit) -> str:
    if not audit.unreadable:
        return ""
    rows: list[tuple[Cell, ...]] = [
        (one.path, one.split, one.label, one.reason) for one in audit.unreadable[:MOST_ROWS]
    ]
    intro = said(
        f"Left out, because it cannot be decoded: {counted(len(audit.unreadable), 'file')}."
    )
    head = ("file", "split", "class", "reason")
    return section("Unreadable files", intro, table("Files", head, rows))
