"""A network drawn as one SVG, from the image at the top to the classes.

The file needs nothing else: its style is inside, light or dark by the reader's setting.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from nas.genome.branches import SIGNS, Branches, joint
from nas.genome.layout import JOIN, LETTER, LINE, Branch, Piece, box, column, frame, labelled, text
from nas.genome.nodes import Chain, Gate, Graph, Stack
from nas.genome.ops import Average, Conv, Linear, Op, PoolOp
from nas.genome.parts import Part, edges_of
from nas.genome.steps import HEAVY, Step, shape_text, steps_of

MARGIN = 20
LEAST = 380
"""Width that the words at the top have at least."""

TITLE_LETTER = 8.8
"""Width of a bold letter of 14 units."""

STYLE = """
svg { --ink: #1d2430; --soft: #5a6472; --paper: #fff; --rule: #c3cad3; --line: #67717e;
  --frame: #5a6472; --conv: #dcebfa; --conv-rule: #6a9fd4; --pool: #fdeccb; --pool-rule: #d1a249;
  --linear: #e4def7; --linear-rule: #9181cc; --other: #edf0f3; --other-rule: #9aa5b1;
  --gate: #b0418a; background: var(--paper); font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e8ee; --soft: #a3adba; --paper: #14181e; --rule: #3c4652; --line: #8d99a6;
    --frame: #a3adba; --conv: #1b3550; --conv-rule: #4a83bd; --pool: #44351a; --pool-rule: #a17c37;
    --linear: #302a52; --linear-rule: #7b6cc0; --other: #262d36; --other-rule: #5d6875;
    --gate: #e07fc0; }
}
text { fill: var(--soft); }
.title { fill: var(--ink); font-size: 14px; font-weight: 600; }
.bold, .name { fill: var(--ink); font-weight: 600; }
.shape { font-size: 11px; }
.line { fill: none; stroke: var(--line); stroke-width: 1.4; }
.head, .dot { fill: var(--line); }
.box { fill: var(--other); stroke: var(--other-rule); }
.conv > .box { fill: var(--conv); stroke: var(--conv-rule); }
.pool > .box { fill: var(--pool); stroke: var(--pool-rule); }
.linear > .box { fill: var(--linear); stroke: var(--linear-rule); }
.frame { fill: var(--frame); fill-opacity: .05; stroke: var(--rule); }
.frozen > .frame { stroke-dasharray: 2 3; stroke: var(--conv-rule); }
.gate > .frame { stroke: var(--gate); stroke-dasharray: 5 3; }
.gate > .name { fill: var(--gate); }
.join { fill: var(--paper); stroke: var(--line); stroke-width: 1.4; }
.sign { stroke: var(--ink); stroke-width: 1.4; fill: none; }
.product > .join, .product > .sign { stroke: var(--gate); }
"""


def network_svg(parts: Sequence[Part], title: str, about: str) -> str:
    """The picture as the text of an SVG file.

    Every box says when a pointer rests on it which layers it stands for and what they cost; the
    shape of what comes out stands beside its arrow. Equal parts that follow one another are drawn
    once.

    Args:
        parts: of the whole network.
        title: in a few words.
        about: in a sentence or two; also for whoever hears the picture instead of seeing it.
    """
    steps = steps_of(parts)
    image = replace(box((), "image", (), "end", "what comes in"), tipped=False)
    classes = box((), "classes", (), "end", "one number for each class")
    shapes = [shape_text(parts[0].before), *(shape_text(step.after) for step in steps)]
    # The names of composites are in their frames.
    rows = [_step(s) if s.composite else labelled(_box(s), s.name) for s in steps]
    network = column([image, *rows, classes], shapes)
    half = max(network.left + network.right, LEAST) / 2
    width = 2 * (half + MARGIN)
    words, top = _words(title, about, width - 2 * MARGIN)
    x = MARGIN + half + (network.left - network.right) / 2
    painted = network.paint(x, top)
    signs = [sign for sign in SIGNS if f'<g class="{sign}"' in painted]
    below = top + network.height + 30
    for number, sign in enumerate(signs):
        painted += _meaning(sign, MARGIN + JOIN, below + (2 * JOIN + 6) * number)
    height = below + (2 * JOIN + 6) * len(signs)
    names = ", ".join(f"{step.name} gives {shape_text(step.after)}" for step in steps)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(f'{about} From the image: {names}.')}</desc>"
        f"<style>{STYLE}</style>{words}{painted}</svg>\n"
    )


def _words(title: str, about: str, width: float) -> tuple[str, float]:
    """Title and description at the top, and where the network begins below them."""
    y, words = float(MARGIN - 6), ""
    for said, kind, letter in ((title, "title", TITLE_LETTER), (about, "", LETTER)):
        for row in textwrap.wrap(said, int(width / letter)):
            y += LINE
            words += text(MARGIN, y, row, kind, "start")
        y += 2
    return words, y + 20


def _step(step: Step, *, framed: bool = True) -> Piece:
    part = step.composite
    if part is None:
        return _box(step)
    if isinstance(part.node, Gate) or not framed:
        return labelled(_inner(part), note=_times(step))
    held = isinstance(part.node, Chain) and part.node.frozen
    title = f"{part.node.name}, frozen" if held else part.node.name
    return frame(title, _times(step), _inner(part), "frozen" if held else "group")


def _inner(part: Part) -> Piece:
    """What a composite consists of."""
    match part.node:
        case Graph():
            branches = [
                Branch(edge.source, edge.target, _chain(chain), shape_text(chain.after))
                for edge, chain in zip(edges_of(part.node), part.parts, strict=True)
            ]
            return Branches(part.node.places, branches, "sum").piece()
        case Gate():
            body = part.parts[0]
            inner = _chain(body)
            gate = frame("gate", "", inner, "gate") if inner else None
            weighed = Branch(0, 1, gate, shape_text(body.after))
            return Branches(2, (Branch(0, 1), weighed), "product").piece()
        case Stack():
            body = part.parts[0]
            added = Branch(0, 1, _chain(body), shape_text(body.after))
            return Branches(2, (added, Branch(0, 1)), "stack").piece()
        case _:
            piece = _chain(part)
            if piece is None:
                raise TypeError(f"{part.path} is drawn, but has nothing in it")
            return piece


def _chain(part: Part) -> Piece | None:
    """What is in a chain, one below the other; None if nothing is."""
    steps = steps_of(part.parts)
    if not steps:
        return None
    # The sum of a residual block is the block: a frame within its frame would say nothing.
    inner = [step.composite.node for step in steps if step.composite]
    framed = len(inner) != 1 or not isinstance(inner[0], Graph)
    return column(
        [_step(step, framed=framed) for step in steps],
        [shape_text(step.after) for step in steps[:-1]],
    )


def _box(step: Step) -> Piece:
    ops = step.ops
    place = next((n for n, op in enumerate(ops) if isinstance(op, HEAVY)), 0)
    before, after = [op.what for op in ops[:place]], [op.what for op in ops[place + 1 :]]
    following = [" · ".join(after)] if after else []
    drawn = box(before, ops[place].what, following, _kind(ops[place]), _about(step))
    return labelled(drawn, note=_times(step))


def _times(step: Step) -> str:
    return f"× {step.times}" if step.times > 1 else ""


def _kind(op: Op) -> str:
    match op:
        case Conv():
            return "conv"
        case PoolOp() | Average():
            return "pool"
        case Linear():
            return "linear"
    return "other"


def _about(step: Step) -> str:
    names = ", ".join(part.path for part in step.parts)
    parameters = sum(part.parameters for part in step.parts)
    macs = sum(part.multiply_adds for part in step.parts)
    times = f", {step.times} times" if step.times > 1 else ""
    return (
        f"{names}{times}: {parameters:,} parameters, {macs:,} multiply-adds, "
        f"receptive field {step.after.field}"
    )


def _meaning(sign: str, x: float, y: float) -> str:
    return joint(sign, x, y) + text(x + JOIN + 8, y + 4, SIGNS[sign][1], "", "start")
