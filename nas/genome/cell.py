"""Cells of NAS-Bench-201 (Dong and Yang 2020, arXiv:2001.00326), and the network of them.

A cell has four places; each of its six edges brings an operation on an earlier place, and a place
is the sum of what comes in. A code names the operations on the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any, ClassVar

from nas.errors import GenomeError
from nas.genome.conv import MAX_FILTERS
from nas.genome.fields import check_fields, fields_json, whole
from nas.genome.kinds import Activation, Pool
from nas.genome.nodes import Chain, Edge, Graph, Layer, Node
from nas.genome.ops import Act, BatchNorm, Conv, PoolOp

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
PLACES = 4
OPERATIONS = ("none", "skip", "conv 1×1", "conv 3×3", "average 3×3")
"""By digit, as in the table of NAS-Bench-201."""

NONE, SKIP, CONV1, CONV3, AVERAGE = "01234"


@dataclass(frozen=True, slots=True)
class Code:
    """The rule of a cell's code: six digits, 0 to 4, with a way from the input to the output."""

    def checked(self, where: str, name: str, value: object) -> object:
        """The code of the cell that is left when what nobody sees is cut off; see canonical."""
        digits = "".join(map(str, range(len(OPERATIONS))))
        ok = isinstance(value, str) and len(value) == len(EDGES) and set(value) <= set(digits)
        if not ok:
            raise GenomeError(
                f"{where}: {name} must be {len(EDGES)} digits from 0 to {len(OPERATIONS) - 1}, one "
                f"for each edge, but is {value!r}; the best on CIFAR-10 is '333132'"
            )
        code = canonical(str(value))
        if code is None:
            raise GenomeError(
                f"{where}: {name} must lead from the input to the output, but {value!r} does not; "
                "put something else than 0 (none) on a way there"
            )
        return code


@dataclass(frozen=True, slots=True)
class CellsBlock:
    """The network of NAS-Bench-201 up to its head: a stem, then stages of equal cells.

    The stem is a 3×3 convolution with a norm; between stages a residual block halves the sides and
    doubles the channels; behind the last stage come a norm and ReLU. The paper has 16 filters,
    three stages of five cells, and no stride in the stem.

    Attributes:
        code: of the cell, in its canonical form: cells that compute the same have the same code.
        filters: of the first stage.
        cells: in each stage.
        stages: sides halve and channels double from one to the next.
        stem_stride: 2 halves the sides at once.
    """

    kind: ClassVar[str] = "cells"

    code: str = field(metadata={"rule": Code(), "later": False})
    filters: int = whole(1, MAX_FILTERS // 16, 16)
    cells: int = whole(1, 8, 5)
    stages: int = whole(1, 5, 3)
    stem_stride: int = whole(1, 2, 1)

    def __post_init__(self) -> None:
        check_fields(self)

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """See Block."""
        del channels
        filters = self.filters
        stem = (Layer("conv", Conv(filters, 3, self.stem_stride)), Layer("norm", BatchNorm()))
        nodes: list[Node] = [Chain(f"stem{number}", stem)]
        for stage in range(1, self.stages + 1):
            if stage > 1:
                filters *= 2
                nodes.append(_reduction(f"reduction{number}_{stage}", filters))
            for place in range(1, self.cells + 1):
                nodes.append(cell(f"cell{number}_{stage}_{place}", self.code, filters))
        last = (Layer("norm", BatchNorm()), Layer("act", Act(Activation.RELU)))
        nodes.append(Chain(f"last{number}", last))
        return tuple(nodes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the block's kind."""
        return fields_json(self)


def cell(name: str, code: str, filters: int) -> Graph:
    """A cell of a canonical code, on as many channels as come in."""
    reached = [0, *sorted({target for _, target, _ in _edges(code)})]
    place = {old: new for new, old in enumerate(reached)}
    edges = tuple(
        Edge(place[source], place[target], Chain(f"from{source}to{target}", _op(digit, filters)))
        for source, target, digit in _edges(code)
    )
    return Graph(name, len(reached), edges)


def cells() -> Iterator[str]:
    """All 15,625 codes."""
    for digits in product("01234", repeat=len(EDGES)):
        yield "".join(digits)


def canonical(code: str) -> str | None:
    """The smallest code whose cell computes the same; None where the output sees no input.

    What the output does not see, or what does not see the input, is none; sums may be written in
    any order; and a place that only a skip leads on from is the sum that it leads to.
    """
    return _canonical().get(_function(code))


@cache
def _canonical() -> dict[str, str]:
    found: dict[str, str] = {}
    for code in cells():  # in rising order
        function = _function(code)
        if function and "".join(_digits(code)) == code:
            found.setdefault(function, code)
    return found


def _function(code: str) -> str:
    """What the output computes, as text; empty where it sees no input."""
    terms: list[list[str]] = [["x"]]
    for target in range(1, PLACES):
        sums: list[str] = []
        for (source, into), digit in zip(EDGES, code, strict=True):
            if into != target or digit == NONE or not terms[source]:
                continue
            inner = "+".join(terms[source])
            sums += terms[source] if digit == SKIP else [f"{digit}({inner})"]
        terms.append(sorted(sums))
    return "+".join(terms[-1])


def _digits(code: str) -> Iterator[str]:
    """The code with none on every edge that is not on a way from the input to the output."""
    seen, sees = {0}, {PLACES - 1}
    for (source, target), digit in zip(EDGES, code, strict=True):  # by rising target
        if digit != NONE and source in seen:
            seen.add(target)
    for (source, target), digit in reversed(list(zip(EDGES, code, strict=True))):
        if digit != NONE and target in sees:
            sees.add(source)
    for (source, target), digit in zip(EDGES, code, strict=True):
        yield digit if source in seen and target in sees else NONE


def _edges(code: str) -> list[tuple[int, int, str]]:
    pairs = zip(EDGES, code, strict=True)
    return [(source, target, digit) for (source, target), digit in pairs if digit != NONE]


def _op(digit: str, filters: int) -> tuple[Node, ...]:
    if digit == SKIP:
        return ()
    if digit == AVERAGE:
        return (Layer("pool", PoolOp(Pool.AVERAGE, 3, 1, 1)),)
    return _relu_conv_norm("", filters, 1 if digit == CONV1 else 3)


def _relu_conv_norm(end: str, filters: int, kernel: int, stride: int = 1) -> tuple[Node, ...]:
    return (
        Layer(f"act{end}", Act(Activation.RELU)),
        Layer(f"conv{end}", Conv(filters, kernel, stride)),
        Layer(f"norm{end}", BatchNorm()),
    )


def _reduction(name: str, filters: int) -> Graph:
    """Halves the sides, rounded up, and gives ``filters`` channels."""
    main = (*_relu_conv_norm("1", filters, 3, 2), *_relu_conv_norm("2", filters, 3))
    pool = PoolOp(Pool.AVERAGE, 2, 2, rounded_up=True)
    short = (Layer("pool", pool), Layer("conv", Conv(filters, 1)))
    edges = (Edge(0, 1, Chain("main", main)), Edge(0, 1, Chain("shortcut", short)))
    return Graph(name, 2, edges)
