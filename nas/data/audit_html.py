"""Pieces of an audit's page; whatever is put into one is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from nas.data.audit_values import printable

Cell = str | int | float


def text(value: Cell) -> str:
    """A value in HTML."""
    if isinstance(value, str):
        return escape(printable(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def said(*sentences: str) -> str:
    """An explanation; plain text."""
    return f'<p class="said">{escape(" ".join(sentences))}</p>'


def section(title: str, *parts: str) -> str:
    """Under a heading; the parts are HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """The first column heads its row; numbers are set right."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = []
    for first, *others in rows:
        cells = "".join(
            f"<td>{text(one)}</td>" if isinstance(one, str) else f'<td class="n">{text(one)}</td>'
            for one in others
        )
        body.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )
