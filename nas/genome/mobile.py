"""Inverted bottlenecks (Sandler et al. 2018, arXiv:1801.04381), with squeeze and excitation."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nas.genome.conv import MAX_FILTERS, MAX_KERNEL, MAX_REPEATS
from nas.genome.fields import check_fields, fields_json, one_of, truth, whole
from nas.genome.kinds import Activation
from nas.genome.nodes import Chain, Edge, Graph, Layer, Node
from nas.genome.ops import Act, BatchNorm, Conv, Padding, Same
from nas.genome.residual import squeeze


@dataclass(frozen=True, slots=True)
class InvertedBlock:
    """1×1 to many channels, a depthwise convolution, and 1×1 back, without an activation there.

    What came in is added where shapes are equal.

    Attributes:
        filters: output channels.
        kernel: of the depthwise convolution.
        expansion: channels in the middle, as a multiple of those that come in; with 1 the first
            1×1 convolution is left out.
        activation: behind the first two convolutions.
        stride: of the first block's depthwise convolution.
        squeeze: squeeze and excitation behind the depthwise convolution.
        repeats: blocks one after the other.
    """

    kind: ClassVar[str] = "inverted"

    filters: int = whole(1, MAX_FILTERS)
    kernel: int = whole(1, MAX_KERNEL, 3)
    expansion: int = whole(1, 8, 3)
    activation: Activation = one_of(Activation, Activation.RELU)
    stride: int = whole(1, 4, 1)
    squeeze: bool = truth(False)
    repeats: int = whole(1, MAX_REPEATS, 1)

    def __post_init__(self) -> None:
        check_fields(self)

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """See Block."""
        nodes: list[Node] = []
        for time in range(1, self.repeats + 1):
            name = f"inverted{number}" if time == 1 else f"inverted{number}_{time}"
            middle = self.expansion * channels
            gate = (squeeze("gate", middle, self.activation),) if self.squeeze else ()
            stride = self.stride if time == 1 else 1
            nodes += inverted(
                name,
                channels,
                middle,
                self.filters,
                self.kernel,
                stride,
                self.activation,
                gate=gate,
            )
            channels = self.filters
        return tuple(nodes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the block's kind."""
        return fields_json(self)


def inverted(
    name: str,
    channels: int,
    middle: int,
    filters: int,
    kernel: int,
    stride: int,
    activation: Activation,
    *,
    gate: tuple[Node, ...] = (),
    norm: BatchNorm | None = None,
    padding: Padding | None = None,
) -> tuple[Node, ...]:
    """One inverted bottleneck with ``middle`` channels; see InvertedBlock."""
    norm = BatchNorm() if norm is None else norm
    padding = Same() if padding is None else padding
    nodes: list[Node] = []
    if middle != channels:
        nodes += [
            Layer("expand", Conv(middle, 1)),
            Layer("norm1", norm),
            Layer("act1", Act(activation)),
        ]
    nodes += [
        Layer("depthwise", Conv(middle, kernel, stride, padding, depthwise=True)),
        Layer("norm2", norm),
        Layer("act2", Act(activation)),
        *gate,
        Layer("project", Conv(filters, 1)),
        Layer("norm3", norm),
    ]
    if stride > 1 or channels != filters:
        return (Chain(name, tuple(nodes)),)
    edges = (Edge(0, 1, Chain("main", tuple(nodes))), Edge(0, 1, Chain("shortcut", ())))
    return (Graph(name, 2, edges),)
