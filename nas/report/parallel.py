"""Parallel coordinates: every trial's choices as a line, coloured by its score."""

from collections.abc import Mapping, Sequence

from nas.report.drawing import Drawing, Line, Mark, Words, box, ramp
from nas.report.values import Figure, Point, RunData, Section, Value

TITLE = "Choices and scores"
MOST_AXES = 12
GREY_LINES = 300
WIDTH, HEIGHT = 900.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 80.0, 74.0, 20.0
LETTERS = 13
"""Of a value's name beside its axis."""


def parallel(data: RunData) -> Section:
    """The figure, or why there is none."""
    top = max(data.budgets, default=0)
    scores = data.scores_at(top)
    scored = [point for point in data.points if point.number in scores and point.values]
    if len(scored) < 2:
        return Section(TITLE, ["Fewer than two trials have scores and choices to be drawn."])
    names = _axes(scored)
    if not names:
        return Section(TITLE, ["All trials with a score made the same choices."])
    low, high = _ends(list(scores.values()))
    others = [p for p in data.points if p.values and p.number not in scores][:GREY_LINES]
    drawing = Drawing(WIDTH, HEIGHT, TITLE)
    places = {name: _places([p.values[name] for p in data.points if name in p.values])
              for name in names}  # fmt: skip
    for point in others:
        _add(drawing, _line(names, places, point), "soft", 0.7, 0.13)
    for point in sorted(scored, key=lambda p: scores[p.number]):
        share = (scores[point.number] - low) / (high - low) if high > low else 1.0
        _add(drawing, _line(names, places, point), ramp(share), 1.3 + share, 0.35 + 0.5 * share)
    drawing.add(*_labels(names, places), *_scale(low, high))
    there = len({name for point in data.points for name in point.values})
    left = f" {there - len(names)} parameters that few trials had are in genomes.csv only." if (
        there > len(names)) else ""  # fmt: skip
    caption = (
        f"A line is a trial's choices. Coloured by {data.objective} after {top} epochs: "
        f"{len(scored)} trials; grey: refused, or trained for less. A line ends where a network "
        f"has no such choice.{left}"
    )
    return Section(TITLE, [Figure("parallel", drawing, caption)])


def _axes(points: Sequence[Point]) -> list[str]:
    """Parameters that differ; where there are too many, those that most trials had."""
    values: dict[str, list[Value]] = {}
    for point in points:
        for name, value in point.values.items():
            values.setdefault(name, []).append(value)
    varied = [name for name, found in values.items() if len(set(map(str, found))) > 1]
    most = sorted(varied, key=lambda name: -len(values[name]))[:MOST_AXES]
    return [name for name in values if name in most]


def _places(values: Sequence[Value]) -> Mapping[str, float]:
    """Where each value is on its axis, in [0, 1], by its text: numbers by size, then names."""
    kinds = {str(value): value for value in values}
    numbers = sorted(
        (v, k) for k, v in kinds.items() if isinstance(v, int | float) and not isinstance(v, bool)
    )
    order = [key for _, key in numbers] + sorted(set(kinds) - {key for _, key in numbers})
    if len(numbers) == len(kinds) and len(numbers) > 12:
        low, high = numbers[0][0], numbers[-1][0]
        return {key: (float(value) - low) / (high - low) for value, key in numbers}
    return {key: place / max(len(order) - 1, 1) for place, key in enumerate(order)}


def _at(axis: int, axes: int, place: float) -> tuple[float, float]:
    across = LEFT + axis * (WIDTH - LEFT - RIGHT) / max(axes - 1, 1)
    return across, HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)


def _line(
    names: Sequence[str], places: Mapping[str, Mapping[str, float]], point: Point
) -> list[list[tuple[float, float]]]:
    """The pieces of a trial's line: it is broken where the trial has no such parameter."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for axis, name in enumerate(names):
        if name in point.values:
            # Lines that make the same choice lie a little apart.
            apart = ((point.number * 7919) % 101 / 100 - 0.5) * 0.035
            pieces[-1].append(_at(axis, len(names), places[name][str(point.values[name])] + apart))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if len(piece) > 1]


def _add(
    drawing: Drawing, pieces: list[list[tuple[float, float]]], colour: str, width: float,
    opacity: float,
) -> None:  # fmt: skip
    for piece in pieces:
        drawing.add(Line(piece, colour, round(width, 2), opacity=round(opacity, 2)))


def _labels(names: Sequence[str], places: Mapping[str, Mapping[str, float]]) -> list[Mark]:
    marks: list[Mark] = []
    for axis, name in enumerate(names):
        x, foot = _at(axis, len(names), 0)
        marks.append(Line(((x, TOP - 8), (x, foot + 8)), "soft", 1))
        # Two heights, so that long names do not run into each other.
        marks.append(Words(x, TOP - 18 - 17 * (axis % 2), name[:18], "ink", "middle", bold=True))
        shown = list(places[name].items())
        if len(shown) > 12:
            shown = [shown[0], shown[-1]]
        for value, place in shown:
            marks.append(Words(x + 4, _at(axis, len(names), place)[1] + 4, value[:LETTERS], "ink",
                               size=11))  # fmt: skip
    return marks


def _scale(low: float, high: float) -> list[Mark]:
    """What the colours mean."""
    steps, width = 40, 4.0
    left = WIDTH - RIGHT - steps * width
    marks: list[Mark] = [
        box(left + step * width, 8, width + 0.3, 10, ramp(step / (steps - 1)), 1.0)
        for step in range(steps)
    ]
    marks.append(Words(left - 6, 17, f"{low:.3f}", anchor="end"))
    marks.append(Words(left + steps * width + 6, 17, f"{high:.3f}"))
    return marks


def _ends(scores: Sequence[float]) -> tuple[float, float]:
    """Colours go from the lower quarter's end to the best: below it all look alike."""
    ordered = sorted(scores)
    return ordered[len(ordered) // 4], ordered[-1]
