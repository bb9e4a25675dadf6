"""A network drawn in text: a line for each step, branches below the step that they belong to."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.genome.nodes import Chain, Gate, Graph, Node, Stack
from nas.genome.parts import Part, edges_of
from nas.genome.steps import Step, shape_text, steps_of

HARD_SPACE = "\N{NO-BREAK SPACE}"
"""Where no line ends."""

ARROW = f" →{HARD_SPACE}"
MIN_TEXT = 16
"""Characters that a row's text has at least, however deep the row is."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A line (or a few, if its text is long) and the rows below it."""

    name: str
    text: str = ""
    shape: str = ""
    below: tuple["_Row", ...] = ()


def text_drawing(parts: Sequence[Part], width: int) -> str:
    """The network from top to bottom, with the shape that comes out of each step.

    Args:
        parts: of the whole network.
        width: in characters, at least 60; no line is longer.
    """
    width = max(width, 60)
    image = _line("image", shape_text(parts[0].before), width)
    return "\n".join([image, *_lines(_rows(steps_of(parts)), "", width, top=True)])


def _rows(steps: Sequence[Step]) -> tuple[_Row, ...]:
    rows = []
    for step in steps:
        part, shape, words = step.composite, shape_text(step.after), []
        if step.times > 1:
            words.append(f"× {step.times}")
        if part is not None and isinstance(part.node, Chain) and part.node.frozen:
            words.append("frozen")
        text = _inline(step) if part is None else _in_a_line(part)
        below = _below(part) if part is not None and text is None else ()
        if part is not None and isinstance(part.node, Graph) and part.node.places > 2:
            words.append("every place is the sum of what comes in")
        told = ", ".join(words)
        rows.append(
            _Row(step.name, f"{told}: {text}" if told and text else text or told, shape, below)
        )
    return tuple(rows)


def _below(part: Part) -> tuple[_Row, ...]:
    """The rows of what a composite consists of."""
    match part.node:
        case Graph(places=2):
            return (*map(_branch, part.parts), _Row("sum"))
        case Graph():
            ends = [f"{edge.source} → {edge.target}" for edge in edges_of(part.node)]
            return tuple(map(_branch, part.parts, ends))
        case Stack():
            return (_Row("input", "identity"), _branch(part.parts[0]), _Row("both", "as channels"))
        case _:
            steps = steps_of(part.parts)
            rows, first = _rows(steps), steps[0].composite
            if len(steps) == 2 and first is not None and _adds(first.node, steps[0].times):
                # A residual block: its branches, and what follows on their sum.
                *branches, joined = rows[0].below
                return (*branches, _Row(joined.name, rows[1].text))
            return rows


def _adds(node: Node, times: int) -> bool:
    return isinstance(node, Graph) and node.places == 2 and times == 1


def _branch(chain: Part, name: str = "") -> _Row:
    text = _in_a_line(chain)
    name = name or chain.node.name
    return _Row(name, below=_below(chain)) if text is None else _Row(name, text)


def _in_a_line(part: Part) -> str | None:
    """The part without rows below it, if it has no branches but gates."""
    match part.node:
        case Gate():
            body = _in_a_line(part.parts[0])
            return None if body is None else f"gate{HARD_SPACE}({body})"
        case Chain():
            texts = []
            for step in steps_of(part.parts):
                text = _inline(step) if step.composite is None else _in_a_line(step.composite)
                if text is None:
                    return None
                texts.append(f"{step.times} × ({text})" if step.times > 1 else text)
            return ARROW.join(texts) or "identity"
        case _:
            return None


def _inline(step: Step) -> str:
    return ARROW.join(op.what.replace(" ", HARD_SPACE) for op in step.ops)


def _lines(rows: Sequence[_Row], before: str, width: int, *, top: bool = False) -> Iterator[str]:
    names = max((len(row.name) for row in rows if not row.below), default=0)
    for number, row in enumerate(rows, start=1):
        last = number == len(rows)
        mark, deeper = ("↓ ", "  ") if top else ("└─ ", "   ") if last else ("├─ ", "│  ")
        name = row.name if row.below else row.name.ljust(names)
        head, rest = f"{before}{mark}{name}", before + deeper + " " * len(name)
        room = width - len(rest) - 2 - (len(row.shape) + 2 if row.shape else 0)
        texts = textwrap.wrap(row.text, max(room, MIN_TEXT), break_on_hyphens=False) or [""]
        told = [text.replace(HARD_SPACE, " ") for text in texts]
        yield _line(f"{head}  {told[0]}".rstrip(), row.shape, width)
        yield from (f"{rest}  {text}" for text in told[1:])
        yield from _lines(row.below, before + deeper, width)


def _line(text: str, shape: str, width: int) -> str:
    return f"{text}  {shape:>{max(width - len(text) - 2, 0)}}" if shape else text
