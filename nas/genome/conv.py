"""The plain convolution block: of it the network is made that this project grew from."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nas.genome.fields import check_fields, fields_json, one_of, whole
from nas.genome.kinds import Activation, Norm, Order, Pool
from nas.genome.nodes import Layer, Node
from nas.genome.ops import Act, BatchNorm, Conv, Op, Pixels, PoolOp, Same

MAX_FILTERS = 4096
MAX_KERNEL = 15
MAX_REPEATS = 8
POOL_WINDOW = 2
"""Pooling is 2×2 with stride 2, as in the network that this project grew from, unless a reference
says otherwise."""

SAME = -1
"""As a number of padded pixels: as many as give an output of ⌈W/S⌉."""


@dataclass(frozen=True, slots=True)
class ConvBlock:
    """Convolution, norm, activation, all of it repeated, and pooling.

    Same padding holds for even kernels too: with stride 1 the output is exactly as large as the
    input, the odd pixel of padding being added at the bottom and right.

    Attributes:
        filters: output channels of each convolution.
        kernel: side of each, in pixels.
        activation: behind each.
        pool: once, in the last repetition.
        norm: behind each convolution.
        order: whether pooling stands before the last norm or behind the last activation.
        repeats: how often; twice is what is called a double convolution.
        stride: of the first convolution.
        padding: pixels on every side, or SAME.
        pool_window: side in pixels; the stride is 2.
    """

    kind: ClassVar[str] = "conv"

    filters: int = whole(1, MAX_FILTERS)
    kernel: int = whole(1, MAX_KERNEL)
    activation: Activation = one_of(Activation, Activation.RELU)
    pool: Pool = one_of(Pool, Pool.NONE)
    norm: Norm = one_of(Norm, Norm.BATCH)
    order: Order = one_of(Order, Order.POOL_LAST)
    repeats: int = whole(1, MAX_REPEATS, 1, later=True)
    stride: int = whole(1, 4, 1, later=True)
    padding: int = whole(SAME, MAX_KERNEL - 1, SAME, later=True)
    pool_window: int = whole(2, 3, POOL_WINDOW, later=True)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pool is Pool.NONE:
            # Without pooling both orders are the same network: one value, one key.
            object.__setattr__(self, "order", Order.POOL_LAST)
            object.__setattr__(self, "pool_window", POOL_WINDOW)
        same_pads = (self.kernel - 1) // 2, self.kernel // 2
        if same_pads == (self.padding, self.padding):
            object.__setattr__(self, "padding", SAME)

    @property
    def steps(self) -> tuple[str, ...]:
        """Kinds of layer of the last repetition, as data pass: conv, norm, act, pool."""
        steps = ["conv"]
        if self.norm is not Norm.NONE:
            steps.append("norm")
        steps.append("act")
        if self.pool is not Pool.NONE:
            steps.insert(len(steps) if self.order is Order.POOL_LAST else 1, "pool")
        return tuple(steps)

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """See Block."""
        del channels  # convolutions find out for themselves
        nodes = []
        for time in range(1, self.repeats + 1):
            last = time == self.repeats
            name = f"{number}" if time == 1 else f"{number}_{time}"
            for step in self.steps:
                if step == "pool":
                    if last:
                        nodes.append(Layer(f"pool{number}", PoolOp(self.pool, self.pool_window)))
                else:
                    nodes.append(Layer(f"{step}{name}", self._op(step, first=time == 1)))
        return tuple(nodes)

    def _op(self, step: str, *, first: bool) -> Op:
        if step == "norm":
            return BatchNorm()
        if step == "act":
            return Act(self.activation)
        padding = Same() if self.padding == SAME else Pixels(self.padding)
        stride = self.stride if first else 1
        bias = self.norm is Norm.NONE
        return Conv(self.filters, self.kernel, stride, padding, bias=bias)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the block's kind."""
        return fields_json(self)
