"""The genome itself: blocks and a head, with their arithmetic, as JSON, and under a key."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from nas.errors import GenomeError
from nas.genome.backbones import BackboneBlock, Weights
from nas.genome.cell import CellsBlock
from nas.genome.checks import check_whole, entries, member
from nas.genome.conv import ConvBlock
from nas.genome.fields import block_from_json
from nas.genome.kinds import Activation
from nas.genome.mobile import InvertedBlock
from nas.genome.nodes import Layer, LayerInfo, Node, walk
from nas.genome.ops import Act, Average, Dropout, Flatten, Flow, ImageShape, Linear
from nas.genome.residual import ResidualBlock

FORMAT = 1
"""Version of the JSON form; raised when a reader of an older form would misread a newer one."""

MAX_BLOCKS = 64
MAX_HIDDEN, MAX_HIDDEN_LAYERS = 8192, 4
MAX_GRID = 16

AnyBlock = ConvBlock | ResidualBlock | InvertedBlock | CellsBlock | BackboneBlock

BLOCKS: Mapping[str, type[AnyBlock]] = {
    block.kind: block
    for block in (ConvBlock, ResidualBlock, InvertedBlock, CellsBlock, BackboneBlock)
}
"""By kind. Stored in studies and bundles: only ever added to."""


@dataclass(frozen=True)
class Genome:
    """Blocks, then a head: averaging, and linear layers to the classes, with dropout before each.

    Attributes:
        blocks: 1 to 64 blocks.
        dropout: probability in [0, 1) with which a feature is dropped before a linear layer.
        hidden: features of linear layers before the last one; none is usual.
        grid: averages over a grid of so many windows a side instead of over the whole image.
        hidden_activation: behind each of ``hidden``.
    """

    blocks: tuple[AnyBlock, ...]
    dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    grid: int = 1
    hidden_activation: Activation = Activation.RELU

    def __post_init__(self) -> None:
        for name in ("blocks", "hidden"):
            object.__setattr__(self, name, _tuple(name, getattr(self, name)))
        check_whole("genome", "the number of blocks", len(self.blocks), 1, MAX_BLOCKS)
        for number, block in enumerate(self.blocks, start=1):
            seeing = isinstance(block, BackboneBlock) and (
                block.weights is not Weights.NONE or block.side > 0
            )
            if seeing and number > 1:
                raise GenomeError(
                    f"block {number}: a backbone with learnt weights or a side must be the first "
                    f"block, as it looks at images, but {number - 1} come before it; remove them"
                )
        check_whole("genome", "the number of hidden layers", len(self.hidden), 0, MAX_HIDDEN_LAYERS)
        for count in self.hidden:
            check_whole("genome", "hidden", count, 1, MAX_HIDDEN)
        check_whole("genome", "grid", self.grid, 1, MAX_GRID)
        activation = member(Activation, "genome", "hidden_activation", self.hidden_activation)
        if not self.hidden:
            activation = Activation.RELU  # it is not there: one value, one key
        object.__setattr__(self, "hidden_activation", activation)
        ok = isinstance(self.dropout, int | float) and 0 <= self.dropout < 1
        if not ok or isinstance(self.dropout, bool):
            raise GenomeError(
                f"genome: dropout must be a number in [0, 1), but is {self.dropout!r}; "
                "0 means no dropout"
            )
        # Adding 0.0 turns -0.0, which is equal to 0.0 but written otherwise, into 0.0: one key.
        object.__setattr__(self, "dropout", float(self.dropout) + 0.0)

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits, the same for genomes that build the same network."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` gives an equal genome back."""
        head: dict[str, Any] = {"dropout": self.dropout}
        if self.hidden:
            head |= {"hidden": list(self.hidden), "activation": str(self.hidden_activation)}
        if self.grid > 1:
            head["grid"] = self.grid
        return {
            "format": FORMAT,
            "blocks": [block.to_json() for block in self.blocks],
            "head": head,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The genome that ``to_json`` described.

        Raises:
            GenomeError: an unknown format, a missing, unknown or impossible value.
        """
        top = entries(data, "genome", {"format", "blocks", "head"})
        if type(top["format"]) is not int or top["format"] != FORMAT:
            raise GenomeError(
                f"genome: format must be {FORMAT}, but is {top['format']!r}; "
                "it was written by another version of this program"
            )
        if not isinstance(top["blocks"], list):
            raise GenomeError("genome: blocks must be a list; give one entry per block")
        blocks = tuple(_block(entry, i) for i, entry in enumerate(top["blocks"], start=1))
        head = entries(top["head"], "head", {"dropout"}, {"hidden", "grid", "activation"})
        return cls(
            blocks=blocks,
            dropout=head["dropout"],
            hidden=head.get("hidden", ()),
            grid=head.get("grid", 1),
            hidden_activation=head.get("activation", Activation.RELU),
        )

    def nodes(self, image: ImageShape, classes: int) -> tuple[Node, ...]:
        """What the network consists of, first to last.

        Raises:
            GenomeError: a layer does not fit what comes before it, or ``classes`` is below 2.
        """
        return tuple(node for nodes, _ in self._parts(image, classes) for node in nodes)

    def layers(self, image: ImageShape, classes: int) -> tuple[LayerInfo, ...]:
        """Arithmetic of every layer, first to last, for one input of shape ``image``.

        Raises:
            GenomeError: a layer does not fit what comes before it (the image is pooled away, for
                example), or ``classes`` is below 2.
        """
        return tuple(info for info in self._walk(image, classes) if info.name != FLATTEN)

    def parameters(self, image: ImageShape, classes: int) -> int:
        """Trainable numbers of the whole network, whether or not they are frozen."""
        return sum(layer.parameters for layer in self._walk(image, classes))

    def multiply_adds(self, image: ImageShape, classes: int) -> int:
        """Multiply-adds of the whole network for one image."""
        return sum(layer.multiply_adds for layer in self._walk(image, classes))

    def _walk(self, image: ImageShape, classes: int) -> Iterator[LayerInfo]:
        for _, layers in self._parts(image, classes):
            yield from layers

    def _parts(
        self, image: ImageShape, classes: int
    ) -> Iterator[tuple[Sequence[Node], list[LayerInfo]]]:
        """Nodes and layers of each block, and of the head."""
        check_whole("linear", "classes", classes, 2, 100_000)
        flow = Flow.of(image)
        for number, block in enumerate(self.blocks, start=1):
            nodes = block.nodes(number, flow.channels)
            walked = list(walk(nodes, flow))
            flow = walked[-1][1]
            yield nodes, [info for info, _ in walked]
        head = self._head(classes)
        yield head, [info for info, _ in walk(head, flow)]

    def _head(self, classes: int) -> Sequence[Node]:
        nodes: list[Node] = [Layer("average", Average(self.grid)), Layer(FLATTEN, Flatten())]
        for number, count in enumerate(self.hidden, start=1):
            nodes += [
                Layer(f"dropout{number}", Dropout(self.dropout)),
                Layer(f"hidden{number}", Linear(count)),
                Layer(f"act_hidden{number}", Act(self.hidden_activation)),
            ]
        return [*nodes, Layer("dropout", Dropout(self.dropout)), Layer("linear", Linear(classes))]


FLATTEN = "flatten"
"""Only changes how numbers are laid out, so tables of layers leave it out."""


def _tuple(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise GenomeError(f"genome: {name} must be a list, but is {value!r}; write it as one")
    return tuple(value)


def _block(data: object, number: int) -> AnyBlock:
    where = f"block {number}"
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str) or kind not in BLOCKS:
        raise GenomeError(
            f"{where}: kind must be one of {', '.join(map(repr, BLOCKS))}, but is {kind!r}; name a "
            "known kind"
        )
    try:
        return block_from_json(BLOCKS[kind], data, where)
    except GenomeError as error:
        text = str(error)
        raise GenomeError(text if text.startswith(where) else f"{where}: {text}") from None
