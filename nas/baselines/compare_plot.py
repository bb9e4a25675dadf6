"""A comparison as one SVG: a row for each network, a column of bars for each figure.

The file needs nothing else: its style is inside, light or dark by the reader's setting.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from nas.baselines.compare_table import DIGITS, Line
from nas.front_plot import number_text

NAMES, COLUMN, GAP, ROW, TOP = 190, 120, 18, 26, 64
"""Widths of the names and of a column, room between columns, height of a row, where rows begin."""

STYLE = """
svg { --ink: #1d2430; --soft: #5a6472; --paper: #fff; --rule: #e3e7ec; --bar: #a9c4de;
  --mark: #1f5f9e; background: var(--paper); font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e8ee; --soft: #a3adba; --paper: #14181e; --rule: #2a323c; --bar: #2f4b66;
    --mark: #7ab8f5; }
}
text { fill: var(--soft); }
.head { fill: var(--ink); font-size: 14px; font-weight: 600; }
.name, .value { fill: var(--ink); }
.bar { fill: var(--bar); }
.rule { stroke: var(--rule); }
.mark { fill: var(--mark); }
.whisker { stroke: var(--mark); stroke-width: 1.4; }
"""


@dataclass(frozen=True)
class Column:
    """A figure that is drawn.

    Attributes:
        title: above the column.
        of: its value, or None.
        text: how a value is written.
        log: bars are logarithmic.
        dots: a dot on an axis that does not begin at 0, for scores that are all near 1.
    """

    title: str
    of: Callable[[Line], float | None]
    text: Callable[[float], str]
    log: bool = False
    dots: bool = False


def _network(name: str) -> Callable[[Line], float | None]:
    return lambda line: None if line.network is None else float(line.network[name])


def _filters(line: Line) -> float | None:
    return None if line.network is None else float(line.network["filters"][1])


def _score(name: str) -> Callable[[Line], float | None]:
    return lambda line: statistics.fmean(line.scores[name]) if line.scores[name] else None


def _count(value: float) -> str:
    return number_text(value, DIGITS)


COLUMNS = (
    Column("depth", _network("depth"), _count),
    Column("most filters", _filters, _count),
    Column("parameters", _network("parameters"), _count, log=True),
    Column("multiply-adds", _network("multiply_adds"), _count, log=True),
    Column("receptive field, px", _network("receptive_field"), _count),
    Column("accuracy", _score("accuracy"), "{:.3f}".format, dots=True),
    Column("AUROC", _score("auroc"), "{:.4f}".format, dots=True),
    Column("robust", _score("robust"), "{:.3f}".format, dots=True),
    Column("training, s", _score("seconds"), _count, log=True),
)


def compare_svg(found: Sequence[Line], title: str) -> str:
    """The picture as the text of an SVG file.

    Args:
        found: networks, in the order of the rows.
        title: above it all.
    """
    width = NAMES + len(COLUMNS) * (COLUMN + GAP)
    height = TOP + ROW * len(found) + 20
    names = "".join(
        f'<text class="name" x="{NAMES - 12}" y="{_middle(row) + 4}" text-anchor="end">'
        f"{escape(line.name)}</text>"
        f'<line class="rule" x1="0" x2="{width}" y1="{TOP + ROW * row}" y2="{TOP + ROW * row}"/>'
        for row, line in enumerate(found)
    )
    columns = "".join(
        _column(column, found, NAMES + place * (COLUMN + GAP))
        for place, column in enumerate(COLUMNS)
    )
    told = "; ".join(
        f"{line.name} AUROC {statistics.fmean(line.scores['auroc']):.4f}"
        for line in found
        if line.scores["auroc"]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(told or 'nothing trained')}</desc>"
        f"<style>{STYLE}</style>"
        f'<text class="head" x="12" y="24">{escape(title)}</text>{names}{columns}</svg>\n'
    )


def _middle(row: int) -> float:
    return TOP + ROW * row + ROW / 2


def _column(column: Column, found: Sequence[Line], left: float) -> str:
    values = [column.of(line) for line in found]
    there = [value for value in values if value is not None]
    head = f'<text x="{left}" y="{TOP - 10}">{escape(column.title)}</text>'
    if not there:
        return head
    low, high = _ends(column, there)
    room = COLUMN - 46  # what is left beside the numbers

    def at(value: float) -> float:
        if column.log:
            value = math.log10(max(value, 1e-9))
        return room * min(1.0, max(0.0, (value - low) / (high - low)))

    parts = [head]
    for row, (line, value) in enumerate(zip(found, values, strict=True)):
        if value is None:
            continue
        y, end = _middle(row), at(value)
        if column.dots:
            parts.append(_whisker(column, line, left, y, at))
            parts.append(f'<circle class="mark" cx="{left + end:.1f}" cy="{y}" r="4"/>')
        else:
            parts.append(
                f'<rect class="bar" x="{left}" y="{y - 7}" width="{max(end, 1):.1f}" height="14"/>'
            )
        x = left + room + 6 if column.dots else left + end + 4
        parts.append(
            f'<text class="value" x="{x:.1f}" y="{y + 4}">{escape(column.text(value))}</text>'
        )
    return "".join(parts)


def _whisker(
    column: Column, line: Line, left: float, y: float, at: Callable[[float], float]
) -> str:
    """The 95 % interval of an AUROC, where there is one."""
    if column.title != "AUROC" or line.interval is None:
        return ""
    low, high = line.interval
    return (
        f'<line class="whisker" x1="{left + at(low):.1f}" x2="{left + at(high):.1f}" '
        f'y1="{y}" y2="{y}"/>'
    )


def _ends(column: Column, values: Sequence[float]) -> tuple[float, float]:
    """What the left and right ends of a column stand for."""
    if column.log:
        logs = [math.log10(max(value, 1e-9)) for value in values]
        return math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    if column.dots:
        return min(0.95, math.floor(min(values) * 20) / 20), 1.0
    return 0.0, max(values) or 1.0
