"""The genome: what a network is, as a value, with its own arithmetic.

A genome is frozen, valid by construction and independent of torch: it knows the output shape,
parameters, multiply-adds and receptive field of every layer without building anything. Two genomes
that build the same network are equal and have the same key.
"""

from nas.genome.backbones import BackboneBlock, BackboneName, Weights
from nas.genome.cell import CellsBlock
from nas.genome.conv import MAX_FILTERS, MAX_KERNEL, POOL_WINDOW, ConvBlock
from nas.genome.genome import BLOCKS, FORMAT, MAX_BLOCKS, AnyBlock, Genome
from nas.genome.kinds import Activation, Norm, Order, Pool
from nas.genome.mobile import InvertedBlock
from nas.genome.nodes import LayerInfo
from nas.genome.ops import ImageShape
from nas.genome.residual import ResidualBlock

__all__ = [
    "BLOCKS",
    "FORMAT",
    "MAX_BLOCKS",
    "MAX_FILTERS",
    "MAX_KERNEL",
    "POOL_WINDOW",
    "Activation",
    "AnyBlock",
    "BackboneBlock",
    "BackboneName",
    "CellsBlock",
    "ConvBlock",
    "Genome",
    "ImageShape",
    "InvertedBlock",
    "LayerInfo",
    "Norm",
    "Order",
    "Pool",
    "ResidualBlock",
    "Weights",
]
