"""An audit in a terminal, 80 columns wide."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nas.data.audit_values import Audit, Copies, Level, Range, SplitCount, counted, printable
from nas.data.shortcuts import Difference

STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}

MOST_LISTED = 10
MOST_SINGLES = 6


def tables(audit: Audit) -> list[RenderableType]:
    """Verdict and findings first, then the figures that they rest on."""
    parts: list[RenderableType] = [
        Text(printable(audit.name) + (", SYNTHETIC" if audit.synthetic else ""), style="bold"),
        Text(audit.verdict),
    ]
    if audit.findings:
        parts.append(_findings(audit))
    parts += [_splits(audit), _measures(audit)]
    parts += _listings(audit)
    if audit.floor.singles:
        parts.append(_floor(audit))
    if told := [one for one in audit.differences if one.auroc is not None]:
        parts.append(_differences(told))
    return [piece for part in parts for piece in (part, "")]


def _findings(audit: Audit) -> Table:
    table = Table(title="Findings", title_justify="left", show_header=False, show_lines=True)
    table.add_column()
    table.add_column(overflow="fold")
    for one in audit.findings:
        table.add_row(Text(one.level, style=STYLES[one.level]), Text(printable(one.text)))
    return table


def _splits(audit: Audit) -> Table:
    table = Table(title="Images", title_justify="left")
    table.add_column("split")
    table.add_column("class", overflow="fold")
    for name in ("images", "patients", "share"):
        table.add_column(name, justify="right")
    table.add_column("domains", overflow="fold")
    for split in audit.splits:
        known = {name: count for name, count in split.domains.items() if name}
        domains = ", ".join(f"{printable(name)} {count:,}" for name, count in known.items())
        table.add_row(split.name, "all", f"{split.images:,}", _patients(split), "", Text(domains))
        for one in split.classes:
            share = "" if one.prevalence is None else f"{one.prevalence:.1%}"
            patients = f"{one.patients:,}" if split.patients else "?"
            table.add_row("", Text(printable(one.name)), f"{one.images:,}", patients, share, "")
        table.add_section()
    return table


def _patients(split: SplitCount) -> str:
    if not split.patients:
        return "?"
    return f"{split.patients:,}" + (" + ?" if split.unknown else "")


def _measures(audit: Audit) -> Table:
    table = Table(title="Files and what can be measured", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if (sizes := audit.sizes) is not None:
        table.add_row("width", f"{_range(sizes.width)} pixels")
        table.add_row("height", f"{_range(sizes.height)} pixels")
        table.add_row("different sizes", f"{sizes.distinct:,}")
        table.add_row("file size", f"{_range(sizes.file_bytes)} bytes")
        for name, counts in (("formats", sizes.formats), ("pixel modes", sizes.modes)):
            table.add_row(name, ", ".join(f"{kind} {n:,}" for kind, n in counts.items()))
    table.add_row("unreadable", counted(len(audit.unreadable), "file"))
    table.add_row("byte-identical", counted(len(audit.identical), "group"))
    compared = counted(len(audit.similar), "pair") if audit.compared else "not looked for"
    table.add_row("nearly equal", compared)
    for split in audit.splits:
        if (exact := split.precision) is not None:
            what = "a sixth of train" if split.name == "train" else split.name
            half = "cannot be had" if exact.error is None else f"± {1.96 * exact.error:.3f}"
            table.add_row(f"AUROC on {what}", f"{half} (95 %, at 0.95; n = {exact.images:,})")
    return table


def _range(values: Range) -> str:
    if values.least == values.most:
        return f"all {values.least:,.0f}"
    return f"{values.least:,.0f} to {values.most:,.0f}, median {values.median:,.0f}"


def _listings(audit: Audit) -> list[RenderableType]:
    """What is to be mended: broken files, and what splits share."""
    result: list[RenderableType] = []
    broken = [f"{one.path}: {one.reason}" for one in audit.unreadable]
    shared = [
        f"{one.name}: " + ", ".join(f"{count} in {split}" for split, count in one.images.items())
        for one in audit.shared
    ]
    copies = [group for group in (*audit.identical, *audit.similar) if group.crossing]
    against = [group for group in (*audit.identical, *audit.similar) if group.contradicting]
    for title, lines in (
        ("Unreadable files", broken),
        ("Patients in several splits", shared),
        ("Copies in several splits", [_group(one) for one in copies]),
        ("Copies with several labels", [_group(one, labels=True) for one in against]),
    ):
        if lines:
            table = Table(title=f"{title}: {len(lines):,}", title_justify="left", show_header=False)
            table.add_column(overflow="fold")
            for line in lines[:MOST_LISTED]:
                table.add_row(Text(printable(line)))
            if len(lines) > MOST_LISTED:
                table.add_row(f"and {len(lines) - MOST_LISTED:,} more: --json lists all")
            result.append(table)
    return result


def _group(copies: Copies, *, labels: bool = False) -> str:
    kinds = copies.labels if labels else copies.splits
    return ", ".join(f"{path} ({kind})" for path, kind in zip(copies.paths, kinds, strict=True))


def _floor(audit: Audit) -> Table:
    floor = audit.floor
    table = Table(
        title=f"Shortcuts to the label, train and val (n = {floor.images:,})",
        title_justify="left",
    )
    table.add_column("statistic")
    table.add_column("AUROC", justify="right")
    if floor.auroc is not None:
        interval = "" if floor.interval is None else " ({:.3f} to {:.3f})".format(*floor.interval)
        table.add_row("all together, other patients", f"{floor.auroc:.3f}{interval}", style="bold")
    for one in floor.singles[:MOST_SINGLES]:
        table.add_row(f"{one.name} alone", f"{one.auroc:.3f}")
    return table


def _differences(told: list[Difference]) -> Table:
    table = Table(title="Sets that statistics tell apart (0.5: not)", title_justify="left")
    table.add_column("sets", overflow="fold")
    table.add_column("within", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("AUROC", justify="right")
    table.add_column("most by")
    for one in told:
        table.add_row(
            Text(printable(f"{one.first} / {one.second}")),
            Text(printable(one.within or "all")),
            "{:,} / {:,}".format(*one.images),
            f"{one.auroc:.3f}",
            one.strongest.name if one.strongest else "",
        )
    return table
