"""The winner's network: drawn, and as a table of layers."""

from collections.abc import Iterator, Sequence

from nas.errors import GenomeError
from nas.genome import Genome, ImageShape
from nas.genome.nodes import Layer
from nas.genome.parts import Part as Layers
from nas.genome.parts import parts_of, unseen
from nas.genome.steps import contents, shape_text
from nas.genome.svg import network_svg
from nas.genome.table import totals
from nas.report.drawing import Drawing, Words, box
from nas.report.values import Cell, Figure, Part, Picture, RunData, Section, TableData

TITLE = "The winner's architecture"
LEAST = 0.005
WIDTH, LEFT, ROW, TOP = 640.0, 130.0, 23.0, 28.0


def shape_of(data: RunData) -> tuple[ImageShape, int] | None:
    """What the run's networks take, and how many classes they tell; None if it does not say."""
    known = data.identity
    try:
        size = int(known["size"])
        return ImageShape(int(known["channels"]), size, size), len(known["classes"])
    except (KeyError, TypeError, ValueError, GenomeError):
        return None


def architecture(data: RunData) -> Section:
    """The section, of the winner of the finals or else of the best trial."""
    winner = data.winner
    if winner is None:
        return Section(TITLE, ["No trial has a score yet, so there is no winner to draw."])
    shape = shape_of(data)
    if shape is None:
        return Section(TITLE, ["The run does not say which images its networks take."])
    try:
        network = parts_of(Genome.from_json(winner.genome), *shape)
    except GenomeError as error:
        return Section(TITLE, [f"Trial {winner.number} cannot be drawn: {error}"])
    title, about = f"Trial {winner.number}", totals(network, shape[1])
    drawn = network_svg(network, title, about)
    rows: list[list[Cell]] = [
        ["\u2003" * depth + one.node.name, contents(one), shape_text(one.after), one.parameters,
         one.multiply_adds, str(one.after.field)]
        for one, depth in _rows(network, 0)
    ]  # fmt: skip
    head = ["layer", "operation", "output", "parameters", "multiply-adds", "receptive field"]
    parts: list[Part] = [
        f"{title}: {about}",
        Picture("architecture", drawn.encode(), "svg", f"The network of trial {winner.number}."),
        _costs(network),
        TableData("layers", "Layers", head, rows, most=400),
    ]
    return Section(TITLE, parts)


def _rows(parts: Sequence[Layers], depth: int) -> Iterator[tuple[Layers, int]]:
    for part in parts:
        if unseen(part):
            continue
        yield part, depth
        if not isinstance(part.node, Layer):
            yield from _rows(part.parts, depth + 1)


def _costs(network: Sequence[Layers]) -> Figure:
    """Which layers the parameters and the multiply-adds are in."""
    whole = sum(p.parameters for p in network) or 1, sum(p.multiply_adds for p in network) or 1
    shares = [
        (one.node.name, (one.parameters / whole[0], one.multiply_adds / whole[1]))
        for one in network
    ]
    known = [(name, pair) for name, pair in shares if max(pair) >= LEAST]
    drawing = Drawing(WIDTH, TOP + ROW * len(known) + 8, "What each layer costs")
    kinds = (("parameters", "l0"), ("multiply-adds", "l1"))
    for place, (name, colour) in enumerate(kinds):
        drawing.add(box(LEFT + 130 * place, 6, 12, 12, colour, 0.85))
        drawing.add(Words(LEFT + 130 * place + 18, 16, name, "ink"))
    for place, (layer, pair) in enumerate(known):
        y = TOP + ROW * place
        drawing.add(Words(LEFT - 10, y + 15, layer[:24], "ink", "end"))
        for line, share in enumerate(pair):
            length, down = share * (WIDTH - LEFT - 60), y + 2 + 9 * line
            drawing.add(box(LEFT, down, length, 8, kinds[line][1], 0.85))
            if share >= LEAST:
                drawing.add(Words(LEFT + length + 5, down + 8, f"{share:.1%}", size=10))
    caption = "Each layer's share of the parameters and of the multiply-adds of one image; "
    caption += f"layers below {LEAST:.1%} of both are left out."
    return Figure("layer-costs", drawing, caption)
