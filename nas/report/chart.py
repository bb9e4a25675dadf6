"""A chart with two axes: from values to places on a drawing."""

import math
from collections.abc import Iterable, Sequence

from nas.front_plot import log_ticks, number_text, ticks
from nas.report.drawing import Area, Dot, Drawing, Line, Mark, Words

WIDTH, HEIGHT = 640.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 18.0, 16.0, 48.0


class Chart:
    """Axes and grid; marks are put on by value.

    Args:
        title: of the drawing.
        x: name of the horizontal axis.
        y: name of the vertical axis.
        x_ends: least and greatest value.
        y_ends: least and greatest value.
        log: whether x is logarithmic; its values are above 0 then.
        size: of the sheet.
        names: with their colours, above the chart.
    """

    def __init__(
        self,
        title: str,
        x: str,
        y: str,
        x_ends: tuple[float, float],
        y_ends: tuple[float, float],
        *,
        log: bool = False,
        size: tuple[float, float] = (WIDTH, HEIGHT),
        names: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.drawing = Drawing(*size, title)
        # Side by side, or one below the other where the sheet is too narrow for that.
        lengths = [24 + 7.0 * len(name) + 20 for name, _ in names]
        stacked = LEFT + sum(lengths) > size[0]
        self.top = TOP + 18 * (len(names) if stacked else bool(names))
        self.x_ends, self.y_ends, self._log = x_ends, y_ends, log
        self.right, self.foot = size[0] - RIGHT, size[1] - BOTTOM
        grid: list[Mark] = []
        for value in log_ticks(*x_ends) if log else ticks(*x_ends):
            across, _ = self.at(value, y_ends[0])
            grid.append(Line(((across, self.top), (across, self.foot)), "rule", 1))
            grid.append(Words(across, self.foot + 17, number_text(value), anchor="middle"))
        for value in ticks(*y_ends):
            _, down = self.at(x_ends[0], value)
            grid.append(Line(((LEFT, down), (self.right, down)), "rule", 1))
            grid.append(Words(LEFT - 7, down + 4, number_text(value), anchor="end"))
        middle = (LEFT + self.right) / 2
        grid.append(Words(middle, size[1] - 10, x, anchor="middle"))
        grid.append(Words(15, (self.top + self.foot) / 2, y, anchor="middle", turned=True))
        for row, (name, colour) in enumerate(names):
            left = LEFT if stacked else LEFT + sum(lengths[:row])
            down = 13 + 18 * row * stacked
            grid.append(Line(((left, down), (left + 18, down)), colour, 2.6))
            grid.append(Words(left + 24, down + 4, name, "ink"))
        self.drawing.add(*grid)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a pair of values; those beyond the ends of y lie on the edge."""
        low, high = self.x_ends
        if self._log:
            low, high, x = math.log(low), math.log(high), math.log(x)
        across = LEFT + (x - low) / (high - low) * (self.right - LEFT)
        low, high = self.y_ends
        y = min(max(y, low), high)
        return across, self.foot - (y - low) / (high - low) * (self.foot - self.top)

    def line(
        self,
        values: Iterable[tuple[float, float]],
        colour: str,
        *,
        width: float = 1.6,
        opacity: float = 1.0,
    ) -> None:
        """A line through pairs of values."""
        places = [self.at(*pair) for pair in values]
        self.drawing.add(Line(places, colour, width, opacity=opacity))

    def dashed(self, values: Iterable[tuple[float, float]], colour: str = "soft") -> None:
        """A dashed line through pairs of values."""
        self.drawing.add(Line([self.at(*pair) for pair in values], colour, 1.2, (4, 4)))

    def band(self, upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]],
             colour: str) -> None:  # fmt: skip
        """What lies between two lines."""
        self.drawing.add(Area([self.at(*p) for p in (*upper, *reversed(lower))], colour, 0.18))

    def dot(
        self, x: float, y: float, colour: str, title: str = "", *,
        radius: float = 3.0, opacity: float = 1.0, ring: bool = False,
    ) -> None:  # fmt: skip
        """A dot at a pair of values."""
        self.drawing.add(Dot(*self.at(x, y), radius, colour, opacity, ring, title))


def ends(values: Sequence[float], *, room: float = 0.05) -> tuple[float, float]:
    """Least and greatest with some room, never the same; (0, 1) of no values."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    more = room * (high - low) or 0.05 * abs(high) or 0.5
    return low - more, high + more


def score_ends(scores: Sequence[float]) -> tuple[float, float]:
    """Like ``ends``, but a few very low scores do not squeeze the others: they lie on the edge."""
    known = sorted(value for value in scores if math.isfinite(value))
    if not known:
        return 0.0, 1.0
    best, middle = known[-1], known[len(known) // 2]
    floor = best - 4 * (best - middle) if best > middle else known[0]
    return ends([max(known[0], floor), best])
