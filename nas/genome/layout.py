"""How pieces of a drawing are put together: below one another, framed, or as branches that join.

Data run downwards along a line that a piece has in common with those above and below it. A piece
knows how far it reaches to both sides of the line, and paints itself where it is told to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

Paint = Callable[[float, float], str]

LETTER, BOLD_LETTER = 6.9, 7.4
"""Widths of a letter of 12 units, on the safe side for system fonts."""

LINE = 16
"""From one line of text to the next."""

PAD = 10
ARROW = 30
"""Length of an arrow between two pieces, with room for the shape beside it."""

HEAD = 6
"""Of an arrow."""

ROUND = 14
"""Radius of a shortcut's bends."""

JOIN = 9
"""Radius of the circle in which branches join."""

DOT = 2.5
STEM = 26
"""From a circle to a piece that is within a branch."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that is drawn.

    Attributes:
        left: how far it reaches to the left of the line.
        right: likewise.
        height: from where the line comes in to where it goes out.
        paint: SVG for the piece, given where the line comes in.
        tipped: whether the arrow to it ends there, with a head; else it goes on within.
    """

    left: float
    right: float
    height: float
    paint: Paint
    tipped: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """From one place of a graph to another.

    Attributes:
        source: place that it starts from.
        target: place that it leads to.
        piece: what it leads through; None leaves the values as they are.
        shape: what it brings, if there is a piece.
    """

    source: int
    target: int
    piece: Piece | None = None
    shape: str = ""


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "middle") -> str:
    """A line of text at a place."""
    end = f' text-anchor="{anchor}"' if anchor != "start" else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}"{end}>{escape(said)}</text>'


def line(x: float, top: float, bottom: float) -> str:
    """Downwards."""
    return f'<path class="line" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>' if bottom > top else ""


def head(x: float, y: float, dx: int = 0, dy: int = 1) -> str:
    """The head of an arrow whose tip is at a place, flying in a direction."""
    back_x, back_y = x - HEAD * dx, y - HEAD * dy
    side_x, side_y = 3.5 * dy, 3.5 * dx
    return (
        f'<path class="head" d="M{x:.1f} {y:.1f}L{back_x + side_x:.1f} {back_y + side_y:.1f}'
        f'L{back_x - side_x:.1f} {back_y - side_y:.1f}Z"/>'
    )


def box(before: Sequence[str], title: str, after: Sequence[str], kind: str, about: str) -> Piece:
    """A box with a bold line among others; ``about`` is shown where a pointer rests on it."""
    rows = [*before, title, *after]
    half = max([len(title) * BOLD_LETTER, *(len(row) * LETTER for row in rows)]) / 2 + PAD
    half, height = max(half, 50), LINE * len(rows) + 10

    def paint(x: float, y: float) -> str:
        words = [
            text(x, y + LINE * (n + 1), row, "bold" if n == len(before) else "")
            for n, row in enumerate(rows)
        ]
        return (
            f'<g class="{kind}"><title>{escape(about)}</title><rect class="box" '
            f'x="{x - half:.1f}" y="{y:.1f}" width="{2 * half:.1f}" height="{height}" rx="5"/>'
            f"{''.join(words)}</g>"
        )

    return Piece(half, half, height, paint, tipped=True)


def labelled(piece: Piece, name: str = "", note: str = "") -> Piece:
    """With a name on the left and a note on the right."""

    def paint(x: float, y: float) -> str:
        words = text(x - piece.left - 8, y + LINE, name, "shape", "end") if name else ""
        if note:
            words += text(x + piece.right + 8, y + LINE, note, "name", "start")
        return words + piece.paint(x, y)

    left = piece.left + (8 + len(name) * LETTER if name else 0)
    right = piece.right + (8 + len(note) * BOLD_LETTER if note else 0)
    return replace(piece, left=left, right=right, paint=paint)


def arrow(x: float, top: float, piece: Piece, bottom: float) -> str:
    """To a piece."""
    return line(x, top, bottom) + (head(x, bottom) if piece.tipped else "")


def column(pieces: Sequence[Piece], shapes: Sequence[str]) -> Piece:
    """Below one another; ``shapes`` stand beside the arrows between them."""
    left = max(piece.left for piece in pieces)
    right = max([piece.right for piece in pieces] + [7 + len(s) * LETTER for s in shapes])
    height = sum(piece.height for piece in pieces) + ARROW * (len(pieces) - 1)

    def paint(x: float, y: float) -> str:
        painted = []
        for number, piece in enumerate(pieces):
            if number:
                painted.append(arrow(x, y, piece, y + ARROW))
                painted.append(text(x + 7, y + 18, shapes[number - 1], "shape", "start"))
                y += ARROW
            painted.append(piece.paint(x, y))
            y += piece.height
        return "".join(painted)

    return Piece(left, right, height, paint, pieces[0].tipped)


def frame(title: str, note: str, inner: Piece, kind: str) -> Piece:
    """Around a piece, with a title on the left of its line and a note on the right."""
    side, top, bottom = 12, 36, 14
    left = max(inner.left + side, len(title) * BOLD_LETTER + 20)
    right = max(inner.right + side, len(note) * BOLD_LETTER + 20)
    height = top + inner.height + bottom

    def paint(x: float, y: float) -> str:
        return (
            f'<g class="{kind}"><rect class="frame" x="{x - left:.1f}" y="{y:.1f}" '
            f'width="{left + right:.1f}" height="{height:.1f}" rx="8"/>'
            f"{text(x - left + 10, y + 18, title, 'name', 'start')}"
            f"{text(x + right - 10, y + 18, note, 'name', 'end') if note else ''}</g>"
            f"{arrow(x, y, inner, y + top)}{inner.paint(x, y + top)}"
            f"{line(x, y + height - bottom, y + height)}"
        )

    return Piece(left, right, height, paint)
