"""The parts of an audit's page that show images."""

from pathlib import Path

import numpy as np

from nas.data.audit_figures import thumbnail
from nas.data.audit_html import said, section, text
from nas.data.audit_values import Audit, Copies
from nas.data.cache import decode_all
from nas.data.prepare import THUMBNAIL, Prepared

EXAMPLES = 12
"""Of each class and split."""

MOST_GROUPS = 30
MOST_COPIES = 4
"""Of one group that are shown."""

SEED = 303030


def copies(audit: Audit, prepared: Prepared) -> str:
    """Groups of copies side by side; those that must be mended come first."""
    parts = []
    for title, groups in (
        ("Byte-identical files", audit.identical),
        ("Nearly equal images", audit.similar),
    ):
        ordered = sorted(groups, key=lambda one: (not one.contradicting, not one.crossing))
        listed = ordered[:MOST_GROUPS]
        sealed = [one for one in listed if set(one.splits) == {"test"}]
        parts.append(f"<h3>{title}: {len(groups):,}</h3>")
        parts.append(_groups([one for one in listed if one not in sealed], prepared))
        if sealed:
            parts.append(
                f"<details><summary>{len(sealed):,} within the test split</summary>"
                f"{_groups(sealed, prepared)}</details>"
            )
        if len(groups) > len(listed):
            parts.append(f"<p>And {len(groups) - len(listed):,} more groups.</p>")
    intro = said(
        "Copies count more than once, and in two splits they make a score too good. Nearly equal",
        "are images stored again with other compression, size, brightness or sharpness.",
        "" if audit.compared else "These images are too alike for near duplicates to be found.",
    )
    return section("Copies", intro, *parts)


def _groups(groups: list[Copies], prepared: Prepared) -> str:
    return f'<div class="groups">{"".join(_group(one, prepared) for one in groups)}</div>'


def _group(group: Copies, prepared: Prepared) -> str:
    marks = [
        mark
        for mark, holds in (
            ("several labels", group.contradicting),
            ("several splits", group.crossing),
        )
        if holds
    ]
    flag = "".join(f'<p class="flag">{mark}</p>' for mark in marks)
    triples = list(zip(group.paths, group.splits, group.labels, strict=True))
    pictures = "".join(_picture(prepared, *one) for one in triples[:MOST_COPIES])
    more = len(triples) - MOST_COPIES
    rest = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f'<div class="group">{flag}<div class="row">{pictures}</div>{rest}</div>'


def _picture(prepared: Prepared, path: str, split: str, label: str) -> str:
    address = thumbnail(prepared.source.store, path)
    alt = text(f"{label}, {split}")
    image = "<p>cannot be shown</p>" if address is None else f'<img src="{address}" alt="{alt}">'
    return (
        f'<figure class="picture">{image}<figcaption>{text(path)}'
        f"<br><b>{alt}</b></figcaption></figure>"
    )


def examples(audit: Audit, prepared: Prepared, cache: Path) -> str:
    """Some images of every class and split; those of the test split stay closed."""
    places = decode_all(prepared.source, THUMBNAIL, cache).places
    table = prepared.source.table[places >= 0]
    draws = np.random.default_rng(SEED)
    parts = []
    for split in audit.splits:
        inner = []
        for label, name in enumerate(audit.classes):
            own = table["path"][(table["split"] == split.name) & (table["label"] == label)]
            count = min(EXAMPLES, len(own))
            paths = own.iloc[np.sort(draws.choice(len(own), count, replace=False))]
            pictures = "".join(_picture(prepared, path, split.name, name) for path in paths)
            inner.append(
                f'<h3>{text(f"{split.name}: {name}")}</h3><div class="row">{pictures}</div>'
            )
        if split.name == "test":
            warning = said(
                "To look is fine, to choose is not: whoever changes a network, a setting or the",
                "data because of what test images look like has no test any more.",
            )
            parts.append(
                f"<details><summary>Examples of the test split</summary>{warning}{''.join(inner)}"
                "</details>"
            )
        else:
            parts += inner
    intro = said(f"{EXAMPLES} images of each class, drawn at random, the same every time.")
    return section("Examples", intro, *parts)
