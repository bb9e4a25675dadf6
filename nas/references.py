"""Published networks, and those that this project grew from, as genomes.

They are trained by the same trainer as what a search finds, so figures compare; see
``python -m nas.baselines compare``. Heads average over the grid that the network has on its own
image size, so any other size fits as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nas.genome import (
    Activation,
    BackboneBlock,
    BackboneName,
    ConvBlock,
    Genome,
    ImageShape,
    Norm,
    Order,
    Pool,
    Weights,
)

VALID = 0
"""No padding, in pixels."""

GENTLE = 3e-4
"""Peak learning rate of large networks without a norm, which the usual one of 3e-3 breaks."""

ORIGINAL_FILTERS = (128, 32, 32, 16, 32, 128)
ORIGINAL_KERNELS = (5, 2, 5, 2, 5, 2)
ORIGINAL_ACTIVATIONS = (Activation.RELU, Activation.LEAKY_RELU) * 3
ORIGINAL_POOLS = 5
"""Poolings of the six-layer network: so many fit images of 32 pixels a side."""


@dataclass(frozen=True)
class Reference:
    """A network that is known.

    Attributes:
        genome: the network.
        image: what it was published for.
        classes: likewise.
        source: where it comes from, and what is not known of it.
        parameters: its published number of trainable numbers, with ``image`` and ``classes``.
        learning_rate: peak; None is the recipe's own.
    """

    genome: Genome
    image: ImageShape
    classes: int
    source: str
    parameters: int | None = None
    learning_rate: float | None = None


def _lenet5() -> Genome:
    blocks = tuple(
        ConvBlock(count, 5, Activation.TANH, Pool.AVERAGE, Norm.NONE, padding=VALID)
        for count in (6, 16)
    )
    return Genome(blocks, hidden=(120, 84), grid=5, hidden_activation=Activation.TANH)


def _alexnet() -> Genome:
    blocks = (
        ConvBlock(64, 11, pool=Pool.MAX, norm=Norm.NONE, stride=4, padding=2, pool_window=3),
        ConvBlock(192, 5, pool=Pool.MAX, norm=Norm.NONE, pool_window=3),
        ConvBlock(384, 3, norm=Norm.NONE),
        ConvBlock(256, 3, norm=Norm.NONE),
        ConvBlock(256, 3, pool=Pool.MAX, norm=Norm.NONE, pool_window=3),
    )
    return Genome(blocks, 0.5, hidden=(4096, 4096), grid=6)


def _vgg(repeats: tuple[int, ...]) -> Genome:
    blocks = tuple(
        ConvBlock(count, 3, pool=Pool.MAX, norm=Norm.NONE, repeats=times)
        for count, times in zip((64, 128, 256, 512, 512), repeats, strict=True)
    )
    return Genome(blocks, 0.5, hidden=(4096, 4096), grid=7)


def _original() -> Genome:
    rows = zip(ORIGINAL_FILTERS, ORIGINAL_KERNELS, ORIGINAL_ACTIVATIONS, strict=True)
    blocks = tuple(
        ConvBlock(
            filters,
            kernel,
            activation,
            Pool.MAX if place < ORIGINAL_POOLS else Pool.NONE,
            order=Order.POOL_LAST,
        )
        for place, (filters, kernel, activation) in enumerate(rows)
    )
    return Genome(blocks)


def _small() -> Genome:
    return Genome(
        tuple(
            ConvBlock(count, 2, pool=Pool.MAX, norm=Norm.NONE, padding=VALID)
            for count in (16, 32, 64)
        )
    )


def _mnist_cnn() -> Genome:
    blocks = tuple(
        ConvBlock(count, 3, pool=Pool.MAX, norm=Norm.NONE, padding=VALID) for count in (32, 64)
    )
    return Genome(blocks, 0.5, grid=5)


def _cifar10_cnn() -> Genome:
    blocks = (
        ConvBlock(32, 3, pool=Pool.MAX, norm=Norm.NONE, padding=VALID),
        ConvBlock(64, 3, pool=Pool.MAX, norm=Norm.NONE, padding=VALID),
        ConvBlock(64, 3, norm=Norm.NONE, padding=VALID),
    )
    return Genome(blocks, hidden=(64,), grid=4)


def _transfer(name: BackboneName) -> Genome:
    """All of it frozen, and a linear head."""
    return Genome((BackboneBlock(name, Weights.IMAGENET, BackboneBlock.stages_of(name)),))


MNIST, CIFAR, IMAGENET = ImageShape(1, 28, 28), ImageShape(3, 32, 32), ImageShape(3, 224, 224)

REFERENCES: Mapping[str, Reference] = {
    "lenet5": Reference(
        _lenet5(),
        ImageShape(1, 32, 32),
        10,
        "LeCun et al. 1998, Proceedings of the IEEE 86:2278; with every map seen by the second "
        "convolution, plain averaging, and a linear output",
        61_706,
    ),
    "alexnet": Reference(
        _alexnet(),
        IMAGENET,
        1000,
        "Krizhevsky 2014, arXiv:1404.5997, as in torchvision",
        61_100_840,
        GENTLE,
    ),
    "vgg11": Reference(
        _vgg((1, 1, 2, 2, 2)),
        IMAGENET,
        1000,
        "Simonyan and Zisserman 2015, arXiv:1409.1556, as in torchvision",
        132_863_336,
        GENTLE,
    ),
    "vgg16": Reference(
        _vgg((2, 2, 3, 3, 3)),
        IMAGENET,
        1000,
        "Simonyan and Zisserman 2015, arXiv:1409.1556, as in torchvision",
        138_357_544,
        GENTLE,
    ),
    "original": Reference(
        _original(),
        ImageShape(1, 64, 64),
        2,
        "the network that this project grew from: six convolutions of 128, 32, 32, 16, 32 and 128 "
        "filters, kernels 2 and 5, batch norm, ReLU and LeakyReLU, pooling; which block has which "
        "kernel and activation is not known, they alternate here",
    ),
    "small": Reference(
        _small(),
        ImageShape(1, 64, 64),
        2,
        "Conv2d of 1, 16, 32 and 64 channels with kernel 2 from the same project; ReLU, max "
        "pooling and the averaging head are assumed",
    ),
    "mnist_cnn": Reference(
        _mnist_cnn(),
        MNIST,
        10,
        "the MNIST network of the Keras examples (Simple MNIST convnet), assumed to be the "
        "project's own",
        34_826,
    ),
    "cifar10_cnn": Reference(
        _cifar10_cnn(),
        CIFAR,
        10,
        "the CIFAR-10 network of the TensorFlow tutorial (Convolutional Neural Network), assumed "
        "to be the project's own",
        122_570,
    ),
    "resnet18": Reference(
        Genome((BackboneBlock(BackboneName.RESNET18),)),
        IMAGENET,
        1000,
        "He et al. 2016, arXiv:1512.03385, as in torchvision; from random weights",
        11_689_512,
    ),
    "resnet18_transfer": Reference(
        _transfer(BackboneName.RESNET18),
        IMAGENET,
        1000,
        "the same with ImageNet weights, frozen, and a linear head",
        11_689_512,
    ),
    "densenet121": Reference(
        Genome((BackboneBlock(BackboneName.DENSENET121),)),
        IMAGENET,
        1000,
        "Huang et al. 2017, arXiv:1608.06993, as in torchvision; from random weights",
        7_978_856,
    ),
    "densenet121_transfer": Reference(
        _transfer(BackboneName.DENSENET121),
        IMAGENET,
        1000,
        "Huang et al. 2017, arXiv:1608.06993, with torchvision's ImageNet weights, frozen, and a "
        "linear head",
        7_978_856,
    ),
    "lite0_transfer": Reference(
        _transfer(BackboneName.EFFICIENTNET_LITE0),
        IMAGENET,
        1000,
        "Tan and Le 2019, arXiv:1905.11946, lite0 with its ImageNet weights, frozen, and a linear "
        "head",
        4_652_008,
    ),
}
"""By name; only ever added to."""
