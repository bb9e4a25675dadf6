from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import GenomeError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Order, Pool
from search_spaces.base import SparseSpace
from search_spaces.chain import ChainSpace
from search_spaces.members import genome_of
from tests.strategies import asked_by, distributions, fixed, parameters, parameters_in

GRID = (8, 12, 16, 24, 32, 48, 64, 96, 128)


def suggest(values: dict[str, Any], side: int = 64) -> Genome:
    return ChainSpace(ImageShape(1, side, side)).suggest(fixed(values))


def convs(genome: Genome) -> tuple[ConvBlock, ...]:
    """Its blocks, all of which are plain ones."""
    blocks = tuple(block for block in genome.blocks if isinstance(block, ConvBlock))
    assert blocks == genome.blocks
    return blocks


def choose(**changes: Any) -> dict[str, Any]:
    """Parameters with all blocks alike, but for ``changes``."""
    values: dict[str, Any] = {"depth": 8}
    for number in range(1, 9):
        values |= {f"filters_level_{number}": 0, f"kernel_{number}": 3}
        values |= {f"activation_{number}": "relu", f"pool_{number}": "none"}
        values |= {f"repeats_{number}": 1}
    return values | changes


def final_side(genome: Genome, side: int) -> int:
    for block in convs(genome):
        if block.pool is not Pool.NONE:
            side //= 2
    return side


@given(parameters("chain"), st.integers(8, 224), st.integers(8, 224))
def test_suggestions_keep_to_the_stated_limits(
    values: dict[str, Any], height: int, width: int
) -> None:
    genome = ChainSpace(ImageShape(1, height, width)).suggest(fixed(values))
    assert 2 <= len(convs(genome)) <= 8
    assert len(convs(genome)) == values["depth"]
    for number, block in enumerate(convs(genome), start=1):
        assert block.filters == GRID[values[f"filters_level_{number}"]]
        assert block.kernel == values[f"kernel_{number}"]
        assert 2 <= block.kernel <= 5
        assert block.activation == values[f"activation_{number}"]
        assert block.repeats == values[f"repeats_{number}"]
        assert 1 <= block.repeats <= 2
        assert block.norm is Norm.BATCH
        assert block.pool in (Pool.NONE, values[f"pool_{number}"])
        if block.pool is not Pool.NONE:
            assert block.order is Order.POOL_BEFORE_NORM
    assert final_side(genome, min(height, width)) >= 2
    assert 0 <= genome.dropout < 1


@given(parameters("chain"), st.integers(8, 224))
def test_pooling_is_left_out_only_where_less_than_2x2_would_remain(
    values: dict[str, Any], side: int
) -> None:
    for number, block in enumerate(convs(suggest(values, side)), start=1):
        wish = Pool(values[f"pool_{number}"])
        assert block.pool is (wish if side >= 4 else Pool.NONE)
        if block.pool is not Pool.NONE:
            side //= 2


@pytest.mark.parametrize(("side", "poolings"), [(8, 2), (15, 2), (16, 3), (64, 5), (224, 6)])
def test_as_many_poolings_as_fit(side: int, poolings: int) -> None:
    genome = suggest(choose(**{f"pool_{number}": "max" for number in range(1, 9)}), side)
    pools = [block.pool for block in convs(genome)]
    assert pools == [Pool.MAX] * poolings + [Pool.NONE] * (8 - poolings)


def test_the_shorter_side_counts() -> None:
    values = choose(pool_1="max", pool_2="max", pool_3="max")
    for image in (ImageShape(1, 8, 99), ImageShape(1, 99, 8)):
        genome = ChainSpace(image).suggest(fixed(values))
        assert [block.pool for block in convs(genome)[:3]] == [Pool.MAX, Pool.MAX, Pool.NONE]


def test_what_lies_beyond_the_depth_is_ignored() -> None:
    short = choose(depth=2, filters_level_3=8, kernel_3=5, activation_8="gelu", pool_4="max")
    short |= {"repeats_5": 2}
    assert suggest(short) == suggest(choose(depth=2))
    assert suggest(short) != suggest(short | {"depth": 3})


@given(parameters("chain"), parameters("chain"), st.sampled_from(list(distributions("chain"))))
def test_every_parameter_in_use_matters(
    values: dict[str, Any], others: dict[str, Any], name: str
) -> None:
    changed = values | {name: others[name]}
    number = int(name.rpartition("_")[2]) if name != "depth" else 0
    used = changed[name] != values[name] and number <= values["depth"]
    # At 1024 pixels eight poolings still fit, so that none is left out.
    assert (suggest(values, 1024) != suggest(changed, 1024)) is used


def test_the_original_network_is_the_warm_start() -> None:
    (start,) = ChainSpace(ImageShape(1, 224, 224)).warm_starts()
    genome = suggest(start, 224)
    assert [block.filters for block in convs(genome)] == [128, 32, 32, 16, 32, 128]
    assert [block.kernel for block in convs(genome)] == [5, 2, 5, 2, 5, 2]
    relu, leaky = Activation.RELU, Activation.LEAKY_RELU
    assert [block.activation for block in convs(genome)] == [relu, leaky] * 3
    assert {block.pool for block in convs(genome)} == {Pool.MAX}
    assert {block.norm for block in convs(genome)} == {Norm.BATCH}


def test_the_choices_do_not_change_between_versions() -> None:
    """Optuna refuses to go on with a study whose choices have changed under one name."""
    asked = {name: str(value) for name, value in distributions("chain").items()}
    assert len(asked) == 1 + 8 * 5
    assert asked["depth"] == "IntDistribution(high=8, log=False, low=2, step=1)"
    for number in range(1, 9):
        assert (
            asked[f"filters_level_{number}"] == "IntDistribution(high=8, log=False, low=0, step=1)"
        )
        assert asked[f"kernel_{number}"] == "IntDistribution(high=5, log=False, low=2, step=1)"
        assert asked[f"activation_{number}"] == (
            "CategoricalDistribution(choices=('relu', 'leaky_relu', 'elu', 'gelu', 'silu'))"
        )
        assert asked[f"pool_{number}"] == (
            "CategoricalDistribution(choices=('none', 'max', 'average'))"
        )
        assert asked[f"repeats_{number}"] == "IntDistribution(high=2, log=False, low=1, step=1)"
    in_a_block = ("filters_level", "kernel", "activation", "pool", "repeats")
    assert list(asked) == ["depth", *(f"{n}_{i}" for i in range(1, 9) for n in in_a_block)]


def test_the_double_convolution_is_a_member() -> None:
    """Convolution, norm and ReLU twice, and then a pooling, as U-Net's encoder has it."""
    genome = suggest(choose(depth=2, repeats_1=2, pool_1="max", filters_level_1=4))
    names = [layer.name for layer in genome.layers(ImageShape(1, 64, 64), 2)]
    assert names[:7] == ["conv1", "norm1", "act1", "conv1_2", "pool1", "norm1_2", "act1_2"]
    assert [block.repeats for block in convs(genome)] == [2, 1]


# Other choices

NAMES = st.lists(st.sampled_from(["relu", "elu", "gelu", "tanh"]), min_size=1, unique=True)
POOLS = st.lists(st.sampled_from(list(Pool)), min_size=1, unique=True).map(
    lambda pools: tuple(map(str, pools))
)


def spans(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    pair = st.tuples(st.integers(low, high), st.integers(low, high))
    return pair.map(lambda ends: (min(ends), max(ends)))


def chains() -> st.SearchStrategy[ChainSpace]:
    rising = st.lists(st.integers(1, 300), min_size=1, max_size=4, unique=True).map(sorted)
    return st.builds(
        ChainSpace,
        st.integers(8, 64).map(lambda side: ImageShape(1, side, side)),
        spans(1, 5),
        rising.map(tuple),
        spans(1, 15),
        NAMES.map(tuple),
        POOLS,
        spans(1, 8),
        st.floats(0, 1, exclude_max=True),
    )


@given(chains(), st.data())
def test_suggestions_keep_to_the_choices(space: ChainSpace, data: st.DataObject) -> None:
    values = data.draw(parameters_in(asked_by(space)))
    genome = space.suggest(fixed(values))
    assert space.depth[0] <= len(convs(genome)) == values["depth"] <= space.depth[1]
    assert genome.dropout == space.dropout
    for block in convs(genome):
        assert block.filters in space.filters
        assert space.kernels[0] <= block.kernel <= space.kernels[1]
        assert block.activation in space.activations
        assert block.pool in (*space.pools, Pool.NONE)
        assert space.repeats[0] <= block.repeats <= space.repeats[1]
    genome.layers(space.image, 2)


@given(chains(), st.data())
def test_what_is_used_of_other_choices(space: ChainSpace, data: st.DataObject) -> None:
    """Exactly what another value can change, where there is another value."""
    assert isinstance(space, SparseSpace)
    kinds = asked_by(space)
    values, others = data.draw(parameters_in(kinds)), data.draw(parameters_in(kinds))
    places = {
        name: np.array([kinds[name].to_internal_repr(value)], np.float64)
        for name, value in values.items()
    }
    genome = space.suggest(fixed(values))
    used = space.used(places)
    assert set(used) == set(values) - {"depth"}
    for name, told in used.items():
        changed = values | {name: others[name]}
        if changed != values:
            assert (space.suggest(fixed(changed)) != genome) is bool(told[0]), name


@given(chains())
def test_warm_starts_of_other_choices_are_members_or_left_out(space: ChainSpace) -> None:
    for start in space.warm_starts():
        assert list(start) == list(asked_by(space))
        assert genome_of(space, start) is not None


@pytest.mark.parametrize(
    ("choices", "there"),
    [
        ({"depth": (6, 6)}, True),
        ({"filters": (16, 32, 128)}, True),
        ({"activations": ("leaky_relu", "relu"), "pools": ("max",)}, True),
        ({"depth": (2, 5)}, False),
        ({"depth": (7, 8)}, False),
        ({"filters": (16, 32)}, False),
        ({"kernels": (3, 5)}, False),
        ({"activations": ("relu",)}, False),
        ({"pools": ("none", "average")}, False),
        ({"repeats": (2, 2)}, False),
    ],
)
def test_the_original_network_is_left_out_where_it_is_no_member(
    choices: dict[str, Any], there: bool
) -> None:
    image = ImageShape(1, 64, 64)
    narrow = ChainSpace(image, **choices)
    assert bool(narrow.warm_starts()) is there
    for start in narrow.warm_starts():
        (usual,) = ChainSpace(image).warm_starts()
        assert narrow.suggest(fixed(start)) == suggest(usual)


def test_spaces_of_equal_choices_are_equal() -> None:
    image = ImageShape(1, 64, 64)
    assert ChainSpace(image) == ChainSpace(image, depth=(2, 8))
    assert ChainSpace(image) != ChainSpace(image, depth=(2, 7))
    assert hash(ChainSpace(image)) == hash(ChainSpace(image))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"depth": (0, 2)}, "depth must be two whole numbers from 1 to 64, the lower first, but is"
         " (0, 2); choose two in that range"),
        ({"depth": (5, 2)}, "depth must be two whole numbers"),
        ({"depth": (2, 65)}, "depth must be two whole numbers"),
        ({"depth": 3}, "the lower first, but is 3;"),
        ({"depth": (2, 3, 4)}, "depth must be two whole numbers"),
        ({"depth": (2, 3.0)}, "depth must be two whole numbers"),
        ({"depth": (True, 3)}, "depth must be two whole numbers"),
        ({"filters": ()}, "filters must be a list of 1 to 32 choices, but is ()"),
        ({"filters": (8, 8)}, "filters must rise"),
        ({"filters": (16, 8)}, "filters must rise"),
        ({"filters": (8, 5000)}, "each of filters must be a whole number from 1 to 4096"),
        ({"filters": "8"}, "filters must be a list"),
        ({"kernels": (3, 16)}, "kernels must be two whole numbers from 1 to 15"),
        ({"activations": ()}, "activations must be a list of 1 to 32 choices, but is ()"),
        ({"activations": ("mish",)}, "activations must be different ones of relu, leaky_relu"),
        ({"activations": ("relu", "relu")}, "activations must be different ones of"),
        ({"pools": ("min",)}, "pools must be different ones of none, max, average, but are"),
        ({"repeats": (0, 1)}, "repeats must be two whole numbers from 1 to 8"),
        ({"dropout": 1.0}, "dropout must be a number in [0, 1), but is 1.0"),
        ({"dropout": float("nan")}, "dropout must be a number"),
        ({"dropout": True}, "dropout must be a number"),
    ],
)  # fmt: skip
def test_choices_outside_their_rules_are_refused(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(GenomeError) as caught:
        ChainSpace(ImageShape(1, 64, 64), **choices)
    assert str(caught.value).startswith("chain: ")
    assert words in str(caught.value)
