"""Hypothesis strategies for genomes, images that they fit, and parameters of search spaces."""

from functools import cache
from typing import Any, cast

import optuna
from hypothesis import assume
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from nas.errors import GenomeError
from nas.genome import (
    Activation,
    AnyBlock,
    CellsBlock,
    ConvBlock,
    Genome,
    ImageShape,
    InvertedBlock,
    Norm,
    Order,
    Pool,
    ResidualBlock,
)
from nas.genome.cell import canonical
from search_spaces import SPACES, Space


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


def codes() -> st.SearchStrategy[str]:
    """Cells of NAS-Bench-201 whose output sees the input."""
    digits = st.lists(st.sampled_from("01234"), min_size=6, max_size=6).map("".join)
    return digits.filter(lambda code: canonical(code) is not None)


def any_blocks() -> st.SearchStrategy[AnyBlock]:
    """Every kind but backbones, which are large; all of them fit any image that conv blocks fit."""
    filters, kernels, strides = st.integers(1, 8), st.integers(1, 5), st.sampled_from([1, 2])
    activations, repeats = st.sampled_from(Activation), st.sampled_from([1, 1, 2])
    return st.one_of(
        st.builds(
            ConvBlock,
            filters,
            kernels,
            activations,
            norm=st.sampled_from(Norm),
            repeats=repeats,
            stride=strides,
            padding=st.just(-1),
            pool=st.sampled_from(Pool),
            pool_window=st.just(2),
        ),
        st.builds(
            ResidualBlock,
            filters,
            kernels,
            activations,
            strides,
            st.booleans(),
            st.booleans(),
            repeats,
        ),
        st.builds(
            InvertedBlock,
            filters,
            kernels,
            st.integers(1, 3),
            activations,
            strides,
            st.booleans(),
            repeats,
        ),
        st.builds(CellsBlock, codes(), st.integers(1, 4), st.just(1), st.integers(1, 2), strides),
    )


@st.composite
def any_fitting(draw: st.DrawFn) -> tuple[Genome, ImageShape, int]:
    """A genome of any blocks and head, an image for it, and a number of classes."""
    genome = Genome(
        draw(st.lists(any_blocks(), min_size=1, max_size=3).map(tuple)),
        draw(st.sampled_from([0.0, 0.2])),
        draw(st.sampled_from([(), (), (5,), (4, 3)])),
        draw(st.sampled_from([1, 1, 2, 3])),
        draw(st.sampled_from(Activation)),
    )
    side = st.integers(17, 26)  # at most three blocks that halve, and three strides: 2 pixels left
    shape = ImageShape(draw(st.sampled_from([1, 3])), draw(side), draw(side))
    try:
        genome.layers(shape, 2)
    except GenomeError:  # pooled away
        assume(False)
    return genome, shape, draw(st.integers(2, 5))


def conv_blocks(genome: Genome) -> tuple[ConvBlock, ...]:
    """The blocks of a genome that has no others."""
    found = tuple(block for block in genome.blocks if isinstance(block, ConvBlock))
    assert len(found) == len(genome.blocks)
    return found


def pools(genome: Genome) -> int:
    return sum(block.pool is not Pool.NONE for block in conv_blocks(genome))


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


def asked_by(space: Space) -> dict[str, BaseDistribution]:
    """What a space asks of a trial."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    space.suggest(trial)
    return trial.distributions


@cache
def distributions(name: str) -> dict[str, BaseDistribution]:
    """What a space of SPACES asks; it asks the same for all images (see the contract tests)."""
    return asked_by(SPACES[name](ImageShape(1, 64, 64)))


def parameters(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values for every parameter of a space of SPACES."""
    return parameters_in(distributions(name))


def parameters_in(kinds: dict[str, BaseDistribution]) -> st.SearchStrategy[dict[str, Any]]:
    """A value of each distribution."""
    return st.fixed_dictionaries({key: _values(kind) for key, kind in kinds.items()})


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
