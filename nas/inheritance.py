"""A network begins with the weights of another one that differs in little.

Where it can be the child computes, in evaluation mode, what its parent does (Net2Net, Chen et al.
2016, arXiv:1511.05641): with more filters (copies, between which what follows is divided), with a
larger kernel (zeros around it), with one more block (the identity, behind ReLU). Where it cannot
be, with fewer filters for example, what fits is taken over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from nas.genome import Activation, Genome, ImageShape
from nas.genome.nodes import Chain, Gate, Graph, Layer, Stack
from nas.genome.ops import Act, Average, BatchNorm, Conv, Flatten, Linear, Same

NEW = -1
"""Where a channel comes from that the parent does not have."""

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Origin:
    """Of each channel of the child: the parent's channel, and its part of what that one gave.

    Attributes:
        source: (C,) int64, NEW where there is none.
        part: (C,) float32; parts of one source add up to 1.
    """

    source: torch.Tensor
    part: torch.Tensor

    @classmethod
    def same(cls, count: int) -> "_Origin":
        return cls(torch.arange(count), torch.ones(count))


def inherit(
    network: nn.Module,
    genome: Genome,
    parent: Tensors,
    image: ImageShape,
    classes: int,
    seed: int,
) -> float:
    """Give a freshly built network what fits of a parent's weights.

    Args:
        network: of ``genome``, built for ``image`` and ``classes``, on the CPU; it is changed.
        genome: the child.
        parent: the parent's state_dict.
        image: shape of a network's input.
        classes: number of outputs.
        seed: of the choice of filters that are copied.

    Returns:
        The share of the network's parameters that come from the parent, in [0, 1].
    """
    heir = _Heir(network, parent, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        heir.go(genome, image, classes)
    total = sum(parameter.numel() for parameter in network.parameters())
    return heir.taken / total


class _Heir:
    """Goes through a network from its input, and keeps account of where channels come from.

    ``origin`` is None where nothing is known of them; what follows then keeps its own weights.
    """

    def __init__(self, network: nn.Module, parent: Tensors, draws: torch.Generator) -> None:
        self.own = network.state_dict()  # shares memory with the network
        self.parent, self.draws = parent, draws
        self.origin: _Origin | None = None
        self.positive = False  # what comes in is at least 0, as behind ReLU
        self.grid = 1
        self.taken = 0

    def go(self, genome: Genome, image: ImageShape, classes: int) -> None:
        self.origin = _Origin.same(image.channels)
        for node in genome.nodes(image, classes):
            match node:
                case Layer():
                    self._layer(node.name, node)
                case Chain() | Graph() | Gate() | Stack():
                    self._composite(node.name)

    def _layer(self, name: str, layer: Layer) -> None:
        match layer.op:
            case Conv() as conv if not conv.depthwise:
                self._conv(name, conv)
            case BatchNorm():
                self._norm(name)
            case Act(activation=activation):
                self.positive = activation is Activation.RELU
            case Average(side=side):
                self.grid = side
            case Flatten():
                self._flatten()
            case Linear():
                self._linear(name)

    def _conv(self, name: str, conv: Conv) -> None:
        own = self.own[f"{name}.weight"]
        theirs = self.parent.get(f"{name}.weight")
        if self.origin is None:
            return
        if theirs is None:
            self._identity(own, conv)
            return
        if not self._fits(theirs, self.origin) or theirs.ndim != 4:
            self.origin = None
            return
        out = self._out(name, theirs, own.shape[0])
        known = self.origin.source != NEW
        inner = theirs[out.source][:, self.origin.source.clamp(min=0)]
        inner = inner * (self.origin.part * known)[:, None, None]
        self._write(f"{name}.weight", _resized(inner, own.shape[-1]))
        if f"{name}.bias" in self.own and f"{name}.bias" in self.parent:
            self._write(f"{name}.bias", self.parent[f"{name}.bias"][out.source])
        self.origin = out

    def _fits(self, theirs: torch.Tensor, origin: _Origin) -> bool:
        return int(origin.source.max()) < theirs.shape[1]

    def _out(self, name: str, theirs: torch.Tensor, count: int) -> _Origin:
        """Where the child's filters come from."""
        had = theirs.shape[0]
        if count == had:
            return _Origin.same(count)
        if count < had:  # the strongest stay, in their order
            strength = theirs.flatten(1).norm(dim=1)
            scale = self.parent.get(f"norm{name.removeprefix('conv')}.weight")
            if scale is not None and scale.shape == strength.shape:
                strength = scale.abs()  # the norm undoes the size of the weights
            kept = strength.topk(count).indices.sort().values
            return _Origin(kept, torch.ones(count))
        copies = torch.randint(had, (count - had,), generator=self.draws)
        source = torch.cat([torch.arange(had), copies])
        # Unequal parts: equal copies would be given equal gradients and stay equal for ever.
        weight = 0.5 + torch.rand(count, generator=self.draws)
        total = torch.zeros(had).index_add_(0, source, weight)
        return _Origin(source, weight / total[source])

    def _identity(self, own: torch.Tensor, conv: Conv) -> None:
        """A convolution that the parent does not have passes on what comes in, if it can."""
        assert self.origin is not None
        count = len(self.origin.source)
        same_size = conv.stride == 1 and isinstance(conv.padding, Same)
        if own.shape[0] < count or not same_size or not self.positive:
            self.origin = None
            return
        middle = (own.shape[-1] - 1) // 2
        own[:count] = 0
        own[torch.arange(count), torch.arange(count), middle, middle] = 1
        more = own.shape[0] - count
        self.origin = _Origin(
            torch.cat([self.origin.source, torch.full((more,), NEW)]),
            torch.cat([self.origin.part, torch.zeros(more)]),
        )

    def _norm(self, name: str) -> None:
        if self.origin is None or f"{name}.weight" not in self.parent:
            return
        known = self.origin.source != NEW
        if not bool(known.all()) or not self._has(name, int(self.origin.source.max())):
            return
        for kind in ("weight", "bias", "running_mean", "running_var"):
            self._write(f"{name}.{kind}", self.parent[f"{name}.{kind}"][self.origin.source])

    def _has(self, name: str, place: int) -> bool:
        return len(self.parent[f"{name}.weight"]) > place

    def _flatten(self) -> None:
        if self.origin is not None and self.grid > 1:
            cells = self.grid**2
            inside = torch.arange(cells)
            source = self.origin.source[:, None] * cells + inside
            source[self.origin.source == NEW] = NEW
            part = self.origin.part[:, None].expand(-1, cells)
            self.origin = _Origin(source.flatten(), part.flatten())

    def _linear(self, name: str) -> None:
        theirs = self.parent.get(f"{name}.weight")
        own = self.own[f"{name}.weight"]
        if self.origin is None or theirs is None or theirs.shape[0] != own.shape[0]:
            self.origin = None
            return
        known = self.origin.source != NEW
        if int(self.origin.source.max()) >= theirs.shape[1] or len(known) != own.shape[1]:
            self.origin = None
            return
        columns = theirs[:, self.origin.source.clamp(min=0)] * (self.origin.part * known)
        self._write(f"{name}.weight", columns)
        self._write(f"{name}.bias", self.parent[f"{name}.bias"])
        self.origin = _Origin.same(own.shape[0])

    def _composite(self, name: str) -> None:
        """Take over whatever tensor has the same name and shape; nothing is divided here."""
        inside = [entry for entry in self.own if entry.startswith(f"{name}.")]
        equal = [
            e for e in inside if e in self.parent and self.parent[e].shape == self.own[e].shape
        ]
        for entry in equal:
            self._write(entry, self.parent[entry])
        straight = self.origin is not None and bool(
            (self.origin.source == torch.arange(len(self.origin.source))).all()
        )
        self.positive = False
        if not (straight and len(equal) == len(inside)):
            self.origin = None
            return
        last = [self.own[entry] for entry in inside if entry.endswith(".weight")][-1:]
        self.origin = _Origin.same(last[0].shape[0]) if last else self.origin

    def _write(self, entry: str, values: torch.Tensor) -> None:
        own = self.own[entry]
        own.copy_(values)
        if entry.endswith((".weight", ".bias")):
            self.taken += own.numel()


def _resized(weights: torch.Tensor, kernel: int) -> torch.Tensor:
    """Kernels (O, I, K, K) with another side: zeros around, or the middle, as same padding lies."""
    had = weights.shape[-1]
    shift = (kernel - 1) // 2 - (had - 1) // 2
    result = weights.new_zeros((*weights.shape[:2], kernel, kernel))
    start, end = max(0, shift), min(kernel, had + shift)
    old = slice(start - shift, end - shift)
    result[..., start:end, start:end] = weights[..., old, old]
    return result
