"""Residual blocks (He et al. 2016, arXiv:1512.03385), and what other blocks share with them."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nas.genome.conv import MAX_FILTERS, MAX_KERNEL, MAX_REPEATS
from nas.genome.fields import check_fields, fields_json, one_of, truth, whole
from nas.genome.kinds import Activation
from nas.genome.nodes import Chain, Edge, Gate, Graph, Layer, Node
from nas.genome.ops import Act, Average, BatchNorm, Conv

BOTTLENECK = 4
"""A bottleneck's middle has a quarter of its filters."""

SQUEEZE = 4
"""Squeeze-and-excitation's middle has a quarter of the channels (Hu et al. 2018 have a sixteenth,
of far more channels), and at least this many."""


@dataclass(frozen=True, slots=True)
class ResidualBlock:
    """Convolutions whose output is added to their input, and an activation behind the sum.

    The shortcut is the identity where shapes allow it, and elsewhere a 1×1 convolution with a norm.

    Attributes:
        filters: output channels.
        kernel: of the two convolutions, or of the middle one of a bottleneck.
        activation: everywhere.
        stride: of the first block.
        bottleneck: 1×1, kernel, 1×1, a quarter of the filters in the middle, instead of two
            convolutions of the kernel.
        squeeze: squeeze and excitation before the sum.
        repeats: blocks one after the other.
    """

    kind: ClassVar[str] = "residual"

    filters: int = whole(1, MAX_FILTERS)
    kernel: int = whole(1, MAX_KERNEL, 3)
    activation: Activation = one_of(Activation, Activation.RELU)
    stride: int = whole(1, 4, 1)
    bottleneck: bool = truth(False)
    squeeze: bool = truth(False)
    repeats: int = whole(1, MAX_REPEATS, 1)

    def __post_init__(self) -> None:
        check_fields(self)

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """See Block."""
        nodes: list[Node] = []
        for time in range(1, self.repeats + 1):
            name = f"residual{number}" if time == 1 else f"residual{number}_{time}"
            stride = self.stride if time == 1 else 1
            main = self._bottleneck(stride) if self.bottleneck else self._basic(stride)
            if self.squeeze:
                main = (*main, squeeze("gate", self.filters, self.activation))
            nodes.append(residual(name, main, channels, self.filters, stride, self.activation))
            channels = self.filters
        return tuple(nodes)

    def _basic(self, stride: int) -> tuple[Node, ...]:
        return (
            Layer("conv1", Conv(self.filters, self.kernel, stride)),
            Layer("norm1", BatchNorm()),
            Layer("act1", Act(self.activation)),
            Layer("conv2", Conv(self.filters, self.kernel)),
            Layer("norm2", BatchNorm()),
        )

    def _bottleneck(self, stride: int) -> tuple[Node, ...]:
        middle = max(1, self.filters // BOTTLENECK)
        return (
            Layer("conv1", Conv(middle, 1)),
            Layer("norm1", BatchNorm()),
            Layer("act1", Act(self.activation)),
            Layer("conv2", Conv(middle, self.kernel, stride)),
            Layer("norm2", BatchNorm()),
            Layer("act2", Act(self.activation)),
            Layer("conv3", Conv(self.filters, 1)),
            Layer("norm3", BatchNorm()),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the block's kind."""
        return fields_json(self)


def residual(
    name: str,
    main: tuple[Node, ...],
    channels: int,
    filters: int,
    stride: int,
    activation: Activation,
) -> Chain:
    """``main`` beside a shortcut, added, and an activation."""
    short: tuple[Node, ...] = ()
    if stride > 1 or channels != filters:
        short = (Layer("conv", Conv(filters, 1, stride)), Layer("norm", BatchNorm()))
    edges = (Edge(0, 1, Chain("main", main)), Edge(0, 1, Chain("shortcut", short)))
    return Chain(name, (Graph("join", 2, edges), Layer("act", Act(activation))))


def squeeze(
    name: str,
    channels: int,
    activation: Activation,
    gate: Activation = Activation.SIGMOID,
    middle: int | None = None,
) -> Gate:
    """Squeeze and excitation (Hu et al. 2018, arXiv:1709.01507): channels weighed by all of them.

    Args:
        name: of the node.
        channels: that are weighed.
        activation: between its two layers.
        gate: behind them; from any number to [0, 1].
        middle: channels between them.
    """
    middle = max(SQUEEZE, channels // SQUEEZE) if middle is None else middle
    return Gate(
        name,
        Chain(
            "body",
            (
                Layer("average", Average()),
                Layer("conv1", Conv(middle, 1, bias=True)),
                Layer("act1", Act(activation)),
                Layer("conv2", Conv(channels, 1, bias=True)),
                Layer("act2", Act(gate)),
            ),
        ),
    )
