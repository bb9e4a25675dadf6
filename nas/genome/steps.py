"""What a drawing shows as one step: a convolution with its norm and activation, or a composite.

Equal steps that follow one another are one step, so many times.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nas.genome.nodes import Chain, Gate, Graph, Layer, Node, Stack
from nas.genome.ops import Average, Conv, Dropout, Flow, Linear, Op, PoolOp, Resize
from nas.genome.parts import Part, unseen

HEAVY = (Conv, Linear, PoolOp, Average, Resize)
"""Operations that a step has one of; norms, activations and dropout go with them."""


KINDS: Mapping[type[Op], str] = {Conv: "conv", PoolOp: "pool", Resize: "resize"}
"""In one word, to be counted."""


@dataclass(frozen=True, slots=True)
class Step:
    """Layers that belong together, or one composite.

    Attributes:
        parts: of the first time.
        last: of the last time.
        times: how often, one after the other.
    """

    parts: tuple[Part, ...]
    last: tuple[Part, ...]
    times: int = 1

    @property
    def composite(self) -> Part | None:
        """The composite, if it is one."""
        first = self.parts[0]
        return None if isinstance(first.node, Layer) else first

    @property
    def ops(self) -> tuple[Op, ...]:
        """Operations of its layers; none of a composite."""
        return tuple(part.node.op for part in self.parts if isinstance(part.node, Layer))

    @property
    def after(self) -> Flow:
        """What comes out of the last time."""
        return self.last[-1].after

    @property
    def name(self) -> str:
        """Of the composite or the layer that gives the step its character; first to last."""
        first, last = _named(self.parts), _named(self.last)
        return first if self.times == 1 else f"{first} to {last}"


def steps_of(parts: Sequence[Part]) -> tuple[Step, ...]:
    """The steps that parts in a row make up."""
    steps: list[Step] = []
    for group in _groups([part for part in parts if not unseen(part)]):
        if steps and _repeats(steps[-1].last, group):
            steps[-1] = replace(steps[-1], last=group, times=steps[-1].times + 1)
        else:
            steps.append(Step(group, group))
    return tuple(steps)


def shape_text(flow: Flow) -> str:
    """Channels × height × width, or only the number of what is flat."""
    flat = (flow.height, flow.width) == (1, 1)
    return str(flow.channels) if flat else "×".join(map(str, flow.shape))


def contents(part: Part) -> str:
    """A few words for a table: a layer's operation, or how many of which are in a composite."""
    match part.node:
        case Layer(op=op):
            return op.what
        case Chain():
            inner = [one for one in part.parts if not isinstance(one.node, Layer)]
            if len(part.parts) <= 2 and len(inner) == 1:
                return contents(inner[0])  # a residual block: its sum and an activation
            return _counted([one for one in part.parts if not unseen(one)]) or "identity"
        case Graph(places=2):
            return " + ".join(_counted(edge.parts) or "input" for edge in part.parts)
        case Graph():
            skips = sum(not edge.parts for edge in part.parts)
            inner = [one for edge in part.parts for one in edge.parts]
            return ", ".join(([_counted(inner)] if inner else []) + ["skip"] * bool(skips))
        case Gate():
            return f"times {_counted(part.parts[0].parts)}"
        case Stack():
            return f"input beside {_counted(part.parts[0].parts)}"


def _counted(parts: Sequence[Part]) -> str:
    """How many of which, without norms and activations if there is anything else."""
    telling = [part for part in parts if not isinstance(part.node, Layer) or _heavy(part)]
    terms = [_kind(part) for part in telling or parts]
    counts = {term: terms.count(term) for term in dict.fromkeys(terms)}
    return ", ".join(term if count == 1 else f"{count} {term}" for term, count in counts.items())


def _kind(part: Part) -> str:
    node = part.node
    if not isinstance(node, Layer):
        return re.sub(r"[\d_]+$", "", node.name)
    return KINDS.get(type(node.op)) or node.op.what


def _heavy(part: Part) -> bool:
    return isinstance(part.node, Layer) and isinstance(part.node.op, HEAVY)


def _groups(parts: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
    """Composites alone, and layers as they belong together.

    A row of layers that begins with a norm or an activation has these before its convolutions, as
    in DenseNet; then every further one of that kind begins a group.
    """
    group: list[Part] = []
    begins: type[Op] | None = None
    for part in parts:
        node = part.node
        if not isinstance(node, Layer):
            if group:
                yield tuple(group)
            group, begins = [], None
            yield (part,)
            continue
        begins = begins or type(node.op)
        full = _heavy(part) and any(_heavy(one) for one in group)
        if group and (full or isinstance(node.op, begins | Dropout)):
            yield tuple(group)
            group = []
        group.append(part)
    if group:
        yield tuple(group)


def _repeats(one: Sequence[Part], other: Sequence[Part]) -> bool:
    """Whether ``other`` is ``one`` again, and leaves as many pixels."""
    sides = [(group[-1].after.height, group[-1].after.width) for group in (one, other)]
    same = [_nameless(part.node) for part in one] == [_nameless(part.node) for part in other]
    return same and sides[0] == sides[1]


def _nameless(node: Node) -> Node:
    return replace(node, name="")


def _named(parts: Sequence[Part]) -> str:
    return next((part for part in parts if _heavy(part)), parts[0]).node.name
