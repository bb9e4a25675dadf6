"""Hypothesis strategies for genomes, images that they fit, and parameters of search spaces."""

from functools import cache
from typing import Any, cast

import optuna
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Order, Pool
from search_spaces import SPACES


def blocks(max_filters: int = 12, max_kernel: int = 7) -> st.SearchStrategy[ConvBlock]:
    return st.builds(
        ConvBlock,
        filters=st.integers(1, max_filters),
        kernel=st.integers(1, max_kernel),
        activation=st.sampled_from(Activation),
        pool=st.sampled_from(Pool),
        norm=st.sampled_from(Norm),
        order=st.sampled_from(Order),
    )


def genomes(max_blocks: int = 5) -> st.SearchStrategy[Genome]:
    """Any genome of the language, small enough to be built in milliseconds."""
    return st.builds(
        Genome,
        st.lists(blocks(), min_size=1, max_size=max_blocks).map(tuple),
        st.sampled_from([0.0, 0.2]) | st.floats(0, 1, exclude_max=True),
    )


def pools(genome: Genome) -> int:
    return sum(block.pool is not Pool.NONE for block in genome.blocks)


@st.composite
def shapes_for(draw: st.DrawFn, genome: Genome) -> ImageShape:
    """An image that the genome fits, often the smallest; height and width differ and may be odd."""
    smallest = 2 ** pools(genome)
    sides = st.integers(smallest, smallest + 9)
    return ImageShape(draw(st.sampled_from([1, 3])), draw(sides), draw(sides))


@st.composite
def fitting(draw: st.DrawFn) -> tuple[Genome, ImageShape, int]:
    """Any genome of the language, an image for it, and a number of classes."""
    genome = draw(genomes())
    return genome, draw(shapes_for(genome)), draw(st.integers(2, 5))


def fixed(parameters: dict[str, Any]) -> optuna.Trial:
    """A trial that suggests just these."""
    return cast(optuna.Trial, FixedTrial(parameters))  # as Optuna's documentation recommends


@cache
def distributions(name: str) -> dict[str, BaseDistribution]:
    """What a space asks of a trial; it asks the same for all images (see the contract tests)."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    SPACES[name](ImageShape(1, 64, 64)).suggest(trial)
    return trial.distributions


def parameters(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values for every parameter of a space."""
    return st.fixed_dictionaries({key: _values(d) for key, d in distributions(name).items()})


def _values(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    if isinstance(distribution, IntDistribution):
        return st.sampled_from(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution):
        return st.floats(distribution.low, distribution.high)
    assert isinstance(distribution, CategoricalDistribution)
    return st.sampled_from(distribution.choices)


@st.composite
def members(draw: st.DrawFn, name: str = "chain") -> tuple[Genome, ImageShape, int]:
    """A genome of a space for an image of 8 to 20 pixels a side, and a number of classes."""
    sides = st.integers(8, 20)
    image = ImageShape(draw(st.sampled_from([1, 3])), draw(sides), draw(sides))
    genome = SPACES[name](image).suggest(fixed(draw(parameters(name))))
    return genome, image, draw(st.integers(2, 5))
