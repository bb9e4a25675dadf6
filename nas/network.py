"""Genome -> torch.nn.Module.

Modules carry the names that ``Genome.layers`` gives them, so that a layer table, a hook and a
state_dict speak of the same thing.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from nas.genome import POOL_WINDOW, Activation, ConvBlock, Genome, ImageShape, Norm, Pool

LEAKY_SLOPE = 0.01
"""Slope of LeakyReLU below zero; torch's default, named because a bundle depends on it."""

ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {
    # In place where the backward pass can be computed from the output: a copy less per layer.
    Activation.RELU: lambda: nn.ReLU(inplace=True),
    Activation.LEAKY_RELU: lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    Activation.ELU: lambda: nn.ELU(inplace=True),
    Activation.GELU: nn.GELU,
    Activation.SILU: nn.SiLU,
}

POOLS: Mapping[Pool, Callable[[], nn.Module]] = {
    Pool.MAX: lambda: nn.MaxPool2d(POOL_WINDOW),
    Pool.AVERAGE: lambda: nn.AvgPool2d(POOL_WINDOW),
}


class SameConv2d(nn.Conv2d):
    """Convolution with stride 1 whose output is exactly as large as its input.

    For an even kernel the padding is uneven, one pixel more at the bottom and right. It is done by
    hand: torch's ``padding="same"`` does the same at the same speed, but warns about the copy.
    """

    def __init__(self, channels: int, filters: int, kernel: int, *, bias: bool) -> None:
        even = kernel % 2 == 0
        super().__init__(channels, filters, kernel, padding=0 if even else kernel // 2, bias=bias)
        before, after = (kernel - 1) // 2, kernel // 2
        self._pad = (before, after, before, after) if even else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) floats to (N, filters, H, W)."""
        if self._pad is not None:
            images = functional.pad(images, self._pad)
        return super().forward(images)


def build(genome: Genome, image: ImageShape, classes: int) -> nn.Sequential:
    """The network of a genome, with torch's default initial weights from the global generator.

    Args:
        genome: what to build.
        image: shape of its input, (channels, height, width).
        classes: number of outputs, at least 2.

    Returns:
        A module from (N, channels, height, width) floats to (N, classes) logits. It ends in global
        average pooling, so other heights and widths pass as long as pooling leaves a pixel.

    Raises:
        GenomeError: the genome does not fit the image.
    """
    genome.layers(image, classes)  # refuses what cannot be built, with a message that names it
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels = image.channels
    for number, block in enumerate(genome.blocks, start=1):
        for step in block.steps:
            modules[f"{step}{number}"] = _layer(step, block, channels)
        channels = block.filters
    modules["average"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["dropout"] = nn.Dropout(genome.dropout)
    modules["linear"] = nn.Linear(channels, classes)
    return nn.Sequential(modules)


def _layer(step: str, block: ConvBlock, channels: int) -> nn.Module:
    if step == "conv":
        bias = block.norm is Norm.NONE
        return SameConv2d(channels, block.filters, block.kernel, bias=bias)
    if step == "norm":
        return nn.BatchNorm2d(block.filters)
    if step == "act":
        return ACTIVATIONS[block.activation]()
    return POOLS[block.pool]()
