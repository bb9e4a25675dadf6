"""How operations are put together: in a chain, side by side and added, as a gate, or stacked.

A block of a genome is a few of these nodes. Arithmetic walks them here; nas.network builds them,
with the same names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from nas.errors import GenomeError
from nas.genome.ops import Cost, Flow, Op


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer's arithmetic.

    Attributes:
        name: the module's name in the built network, such as ``conv3``.
        shape: output (channels, height, width).
        parameters: trainable numbers; running statistics of a norm are not counted.
        multiply_adds: of convolutions and linear layers for one image; everything else counts 0,
            as is usual (and as torch's FLOP counter does, which reports twice this number).
        receptive_field: pixels of the input, along one side, that one output value depends on.
        what: the operation in words.
    """

    name: str
    shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    receptive_field: int
    what: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation."""

    name: str
    op: Op


@dataclass(frozen=True, slots=True)
class Chain:
    """One after the other; an empty chain is the identity.

    ``frozen`` keeps its weights and its norms' statistics as they are while the rest is trained.
    """

    name: str
    nodes: tuple["Node", ...]
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """From one place of a graph to a later one, through a chain."""

    source: int
    target: int
    chain: Chain


@dataclass(frozen=True, slots=True)
class Graph:
    """Places 0 to ``places`` − 1; each is the sum of what its edges bring; the last one comes out.

    A residual block is a graph of two places and two edges. Every place but the first needs an
    edge, and edges bring values of the same shape.
    """

    name: str
    places: int
    edges: tuple[Edge, ...]

    def into(self, place: int) -> list[Edge]:
        """The edges that end there."""
        return [edge for edge in self.edges if edge.target == place]


@dataclass(frozen=True, slots=True)
class Gate:
    """x · body(x), where the body gives a number for each channel (squeeze and excitation)."""

    name: str
    body: Chain


@dataclass(frozen=True, slots=True)
class Stack:
    """x and body(x) as channels of one result (a dense connection)."""

    name: str
    body: Chain


Node = Layer | Chain | Graph | Gate | Stack

SUM = "sum of what comes in"


def walk(nodes: Sequence[Node], flow: Flow, inside: str = "") -> Iterator[tuple[LayerInfo, Flow]]:
    """Arithmetic of every layer in the order of the forward pass, with what comes out of it.

    A graph adds, a gate multiplies and a stack joins without parameters: each shows as a layer of
    the node's own name behind what it consists of.
    """
    for node in nodes:
        name = f"{inside}{node.name}"
        match node:
            case Layer():
                after, cost = node.op.apply(name, flow)
                yield _info(name, after, cost, node.op.what), after
            case Chain():
                after = flow
                for info, after in walk(node.nodes, flow, f"{name}."):
                    yield info, after
            case Graph():
                values = [flow]
                for place in range(1, node.places):
                    brought = []
                    for edge in node.into(place):
                        after = source = values[edge.source]
                        for info, after in walk((edge.chain,), source, f"{name}."):
                            yield info, after
                        brought.append(after)
                    values.append(_sum(name, brought))
                after = values[-1]
                yield _info(name, after, Cost(), SUM), after
            case Gate():
                inner = flow
                for info, inner in walk((node.body,), flow, f"{name}."):
                    yield info, inner
                if inner.shape != (flow.channels, 1, 1):
                    raise _misfit(name, flow, inner, "a gate needs one number for each channel")
                after = replace(flow, field=max(flow.field, inner.field))
                yield _info(name, after, Cost(), "product with the gate"), after
            case Stack():
                inner = flow
                for info, inner in walk((node.body,), flow, f"{name}."):
                    yield info, inner
                if (inner.height, inner.width) != (flow.height, flow.width):
                    raise _misfit(name, flow, inner, "what is stacked must be equally large")
                channels = flow.channels + inner.channels
                field = max(flow.field, inner.field)
                after = replace(inner, channels=channels, field=field)
                yield _info(name, after, Cost(), "both, stacked"), after
        flow = after


def after(nodes: Sequence[Node], flow: Flow) -> Flow:
    """What comes out of nodes."""
    last = flow
    for _, last in walk(nodes, flow):  # noqa: B007 - the last one counts
        pass
    return last


def _sum(name: str, brought: list[Flow]) -> Flow:
    if not brought:
        raise GenomeError(f"{name}: every place needs something that comes in; add an edge")
    first = brought[0]
    for other in brought[1:]:
        if other.shape != first.shape:
            raise _misfit(name, first, other, "what is added must have one shape")
    return replace(
        first,
        field=max(flow.field for flow in brought),
        whole=max(flow.whole for flow in brought),
    )


def _info(name: str, flow: Flow, cost: Cost, what: str) -> LayerInfo:
    return LayerInfo(name, flow.shape, cost.parameters, cost.multiply_adds, flow.field, what)


def _misfit(name: str, one: Flow, other: Flow, rule: str) -> GenomeError:
    texts = ["×".join(map(str, flow.shape)) for flow in (one, other)]
    return GenomeError(
        f"{name}: {rule}, but {texts[0]} and {texts[1]} come in; make filters and strides equal"
    )
