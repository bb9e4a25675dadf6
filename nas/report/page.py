"""The report as one HTML file that needs nothing else.

Whatever comes from outside is escaped, and the page forbids itself scripts and every address but
data: for images.
"""

import base64
import re
from collections.abc import Sequence
from html import escape

from nas.data.audit_html import said, section
from nas.data.audit_html import table as html_table
from nas.data.audit_style import STYLE
from nas.data.audit_values import printable
from nas.report.drawing import svg
from nas.report.values import Cell, Figure, Gallery, Part, Picture, Section, TableData

LEAST = 500.0
"""Pixels that a drawing is wide at least."""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)

MORE_STYLE = """
nav { columns: 14rem; font-size: .92rem; margin: 1rem 0; }
nav a { display: block; color: var(--note); text-decoration: none; padding: .1rem 0; }
nav a:hover, nav a:focus { text-decoration: underline; }
.chart { display: inline-block; vertical-align: top; max-width: 100%; margin-right: 2rem; }
.chart svg { max-width: none; }
.chart figcaption, .whole figcaption { color: var(--soft); max-width: 46rem; }
.whole img { display: block; max-width: 100%; height: auto; }
.picture img { image-rendering: auto; }
.gallery .picture { width: auto; max-width: 20rem; }
.gallery .picture img { width: auto; max-width: 100%; height: auto; max-height: 12rem; }
td, tbody th { overflow-wrap: break-word; max-width: 34rem; }
td:not(.n) { min-width: 5.5rem; }
td:not(.n):last-child { min-width: 9rem; }
@media (max-width: 45rem) { .chart { margin-right: 0; } }
@media print {
  nav { display: none; }
  .chart, .chart .wide div { min-width: 0 !important; max-width: 100%; }
  .wide { overflow: visible; }
  table { width: 100%; font-size: 7pt; }
  th, td { overflow-wrap: anywhere; white-space: normal !important; min-width: 0 !important;
    padding-right: .4rem; }
  .whole img { max-height: 90vh; }
}
"""


def page(title: str, sections: Sequence[Section]) -> str:
    """The page, to be written as UTF-8.

    Args:
        title: plain text.
        sections: in order.
    """
    links = "".join(f'<a href="#{_anchor(one.title)}">{escape(one.title)}</a>' for one in sections)
    body = "".join(
        section(one.title, *map(_part, one.parts)).replace(
            "<section>", f'<section id="{_anchor(one.title)}">', 1
        )
        for one in sections
    )
    title = escape(printable(title))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" '
        f'content="no-referrer"><title>{title}</title><style>{STYLE}{MORE_STYLE}</style></head>'
        f'<body><main><h1>{title}</h1><nav aria-label="Sections">{links}</nav>{body}</main>'
        "</body></html>\n"
    )


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _part(part: Part) -> str:
    match part:
        case str():
            return said(printable(part))
        case TableData():
            return _table(part)
        case Figure():
            caption = f"<figcaption>{escape(printable(part.caption))}</figcaption>"
            drawing = svg(part.drawing)
            # On a phone a drawing is scrolled: reduced to its width, letters could not be read.
            width = f"width:{part.drawing.width:g}px"
            return (
                f'<figure class="chart" style="{width}"><div class="wide"><div '
                f'style="{width};min-width:{min(part.drawing.width, LEAST):g}px;max-width:100%">'
                f"{drawing}</div></div>{caption}</figure>"
            )
        case Picture():
            return _picture(part, "whole")
        case Gallery():
            inner = "".join(_picture(one, "picture") for one in part.pictures)
            title = escape(printable(part.title))
            return f'<h3>{title}</h3><div class="row gallery">{inner}</div>'


def _picture(picture: Picture, kind: str) -> str:
    media = {"png": "image/png", "svg": "image/svg+xml"}[picture.kind]
    data = base64.b64encode(picture.data).decode()
    caption = escape(printable(picture.caption))
    return (
        f'<figure class="{kind}"><img alt="{caption}" src="data:{media};base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: TableData) -> str:
    if not table.rows:
        return said(f"{table.caption}: none.")
    shown = [[_shown(cell) for cell in row] for row in table.rows[: table.most]]
    left = len(table.rows) - len(shown)
    more = said(f"{left:,} more rows are in {table.name}.csv.") if left else ""
    return html_table(printable(table.caption), list(table.head), shown) + more


def _shown(cell: Cell) -> str | int | float:
    return "" if cell is None else cell
