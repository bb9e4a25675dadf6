"""A run's trials as one SVG: score against a cost, and the front of those that nobody beats.

The file needs nothing else: its style is inside, light or dark by the reader's setting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nas.front import Direction, non_dominated

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 48
"""Margins of the plot, in SVG units, for the axes' numbers and names."""

TICKS = 6
"""About as many on an axis."""

FONT = 12
DIGIT = 0.7 * FONT
"""Width of a bold digit, on the safe side for system fonts."""

GAP = 5
"""Between numbers of trials."""

STYLE = """
svg { --ink: #1d2430; --soft: #5a6472; --paper: #fff; --rule: #e3e7ec; --dot: #8794a5;
  --front: #2266aa; background: var(--paper); font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e8ee; --soft: #a3adba; --paper: #14181e; --rule: #2a323c; --dot: #6f7b8a;
    --front: #6cb0f5; }
}
text { fill: var(--soft); }
.head { fill: var(--ink); font-size: 14px; font-weight: 600; }
.grid { stroke: var(--rule); }
.dot { fill: var(--dot); fill-opacity: .7; }
.line { fill: none; stroke: var(--front); stroke-width: 1.6; }
.best { fill: var(--front); stroke: var(--paper); }
.dot.low { fill: none; stroke: var(--dot); }
.best.low { fill: var(--paper); stroke: var(--front); }
.number { fill: var(--ink); font-weight: 600; }
"""


@dataclass(frozen=True, slots=True)
class Dot:
    """A trial: its number, its score (higher is better) and its cost (lower is better)."""

    number: int
    score: float
    cost: float

    @property
    def drawn(self) -> bool:
        """Whether it has a place: a finite score and, for the logarithm, a cost above 0."""
        return math.isfinite(self.score) and math.isfinite(self.cost) and self.cost > 0


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values, logarithmic or not, to SVG units."""

    low: float
    high: float
    begin: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        """Where a value is; those below the axis are at its begin."""
        low, high, own = self.low, self.high, max(value, self.low)
        if self.log:
            low, high, own = math.log(low), math.log(high), math.log(own)
        return self.begin + (own - low) / (high - low) * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        """Round values within the axis."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)


def front_svg(dots: Sequence[Dot], score: str, cost: str) -> str:
    """The picture as the text of an SVG file.

    Costs are on a logarithmic axis. A dot that has no place there is left out; a score that is so
    far below the others that it would squeeze them lies on the lower edge, as a ring. Numbers of
    trials on the front are left out where they would cover one another.

    Args:
        dots: trials, in any order.
        score: name of what is maximised.
        cost: name of what is minimised, with its unit.
    """
    drawn = [dot for dot in dots if dot.drawn]
    aims = (Direction.MAXIMIZE, Direction.MINIMIZE)
    front = [drawn[i] for i in non_dominated([(d.score, d.cost) for d in drawn], aims)]
    front.sort(key=lambda dot: (dot.cost, dot.number))
    title = f"{score} against {cost}"
    told = "; ".join(
        f"trial {d.number} with {number_text(d.score)} at {number_text(d.cost)}" for d in front
    )
    about = f"{len(drawn)} trials. On the front: {told or 'none'}."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(about)}</desc><style>{STYLE}</style>"
        f'<text class="head" x="{LEFT}" y="24">{escape(title)}</text>'
        f"{_plot(drawn, front, score, cost) if drawn else _nothing()}</svg>\n"
    )


def number_text(value: float, digits: int = 4) -> str:
    """So many digits that matter, with k, M or G for thousands, millions and billions."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= unit:
            return f"{value / unit:.{digits}g}{name}"
    return f"{value:.{digits}g}"


def _plot(drawn: Sequence[Dot], front: Sequence[Dot], score: str, cost: str) -> str:
    low, high = _score_ends([dot.score for dot in drawn])
    y = _Axis(low, high, HEIGHT - BOTTOM, TOP, log=False)
    x = _Axis(*_cost_ends([dot.cost for dot in drawn]), LEFT, WIDTH - RIGHT, log=True)
    on_front = {dot.number for dot in front}
    others = "".join(_circle(dot, x, y, "dot", 3) for dot in drawn if dot.number not in on_front)
    steps = f"M{x.at(front[0].cost):.1f} {y.at(front[0].score):.1f}" + "".join(
        f"H{x.at(dot.cost):.1f}V{y.at(dot.score):.1f}" for dot in front[1:]
    )
    best = "".join(_circle(dot, x, y, "best", 4.5) for dot in front)
    line = f'<path class="line" d="{steps}H{WIDTH - RIGHT}"/>'
    below = sum(dot.score < low for dot in drawn)
    note = (
        f'<text x="{WIDTH - RIGHT}" y="24" text-anchor="end">○ below the axis: {below}</text>'
        if below
        else ""
    )
    return _axes(x, y, score, cost) + others + line + best + _numbers(front, x, y) + note


def _nothing() -> str:
    return f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no trials yet</text>'


def _circle(dot: Dot, x: _Axis, y: _Axis, kind: str, radius: float) -> str:
    said = f"trial {dot.number}: {number_text(dot.score)} at {number_text(dot.cost)}"
    low = " low" if dot.score < y.low else ""
    return (
        f'<circle class="{kind}{low}" cx="{x.at(dot.cost):.1f}" cy="{y.at(dot.score):.1f}" '
        f'r="{radius}"><title>{said}</title></circle>'
    )


def _numbers(front: Sequence[Dot], x: _Axis, y: _Axis) -> str:
    """Above and to the left of its dot nothing else can be: it would beat the dot."""
    texts, boxes = "", list[tuple[float, float]]()
    for dot in reversed(front):
        right, foot = x.at(dot.cost) - 4, y.at(dot.score) - 5
        covered = any(left < right and foot - other < FONT for left, other in boxes)
        if not covered:
            left = right - len(str(dot.number)) * DIGIT
            boxes.append((left, foot))
            texts += (
                f'<text class="number" x="{right:.1f}" y="{foot:.1f}" text-anchor="end">'
                f"{dot.number}</text>"
            )
    return texts


def _axes(x: _Axis, y: _Axis, score: str, cost: str) -> str:
    parts = []
    for tick in x.ticks:
        place = x.at(tick)
        parts.append(
            f'<path class="grid" d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
            f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{number_text(tick)}</text>"
        )
    for tick in y.ticks:
        place = y.at(tick)
        parts.append(
            f'<path class="grid" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{number_text(tick)}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{escape(cost)}</text>"
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(score)}</text>"
    )
    return "".join(parts)


def _score_ends(scores: Sequence[float]) -> tuple[float, float]:
    """All scores, but from the best no further down than three times as far as the median."""
    best, worst, median = max(scores), min(scores), float(np.median(scores))
    low = max(worst, best - 3 * (best - median)) if best > median else worst
    room = 0.06 * (best - low) or 0.01 * abs(best) or 0.01
    return low - room, best + 2 * room


def _cost_ends(costs: Sequence[float]) -> tuple[float, float]:
    """Room on both sides; more on the left, for the number of the cheapest."""
    low, high = min(costs), max(costs)
    ratio = max(high / low, 1.2)
    return low / ratio**0.08, high * ratio**0.04


def ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(n * step, 12) for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or powers alone over a wide range, or even steps."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 4:
            return found
    return ticks(low, high)
