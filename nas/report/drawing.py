"""A drawing as a list of marks, and its SVG; nas.report.raster makes pixels of the same list.

Colours are names of the page's style (``ink``, ``l0``), so that a drawing follows the reader's
light or dark setting, or ``#rrggbb`` where the colour itself says something.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Places = Sequence[tuple[float, float]]

FONT = 12


@dataclass(frozen=True, slots=True)
class Line:
    """Through places, in units of the drawing."""

    places: Places
    colour: str = "l0"
    width: float = 1.6
    dashes: tuple[int, int] | None = None
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon."""

    places: Places
    colour: str = "l0"
    opacity: float = 0.2
    title: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle, or a ring."""

    x: float
    y: float
    radius: float = 3.0
    colour: str = "l0"
    opacity: float = 1.0
    ring: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text; ``anchor`` is start, middle or end; turned text reads upwards."""

    x: float
    y: float
    text: str
    colour: str = "soft"
    anchor: str = "start"
    bold: bool = False
    turned: bool = False
    size: int = FONT


Mark = Line | Area | Dot | Words


@dataclass(frozen=True)
class Drawing:
    """Marks on a sheet, the first one lowest.

    Attributes:
        width: of the sheet.
        height: of the sheet; y points downwards.
        title: in a few words.
        marks: what is on it.
    """

    width: float
    height: float
    title: str
    marks: list[Mark] = field(default_factory=list)

    def add(self, *marks: Mark) -> None:
        """Put marks on top."""
        self.marks.extend(marks)


def box(x: float, y: float, width: float, height: float, colour: str, opacity: float) -> Area:
    """A filled rectangle."""
    right, foot = x + width, y + height
    return Area(((x, y), (right, y), (right, foot), (x, foot)), colour, opacity)


def ramp(share: float) -> str:
    """A colour for a value in [0, 1], from violet over teal to orange; seen on light and dark."""
    stops = ((0x6E, 0x5A, 0xA8), (0x2E, 0x9A, 0xA0), (0xE8, 0x8A, 0x1A))
    place = min(max(share, 0.0), 1.0) * 2
    low = min(int(place), 1)
    part = place - low
    mixed = (round(a + (b - a) * part) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG element that stands in a page."""
    marks = "".join(map(_mark, drawing.marks))
    return (
        f'<svg viewBox="0 0 {drawing.width:g} {drawing.height:g}" role="img" '
        f'aria-label="{escape(drawing.title)}">{marks}</svg>'
    )


def _mark(mark: Mark) -> str:
    match mark:
        case Line():
            more = f' stroke-dasharray="{mark.dashes[0]} {mark.dashes[1]}"' if mark.dashes else ""
            more += f' stroke-opacity="{mark.opacity:g}"' if mark.opacity < 1 else ""
            return (
                f'<path fill="none" stroke="{_colour(mark.colour)}" stroke-width="{mark.width:g}"'
                f'{more} d="{_path(mark.places)}"/>'
            )
        case Area():
            return (
                f'<path fill="{_colour(mark.colour)}" fill-opacity="{mark.opacity:g}" '
                f'd="{_path(mark.places)}Z">{_title(mark.title)}</path>'
            )
        case Dot():
            paint = (
                f'fill="none" stroke-width="1.6" stroke="{_colour(mark.colour)}"'
                if mark.ring
                else f'fill="{_colour(mark.colour)}"'
            )
            more = f' opacity="{mark.opacity:g}"' if mark.opacity < 1 else ""
            return (
                f'<circle cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius:.1f}" {paint}{more}>'
                f"{_title(mark.title)}</circle>"
            )
        case Words():
            place = (
                f'transform="translate({mark.x:.1f} {mark.y:.1f}) rotate(-90)"'
                if mark.turned
                else f'x="{mark.x:.1f}" y="{mark.y:.1f}"'
            )
            weight = ";font-weight:600" if mark.bold else ""
            return (
                f'<text {place} text-anchor="{mark.anchor}" style="fill:{_colour(mark.colour)};'
                f'font-size:{mark.size}px{weight}">{escape(mark.text)}</text>'
            )


def _colour(name: str) -> str:
    return name if name.startswith("#") else f"var(--{name})"


def _path(places: Places) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
