"""Operations: the leaves of which every network consists, and the arithmetic of each.

A block of a genome says which operations it stands for; what follows from them (shapes, parameters,
multiply-adds, receptive fields) is worked out here and nowhere else, and nas.network has one module
for each.
"""

from dataclasses import dataclass, fields, replace
from typing import Protocol

from nas.errors import GenomeError
from nas.genome.checks import check_whole
from nas.genome.kinds import Activation, Pool


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What goes into a network: ``channels`` × ``height`` × ``width``, all at least 1."""

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for field in fields(self):
            check_whole("image", field.name, getattr(self, field.name), 1, 65_536)


@dataclass(frozen=True, slots=True)
class Flow:
    """What passes from one operation to the next.

    Attributes:
        channels: of the values.
        height: of the values.
        width: of the values.
        field: receptive field along one side, in pixels of the input.
        jump: pixels of the input from one value to the next.
        whole: what the receptive field is once all positions are put together.
    """

    channels: int
    height: int
    width: int
    field: int = 1
    jump: int = 1
    whole: int = 1

    @classmethod
    def of(cls, image: ImageShape) -> "Flow":
        """At a network's input."""
        side = max(image.height, image.width)
        return cls(image.channels, image.height, image.width, whole=side)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    def windowed(self, window: int, stride: int, height: int, width: int, channels: int) -> "Flow":
        """After something looked through a window, in steps of ``stride``."""
        jump = self.jump * stride
        field = self.field + (window - 1) * self.jump
        whole = field + (max(height, width) - 1) * jump
        return Flow(channels, height, width, field, jump, whole)


@dataclass(frozen=True, slots=True)
class Cost:
    """Trainable numbers, and multiply-adds for one image."""

    parameters: int = 0
    multiply_adds: int = 0


class Op(Protocol):
    """One operation."""

    @property
    def what(self) -> str:
        """In words, for a table of layers."""

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """What comes out, and what it costs; GenomeError says that ``name`` does not fit."""


FREE = Cost()


@dataclass(frozen=True, slots=True)
class Same:
    """Padding that makes a convolution's output ⌈W/S⌉ large: K−1, the odd pixel after."""

    def around(self, kernel: int, stride: int, size: int) -> tuple[int, int]:
        """Pixels before and after, along one side."""
        del stride, size  # the same for all
        return (kernel - 1) // 2, kernel // 2


@dataclass(frozen=True, slots=True)
class SameAsTensorFlow:
    """⌈W/S⌉ too, but only as much padding as is needed: other pixels are hit where S > 1."""

    def around(self, kernel: int, stride: int, size: int) -> tuple[int, int]:
        """See Same."""
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Pixels:
    """So many pixels on every side; 0 is what is called valid."""

    count: int

    def around(self, kernel: int, stride: int, size: int) -> tuple[int, int]:
        """See Same."""
        del kernel, stride, size
        return self.count, self.count


Padding = Same | SameAsTensorFlow | Pixels


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution: ⌊(W − K + P)/S⌋ + 1 values a side, P being the padding of both sides.

    Attributes:
        filters: output channels.
        kernel: side in pixels.
        stride: step in pixels.
        padding: zeros around.
        depthwise: every channel has a filter of its own; filters must be the input's channels.
        bias: none before a batch norm, which undoes it.
    """

    filters: int
    kernel: int
    stride: int = 1
    padding: Padding = Same()
    depthwise: bool = False
    bias: bool = False

    @property
    def what(self) -> str:
        """See Op."""
        kind = "depthwise conv" if self.depthwise else "conv"
        step = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{kind} {self.kernel}×{self.kernel}, {self.filters}{step}"

    def pads(self, flow: Flow) -> tuple[int, int, int, int]:
        """Zeros left, right, above and below, as torch's pad wants them."""
        rows = self.padding.around(self.kernel, self.stride, flow.height)
        columns = self.padding.around(self.kernel, self.stride, flow.width)
        return (*columns, *rows)

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """(K·K·C_in + 1)·C_out parameters, each weight being used at every position."""
        if self.depthwise and self.filters != flow.channels:
            raise GenomeError(
                f"{name}: a depthwise convolution has a filter for each channel, but has "
                f"{self.filters} and the layer before it gives {flow.channels}; make them equal"
            )
        left, right, above, below = self.pads(flow)
        height = (flow.height - self.kernel + above + below) // self.stride + 1
        width = (flow.width - self.kernel + left + right) // self.stride + 1
        if min(height, width) < 1:
            raise GenomeError(
                f"{name}: a {self.kernel}×{self.kernel} kernel needs an input that is as large "
                f"with its padding, but the layer before it gives {flow.height}×{flow.width}; "
                "use same padding, a smaller kernel, fewer poolings or larger images"
            )
        weights = self.kernel**2 * self.filters * (1 if self.depthwise else flow.channels)
        cost = Cost(weights + self.filters * self.bias, weights * height * width)
        return flow.windowed(self.kernel, self.stride, height, width, self.filters), cost


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch normalisation with a scale and a shift for each channel."""

    epsilon: float = 1e-5

    @property
    def what(self) -> str:
        """See Op."""
        return "batch norm"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """2·C parameters; running statistics are not counted."""
        del name
        return flow, Cost(2 * flow.channels)


@dataclass(frozen=True, slots=True)
class Act:
    """An activation function."""

    activation: Activation

    @property
    def what(self) -> str:
        """See Op."""
        return str(self.activation).replace("_", " ")

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """Changes no shape."""
        del name
        return flow, FREE


@dataclass(frozen=True, slots=True)
class PoolOp:
    """Max or average pooling; what is padded never counts.

    Attributes:
        pool: kind.
        window: side in pixels.
        stride: step in pixels.
        padding: pixels before and after.
        rounded_up: a window that is only partly within the input counts too.
    """

    pool: Pool
    window: int = 2
    stride: int = 2
    padding: int = 0
    rounded_up: bool = False

    @property
    def what(self) -> str:
        """See Op."""
        step = f", stride {self.stride}" if self.stride != self.window else ""
        return f"{self.pool} pool {self.window}×{self.window}{step}"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """⌊(W − K + 2P)/S⌋ + 1 values a side, or ⌈…⌉ + 1."""
        least = 1 if self.rounded_up else self.window - 2 * self.padding
        if min(flow.height, flow.width) < least:
            raise GenomeError(
                f"{name}: pooling needs an input of at least {least}×{least}, but the layer before "
                f"it gives {flow.height}×{flow.width}; remove a pooling or enlarge the images"
            )
        more = self.stride - 1 if self.rounded_up else 0
        height, width = (
            (side - self.window + 2 * self.padding + more) // self.stride + 1
            for side in (flow.height, flow.width)
        )
        return flow.windowed(self.window, self.stride, height, width, flow.channels), FREE


@dataclass(frozen=True, slots=True)
class Average:
    """Averages over a grid of side × side windows, whatever comes in; 1 is over all positions."""

    side: int = 1

    @property
    def what(self) -> str:
        """See Op."""
        return "average" if self.side == 1 else f"average to {self.side}×{self.side}"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """Windows from ⌊i·W/side⌋ to ⌈(i+1)·W/side⌉, as torch's adaptive pooling has them."""
        del name
        # All of them together have seen whatever there was before.
        longest = max(self._widest(flow.height), self._widest(flow.width))
        field = flow.field + (longest - 1) * flow.jump
        whole = flow.field + (max(flow.height, flow.width) - 1) * flow.jump
        jump = max(1, flow.jump * max(flow.height, flow.width) // self.side)
        return Flow(flow.channels, self.side, self.side, field, jump, max(field, whole)), FREE

    def _widest(self, size: int) -> int:
        ends = (-(-(place + 1) * size // self.side) for place in range(self.side))
        return max(end - place * size // self.side for place, end in enumerate(ends))


@dataclass(frozen=True, slots=True)
class Flatten:
    """All values as channels of one position. Changes only how numbers are laid out."""

    @property
    def what(self) -> str:
        """See Op."""
        return "flatten"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """C·H·W channels."""
        del name
        channels = flow.channels * flow.height * flow.width
        return replace(flow, channels=channels, height=1, width=1, field=flow.whole), FREE


@dataclass(frozen=True, slots=True)
class Dropout:
    """Sets values to 0 with a probability in [0, 1) while training."""

    probability: float

    @property
    def what(self) -> str:
        """See Op."""
        return f"dropout {self.probability:g}"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """Changes no shape."""
        del name
        return flow, FREE


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with bias, on what was flattened."""

    features: int

    @property
    def what(self) -> str:
        """See Op."""
        return f"linear, {self.features}"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """(C_in + 1)·C_out parameters."""
        if (flow.height, flow.width) != (1, 1):
            raise GenomeError(
                f"{name}: a linear layer needs flat values, but the layer before it gives "
                f"{flow.channels}×{flow.height}×{flow.width}; flatten first"
            )
        weights = flow.channels * self.features
        return replace(flow, channels=self.features), Cost(weights + self.features, weights)


@dataclass(frozen=True, slots=True)
class Resize:
    """Bilinear, antialiased resizing to side × side pixels; for a network's input only."""

    side: int

    @property
    def what(self) -> str:
        """See Op."""
        return f"resize to {self.side}×{self.side}"

    def apply(self, name: str, flow: Flow) -> tuple[Flow, Cost]:
        """From here on receptive fields count pixels of the resized image."""
        del name
        return Flow(flow.channels, self.side, self.side, whole=self.side), FREE
