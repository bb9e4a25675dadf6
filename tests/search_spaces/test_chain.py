from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.genome import Activation, Genome, ImageShape, Norm, Order, Pool
from search_spaces.chain import ChainSpace
from tests.strategies import distributions, fixed, parameters

GRID = (8, 12, 16, 24, 32, 48, 64, 96, 128)


def suggest(values: dict[str, Any], side: int = 64) -> Genome:
    return ChainSpace(ImageShape(1, side, side)).suggest(fixed(values))


def choose(**changes: Any) -> dict[str, Any]:
    """Parameters with all blocks alike, but for ``changes``."""
    values: dict[str, Any] = {"depth": 8}
    for number in range(1, 9):
        values |= {f"filters_level_{number}": 0, f"kernel_{number}": 3}
        values |= {f"activation_{number}": "relu", f"pool_{number}": "none"}
    return values | changes


def final_side(genome: Genome, side: int) -> int:
    for block in genome.blocks:
        if block.pool is not Pool.NONE:
            side //= 2
    return side


@given(parameters("chain"), st.integers(8, 224), st.integers(8, 224))
def test_suggestions_keep_to_the_stated_limits(
    values: dict[str, Any], height: int, width: int
) -> None:
    genome = ChainSpace(ImageShape(1, height, width)).suggest(fixed(values))
    assert 2 <= len(genome.blocks) <= 8
    assert len(genome.blocks) == values["depth"]
    for number, block in enumerate(genome.blocks, start=1):
        assert block.filters == GRID[values[f"filters_level_{number}"]]
        assert block.kernel == values[f"kernel_{number}"]
        assert 2 <= block.kernel <= 5
        assert block.activation == values[f"activation_{number}"]
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
    for number, block in enumerate(suggest(values, side).blocks, start=1):
        wish = Pool(values[f"pool_{number}"])
        assert block.pool is (wish if side >= 4 else Pool.NONE)
        if block.pool is not Pool.NONE:
            side //= 2


@pytest.mark.parametrize(("side", "poolings"), [(8, 2), (15, 2), (16, 3), (64, 5), (224, 6)])
def test_as_many_poolings_as_fit(side: int, poolings: int) -> None:
    genome = suggest(choose(**{f"pool_{number}": "max" for number in range(1, 9)}), side)
    pools = [block.pool for block in genome.blocks]
    assert pools == [Pool.MAX] * poolings + [Pool.NONE] * (8 - poolings)


def test_the_shorter_side_counts() -> None:
    values = choose(pool_1="max", pool_2="max", pool_3="max")
    for image in (ImageShape(1, 8, 99), ImageShape(1, 99, 8)):
        genome = ChainSpace(image).suggest(fixed(values))
        assert [block.pool for block in genome.blocks[:3]] == [Pool.MAX, Pool.MAX, Pool.NONE]


def test_what_lies_beyond_the_depth_is_ignored() -> None:
    short = choose(depth=2, filters_level_3=8, kernel_3=5, activation_8="gelu", pool_4="max")
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
    assert [block.filters for block in genome.blocks] == [128, 32, 32, 16, 32, 128]
    assert [block.kernel for block in genome.blocks] == [5, 2, 5, 2, 5, 2]
    relu, leaky = Activation.RELU, Activation.LEAKY_RELU
    assert [block.activation for block in genome.blocks] == [relu, leaky] * 3
    assert {block.pool for block in genome.blocks} == {Pool.MAX}
    assert {block.norm for block in genome.blocks} == {Norm.BATCH}


def test_the_choices_do_not_change_between_versions() -> None:
    """Optuna refuses to go on with a study whose choices have changed under one name."""
    asked = {name: str(value) for name, value in distributions("chain").items()}
    assert len(asked) == 1 + 8 * 4
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
