"""Published networks that are used with or without ImageNet weights, in our own operations.

Their tensors have the order of the original's state_dict, so weights are taken over one by one (see
nas.pretrained); arithmetic, bundles and servers need no other library.

resnet18             He et al. 2016, arXiv:1512.03385, as in torchvision
densenet121          Huang et al. 2017, arXiv:1608.06993, as in torchvision
mobilenet_v3_small   Howard et al. 2019, arXiv:1905.02244, as in torchvision
efficientnet_lite0   Tan and Le 2019, arXiv:1905.11946; lite0 as in tensorflow/tpu
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from nas.errors import GenomeError
from nas.genome.fields import check_fields, fields_json, one_of, whole
from nas.genome.kinds import Activation, Pool
from nas.genome.mobile import inverted
from nas.genome.nodes import Chain, Layer, Node, Stack
from nas.genome.ops import Act, BatchNorm, Conv, PoolOp, Resize, SameAsTensorFlow
from nas.genome.residual import residual, squeeze

RELU, HARD_SWISH, RELU6 = Activation.RELU, Activation.HARD_SWISH, Activation.RELU6


class BackboneName(StrEnum):
    """Which network; members are only ever added."""

    RESNET18 = "resnet18"
    DENSENET121 = "densenet121"
    MOBILENET_V3_SMALL = "mobilenet_v3_small"
    EFFICIENTNET_LITE0 = "efficientnet_lite0"


class Weights(StrEnum):
    """What a network begins with; members are only ever added."""

    NONE = "none"
    IMAGENET = "imagenet"


Stages = tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class BackboneBlock:
    """A published network without its head.

    Attributes:
        name: which.
        weights: random, or learnt on ImageNet; then it must be a genome's first block.
        frozen: so many stages, from the input, keep their weights; 0 trains all of it.
        side: pixels a side to which images are resized first; 0 leaves them as they are.
    """

    kind: ClassVar[str] = "backbone"

    name: BackboneName = one_of(BackboneName)
    weights: Weights = one_of(Weights, Weights.NONE)
    frozen: int = whole(0, 8, 0)
    side: int = whole(0, 1024, 0)

    def __post_init__(self) -> None:
        check_fields(self)
        count = self.stages_of(self.name)
        if self.frozen > count:
            raise GenomeError(
                f"backbone: frozen must be at most {count}, the stages of {self.name}, but is "
                f"{self.frozen}; lower it"
            )
        if self.frozen and self.weights is Weights.NONE:
            raise GenomeError(
                f"backbone: stages without weights must be trained, but {self.frozen} are frozen; "
                "set frozen to 0, or weights to imagenet"
            )
        if 0 < self.side < 32:
            raise GenomeError(
                f"backbone: side must be 0 or at least 32, but is {self.side}; networks halve it "
                "five times"
            )

    @staticmethod
    def stages_of(name: BackboneName) -> int:
        """How many stages a network has, its stem among them."""
        return len(STAGES[name]())

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """See Block."""
        del channels
        resize = (Layer("resize", Resize(self.side)),) if self.side else ()
        stages = [
            Chain(f"stage{place}", nodes, frozen=place <= self.frozen)
            for place, nodes in enumerate(STAGES[self.name](), start=1)
        ]
        return (Chain(f"backbone{number}", (*resize, *stages)),)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the block's kind."""
        return fields_json(self)


def _stem(filters: int) -> tuple[Node, ...]:
    return (
        Layer("conv", Conv(filters, 7, 2)),
        Layer("norm", BatchNorm()),
        Layer("act", Act(RELU)),
        Layer("pool", PoolOp(Pool.MAX, 3, 2, 1)),
    )


def _resnet18() -> Stages:
    stages: list[tuple[Node, ...]] = [_stem(64)]
    channels = 64
    for filters in (64, 128, 256, 512):
        blocks = []
        for place in (1, 2):
            stride = 2 if place == 1 and filters > 64 else 1
            main = (
                Layer("conv1", Conv(filters, 3, stride)),
                Layer("norm1", BatchNorm()),
                Layer("act1", Act(RELU)),
                Layer("conv2", Conv(filters, 3)),
                Layer("norm2", BatchNorm()),
            )
            blocks.append(residual(f"residual{place}", main, channels, filters, stride, RELU))
            channels = filters
        stages.append(tuple(blocks))
    return tuple(stages)


def _densenet121() -> Stages:
    growth, channels = 32, 64
    stages: list[tuple[Node, ...]] = [_stem(channels)]
    for place, layers in enumerate((6, 12, 24, 16), start=1):
        nodes: list[Node] = []
        for number in range(1, layers + 1):
            body = (
                Layer("norm1", BatchNorm()),
                Layer("act1", Act(RELU)),
                Layer("conv1", Conv(4 * growth, 1)),
                Layer("norm2", BatchNorm()),
                Layer("act2", Act(RELU)),
                Layer("conv2", Conv(growth, 3)),
            )
            nodes.append(Stack(f"dense{number}", Chain("body", body)))
            channels += growth
        nodes.append(Layer("norm", BatchNorm()))
        nodes.append(Layer("act", Act(RELU)))
        if place < 4:
            channels //= 2
            nodes.append(Layer("conv", Conv(channels, 1)))
            nodes.append(Layer("pool", PoolOp(Pool.AVERAGE, 2, 2)))
        stages.append(tuple(nodes))
    return tuple(stages)


# Kernel, channels in the middle and out, squeeze and excitation, hard swish, stride: table 2.
_MOBILENET_V3_SMALL = (
    ((3, 16, 16, True, False, 2),),
    ((3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1)),
    ((5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1)),
    ((5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1)),
    ((5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1)),
)


def _mobilenet_v3_small() -> Stages:
    norm = BatchNorm(1e-3)
    stages = [_conv_norm_act(Conv(16, 3, 2), norm, HARD_SWISH)]
    channels = 16
    for rows in _MOBILENET_V3_SMALL:
        nodes: list[Node] = []
        for place, (kernel, middle, filters, squeezed, swish, stride) in enumerate(rows, start=1):
            # A quarter, rounded to a multiple of 8 that is not below nine tenths of it.
            inner = max(8, (middle // 4 + 4) // 8 * 8)
            inner += 8 if inner < 0.9 * (middle // 4) else 0
            gate = squeeze("gate", middle, RELU, Activation.HARD_SIGMOID, inner)
            nodes += inverted(
                f"inverted{place}",
                channels,
                middle,
                filters,
                kernel,
                stride,
                HARD_SWISH if swish else RELU,
                gate=(gate,) if squeezed else (),
                norm=norm,
            )
            channels = filters
        stages.append(tuple(nodes))
    stages.append(_conv_norm_act(Conv(576, 1), norm, HARD_SWISH))
    return tuple(stages)


# Blocks, kernel, stride, expansion, filters: of EfficientNet-B0 (table 1), which lite0 keeps.
_LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _efficientnet_lite0() -> Stages:
    norm, padding = BatchNorm(1e-3), SameAsTensorFlow()
    stages = [_conv_norm_act(Conv(32, 3, 2, padding), norm, RELU6)]
    channels = 32
    for blocks, kernel, stride, expansion, filters in _LITE0:
        nodes: list[Node] = []
        for place in range(1, blocks + 1):
            nodes += inverted(
                f"inverted{place}",
                channels,
                expansion * channels,
                filters,
                kernel,
                stride if place == 1 else 1,
                RELU6,
                norm=norm,
                padding=padding,
            )
            channels = filters
        stages.append(tuple(nodes))
    # As in the paper the last 1×1 convolution belongs to the last stage.
    stages[-1] = (*stages[-1], *_conv_norm_act(Conv(1280, 1), norm, RELU6))
    return tuple(stages)


def _conv_norm_act(conv: Conv, norm: BatchNorm, activation: Activation) -> tuple[Node, ...]:
    return (Layer("conv", conv), Layer("norm", norm), Layer("act", Act(activation)))


STAGES: Mapping[BackboneName, Callable[[], Stages]] = {
    BackboneName.RESNET18: _resnet18,
    BackboneName.DENSENET121: _densenet121,
    BackboneName.MOBILENET_V3_SMALL: _mobilenet_v3_small,
    BackboneName.EFFICIENTNET_LITE0: _efficientnet_lite0,
}
