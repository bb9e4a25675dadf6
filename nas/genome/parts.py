"""The parts of a network as a tree, each with the figures of all that is in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.genome.genome import Genome
from nas.genome.nodes import Chain, Edge, Gate, Graph, Layer, LayerInfo, Node, Stack, walk
from nas.genome.ops import Dropout, Flatten, Flow, ImageShape


@dataclass(frozen=True, slots=True)
class Part:
    """A node and what is in it.

    Attributes:
        node: the layer or the composite.
        path: the module's name in the built network, such as ``residual2.join.main.conv1``.
        before: what comes in.
        after: what comes out.
        parameters: trainable numbers of it and of all within, frozen ones included.
        frozen: how many of these are frozen.
        multiply_adds: of it and of all within, for one image.
        parts: of a composite, in the order of the forward pass; of a graph one chain for each edge.
    """

    node: Node
    path: str
    before: Flow
    after: Flow
    parameters: int
    frozen: int
    multiply_adds: int
    parts: tuple["Part", ...] = ()


def parts_of(genome: Genome, image: ImageShape, classes: int) -> tuple[Part, ...]:
    """The whole network.

    Raises:
        GenomeError: a layer does not fit what comes before it; see Genome.layers.
    """
    nodes, flow = genome.nodes(image, classes), Flow.of(image)
    return _row(nodes, flow, walk(nodes, flow), "")


def edges_of(graph: Graph) -> list[Edge]:
    """The edges in the order in which they are computed, which is that of a graph's parts."""
    return [edge for place in range(1, graph.places) for edge in graph.into(place)]


def unseen(part: Part) -> bool:
    """Whether tables and drawings leave it out: it does nothing, or only lays numbers out anew."""
    return isinstance(part.node, Layer) and part.node.op in (Flatten(), Dropout(0.0))


Found = Iterator[tuple[LayerInfo, Flow]]


def _row(nodes: Sequence[Node], flow: Flow, found: Found, inside: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    for node in nodes:
        parts.append(_part(node, flow, found, inside))
        flow = parts[-1].after
    return tuple(parts)


def _part(node: Node, before: Flow, found: Found, inside: str) -> Part:
    """Takes from ``found`` what ``walk`` tells of this node, which is in the same order."""
    path = f"{inside}{node.name}"
    match node:
        case Layer():
            info, after = next(found)
            return Part(node, path, before, after, info.parameters, 0, info.multiply_adds)
        case Chain():
            parts = _row(node.nodes, before, found, f"{path}.")
            return _sum(node, path, before, parts[-1].after if parts else before, parts)
        case Graph():
            values, brought = [before], list[Part]()
            for place in range(1, node.places):
                for edge in node.into(place):
                    brought.append(_part(edge.chain, values[edge.source], found, f"{path}."))
                values.append(brought[-1].after)
            return _sum(node, path, before, next(found)[1], tuple(brought))
        case Gate() | Stack():
            body = _part(node.body, before, found, f"{path}.")
            return _sum(node, path, before, next(found)[1], (body,))


def _sum(node: Node, path: str, before: Flow, after: Flow, parts: tuple[Part, ...]) -> Part:
    """The composite: what joins its parts costs nothing."""
    parameters = sum(part.parameters for part in parts)
    held = isinstance(node, Chain) and node.frozen
    frozen = parameters if held else sum(part.frozen for part in parts)
    macs = sum(part.multiply_adds for part in parts)
    return Part(node, path, before, after, parameters, frozen, macs, parts)
