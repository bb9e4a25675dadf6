"""The layers of a network as a table for people."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from nas.genome.nodes import Chain, Layer
from nas.genome.parts import Part, unseen
from nas.genome.steps import contents, shape_text

INDENT = "  "


def layer_table(parts: Sequence[Part], *, everything: bool) -> Table:
    """Output shape, parameters, multiply-adds and receptive field; fits 80 columns.

    Args:
        parts: of the whole network.
        everything: a row for every layer, below the rows of the composites that it is in; else
            composites have one row each, and a chain of chains (a published network) one for each
            of these.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_footer=True)
    macs = sum(part.multiply_adds for part in parts)
    table.add_column("layer", "total", no_wrap=True)
    table.add_column("operation")
    table.add_column("output", no_wrap=True, justify="right")
    total = f"{sum(part.parameters for part in parts):,}"
    table.add_column("parameters", total, no_wrap=True, justify="right")
    table.add_column("multiply-\nadds", f"{macs:,}", no_wrap=True, justify="right")
    table.add_column("receptive\nfield", no_wrap=True, justify="right")
    for part, depth in _rows(parts, 0, everything):
        table.add_row(
            INDENT * depth + part.node.name,
            _frozen(part) + contents(part),
            shape_text(part.after),
            _number(part.parameters),
            _number(part.multiply_adds),
            str(part.after.field),
        )
    return table


def _rows(parts: Sequence[Part], depth: int, everything: bool) -> Iterator[tuple[Part, int]]:
    for part in parts:
        if unseen(part):
            continue
        yield part, depth
        if not isinstance(part.node, Layer) and (everything or _of_chains(part)):
            yield from _rows(part.parts, depth + 1, everything)


def _of_chains(part: Part) -> bool:
    inner = part.node.nodes if isinstance(part.node, Chain) else ()
    # What is in a stage are residual blocks and the like: whoever wants these asks for everything.
    return any(isinstance(one, Chain) for one in inner) and "." not in part.path


def _frozen(part: Part) -> str:
    return "frozen: " if isinstance(part.node, Chain) and part.node.frozen else ""


def _number(value: int) -> str:
    """Nothing for 0, so that what costs stands out."""
    return f"{value:,}" if value else ""


def totals(parts: Sequence[Part], classes: int) -> str:
    """A network in one line: what goes in, what comes out, what it costs."""
    parameters = sum(part.parameters for part in parts)
    frozen = sum(part.frozen for part in parts)
    held = f" ({frozen:,} of them frozen)" if frozen else ""
    macs = sum(part.multiply_adds for part in parts)
    shape = "×".join(map(str, parts[0].before.shape))
    return f"{shape} to {classes} classes, {parameters:,} parameters{held}, {macs:,} multiply-adds"
