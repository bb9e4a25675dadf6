"""Genome -> torch.nn.Module.

Modules carry the names that ``Genome.layers`` gives them, so that a layer table, a hook and a
state_dict speak of the same thing. There is one module for each operation of nas.genome.ops and
each node of nas.genome.nodes.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import nn
from torch.nn import functional

from nas.genome import Activation, Genome, ImageShape, Pool
from nas.genome.nodes import Chain, Gate, Graph, Layer, Node, Stack, after
from nas.genome.ops import (
    Act,
    Average,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Flow,
    Linear,
    Op,
    PoolOp,
    Resize,
)

LEAKY_SLOPE = 0.01
"""Slope of LeakyReLU below zero; torch's default, named because a bundle depends on it."""

ACTIVATIONS: Mapping[Activation, Callable[[bool], nn.Module]] = {
    # In place where the backward pass can be computed from the output: a copy less per layer.
    Activation.RELU: lambda inplace: nn.ReLU(inplace),
    Activation.LEAKY_RELU: lambda inplace: nn.LeakyReLU(LEAKY_SLOPE, inplace),
    Activation.ELU: lambda inplace: nn.ELU(inplace=inplace),
    Activation.GELU: lambda _: nn.GELU(),
    Activation.SILU: lambda _: nn.SiLU(),
    Activation.RELU6: lambda inplace: nn.ReLU6(inplace),
    Activation.HARD_SWISH: lambda _: nn.Hardswish(),
    Activation.HARD_SIGMOID: lambda _: nn.Hardsigmoid(),
    Activation.SIGMOID: lambda _: nn.Sigmoid(),
    Activation.TANH: lambda _: nn.Tanh(),
}

FRESH = (Conv, BatchNorm, PoolOp, Linear)
"""What gives new values that nobody else reads, and does not need them for its backward pass."""


class SameConv2d(nn.Conv2d):
    """Convolution with padding that may differ before and after, as even kernels need it.

    By default the output is ⌈W/S⌉ large, one pixel more being padded at the bottom and right where
    K−1 is odd. It is done by hand: torch's ``padding="same"`` does the same at the same speed, but
    warns about the copy.

    Args:
        channels: of the input.
        filters: of the output.
        kernel: side in pixels.
        bias: whether there is one.
        stride: step in pixels.
        groups: as torch's.
        pads: zeros left, right, above and below.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        *,
        bias: bool,
        stride: int = 1,
        groups: int = 1,
        pads: tuple[int, int, int, int] | None = None,
    ) -> None:
        before, past = (kernel - 1) // 2, kernel // 2
        pads = (before, past, before, past) if pads is None else pads
        left, right, above, below = pads
        even = left == right and above == below
        super().__init__(
            channels,
            filters,
            kernel,
            stride,
            padding=(above, left) if even else 0,
            groups=groups,
            bias=bias,
        )
        self._pad = None if even else pads

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) floats to (N, filters, ⌈H/S⌉, ⌈W/S⌉), with the default padding."""
        if self._pad is not None:
            images = functional.pad(images, self._pad)
        return super().forward(images)


class ResizeImages(nn.Module):
    """(N, C, H, W) floats to (N, C, side, side), bilinear and antialiased."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Resize; images of this size already stay as they are."""
        if images.shape[-2:] == (self.side, self.side):
            return images
        size = (self.side, self.side)
        return functional.interpolate(images, size, mode="bilinear", antialias=True)


class FrozenSequential(nn.Sequential):
    """A Sequential that stays in evaluation mode and whose weights ask for no gradient."""

    def __init__(self, modules: OrderedDict[str, nn.Module]) -> None:
        super().__init__(modules)
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: statistics of norms are those that were learnt."""
        del mode
        return super().train(False)


class GraphModule(nn.Module):
    """See nas.genome.nodes.Graph; edges are child modules, in the order in which they are run."""

    def __init__(self, places: int, edges: Sequence[tuple[int, int, str, nn.Module]]) -> None:
        super().__init__()
        self.places = places
        self.ways = [(source, target, name) for source, target, name, _ in edges]
        for _, _, name, module in edges:
            self.add_module(name, module)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) floats to those of the last place."""
        found = [values]
        for place in range(1, self.places):
            total: torch.Tensor | None = None
            for source, target, name in self.ways:
                if target == place:
                    brought = self.get_submodule(name)(found[source])
                    total = brought if total is None else total + brought
            assert total is not None  # arithmetic refused places without an edge
            found.append(total)
        return found[-1]


class GateModule(nn.Module):
    """x · body(x); see nas.genome.nodes.Gate."""

    def __init__(self, name: str, body: nn.Module) -> None:
        super().__init__()
        self.inner = name
        self.add_module(name, body)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) floats to as many."""
        weights: torch.Tensor = self.get_submodule(self.inner)(values)
        return values * weights


class StackModule(nn.Module):
    """x and body(x) as channels of one result; see nas.genome.nodes.Stack."""

    def __init__(self, name: str, body: nn.Module) -> None:
        super().__init__()
        self.inner = name
        self.add_module(name, body)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) floats to (N, C + D, H, W)."""
        return torch.cat([values, self.get_submodule(self.inner)(values)], dim=1)


def build(genome: Genome, image: ImageShape, classes: int) -> nn.Sequential:
    """The network of a genome, with initial weights from the global generator.

    They are torch's default, and He et al.'s (2015) in convolutions without a norm behind them.

    Args:
        genome: what to build; learnt weights are not loaded here (see nas.pretrained).
        image: shape of its input, (channels, height, width).
        classes: number of outputs, at least 2.

    Returns:
        A module from (N, channels, height, width) floats to (N, classes) logits. Its head averages
        over all positions, so other heights and widths pass as long as pooling leaves a pixel.

    Raises:
        GenomeError: the genome does not fit the image.
    """
    nodes = genome.nodes(image, classes)  # refuses what cannot be built, naming it
    return nn.Sequential(_modules(nodes, Flow.of(image)))


def _modules(nodes: Sequence[Node], flow: Flow) -> OrderedDict[str, nn.Module]:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    befores: list[Node | None] = [None, *nodes[:-1]] if nodes else []
    for before, node in zip(befores, nodes, strict=True):
        modules[node.name] = _module(node, flow, before)
        flow = after((node,), flow)
    return modules


def _module(node: Node, flow: Flow, before: Node | None) -> nn.Module:
    match node:
        case Layer():
            fresh = isinstance(before, Layer) and isinstance(before.op, FRESH)
            return _layer(node.op, flow, inplace=fresh)
        case Chain():
            kind = FrozenSequential if node.frozen else nn.Sequential
            return kind(_modules(node.nodes, flow))
        case Graph():
            flows, edges = [flow], []
            for place in range(1, node.places):
                for edge in node.into(place):
                    module = _module(edge.chain, flows[edge.source], None)
                    edges.append((edge.source, place, edge.chain.name, module))
                    arrived = after((edge.chain,), flows[edge.source])
                flows.append(arrived)
            return GraphModule(node.places, edges)
        case Gate():
            return GateModule(node.body.name, _module(node.body, flow, None))
        case Stack():
            return StackModule(node.body.name, _module(node.body, flow, None))


def _layer(op: Op, flow: Flow, *, inplace: bool) -> nn.Module:
    match op:
        case Conv():
            conv = SameConv2d(
                flow.channels,
                op.filters,
                op.kernel,
                bias=op.bias,
                stride=op.stride,
                groups=flow.channels if op.depthwise else 1,
                pads=op.pads(flow),
            )
            if conv.bias is not None:
                # No norm behind it mends the scale: of VGG-16 with torch's default nothing reached
                # the output (a spread of 10⁻⁷ between images, and 10⁻³ so; He et al. 2015).
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)
            return conv
        case BatchNorm():
            return nn.BatchNorm2d(flow.channels, eps=op.epsilon)
        case Act():
            return ACTIVATIONS[op.activation](inplace)
        case PoolOp(pool=Pool.MAX):
            return nn.MaxPool2d(op.window, op.stride, op.padding, ceil_mode=op.rounded_up)
        case PoolOp():
            return nn.AvgPool2d(
                op.window,
                op.stride,
                op.padding,
                ceil_mode=op.rounded_up,
                count_include_pad=False,
            )
        case Average():
            return nn.AdaptiveAvgPool2d(op.side)
        case Flatten():
            return nn.Flatten()
        case Dropout():
            return nn.Dropout(op.probability)
        case Linear():
            return nn.Linear(flow.channels, op.features)
        case Resize():
            return ResizeImages(op.side)
    raise TypeError(f"every operation has a module, but {type(op).__name__} has none; add one")
