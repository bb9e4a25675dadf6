"""A genome in a few figures, for tables that compare networks."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.genome.genome import Genome
from nas.genome.nodes import Chain, Gate, Graph, Layer, Node, Stack
from nas.genome.ops import Conv, ImageShape, Linear


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a network for images of one shape.

    Attributes:
        depth: convolutions and linear layers on the longest way from input to output, as papers
            count them (those within gates are left out).
        filters: fewest and most filters of a convolution.
        kernels: smallest and largest kernel.
        parameters: trainable numbers.
        trainable: those of them that are not frozen.
        multiply_adds: for one image.
        receptive_field: pixels of the input, along one side, that a value sees before the head.
    """

    depth: int
    filters: tuple[int, int]
    kernels: tuple[int, int]
    parameters: int
    trainable: int
    multiply_adds: int
    receptive_field: int


def summary(genome: Genome, image: ImageShape, classes: int) -> Summary:
    """Figures of a genome; GenomeError if it does not fit."""
    layers = genome.layers(image, classes)
    nodes = genome.nodes(image, classes)
    convs = [op for op in _ops(nodes) if isinstance(op, Conv)]
    frozen = [f"{name}." for name in _frozen(nodes)]
    head = next(place for place, layer in enumerate(layers) if layer.name == "average")
    return Summary(
        depth=_depth(nodes),
        filters=(min(op.filters for op in convs), max(op.filters for op in convs)),
        kernels=(min(op.kernel for op in convs), max(op.kernel for op in convs)),
        parameters=sum(layer.parameters for layer in layers),
        trainable=sum(x.parameters for x in layers if not x.name.startswith(tuple(frozen))),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        receptive_field=layers[head - 1].receptive_field,
    )


def has_depthwise(genome: Genome, image: ImageShape, classes: int) -> bool:
    """Whether any convolution is depthwise."""
    ops = _ops(genome.nodes(image, classes))
    return any(isinstance(op, Conv) and op.depthwise for op in ops)


def _depth(nodes: Sequence[Node]) -> int:
    total = 0
    for node in nodes:
        match node:
            case Layer():
                total += isinstance(node.op, Conv | Linear)
            case Chain():
                total += _depth(node.nodes)
            case Stack():
                total += _depth((node.body,))
            case Graph():
                longest = [0]
                for place in range(1, node.places):
                    ways = (
                        longest[edge.source] + _depth((edge.chain,)) for edge in node.into(place)
                    )
                    longest.append(max(ways))
                total += longest[-1]
    return total


def _ops(nodes: Sequence[Node]) -> list[object]:
    found: list[object] = []
    for node in nodes:
        match node:
            case Layer():
                found.append(node.op)
            case Graph():
                found += _ops([edge.chain for edge in node.edges])
            case Chain():
                found += _ops(node.nodes)
            case Gate() | Stack():
                found += _ops((node.body,))
    return found


def _frozen(nodes: Sequence[Node], inside: str = "") -> list[str]:
    """Names of the frozen chains; they lie within chains only."""
    found = []
    for node in nodes:
        if isinstance(node, Chain):
            name = f"{inside}{node.name}"
            found += [name] if node.frozen else _frozen(node.nodes, f"{name}.")
    return found
