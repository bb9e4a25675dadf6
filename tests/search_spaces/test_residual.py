from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import GenomeError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Order, Pool, ResidualBlock
from search_spaces.residual import ResidualSpace
from tests.search_spaces.counting import members
from tests.strategies import distributions, fixed, parameters

GRID = (8, 12, 16, 24, 32, 48, 64, 96, 128)
SPACE = ResidualSpace(ImageShape(1, 64, 64))


def choose(**changes: Any) -> dict[str, Any]:
    """Parameters with all stages alike, but for ``changes``."""
    values: dict[str, Any] = {"stages": 4, "activation": "relu", "stem_halvings": 1}
    values["stem_level"] = 2
    for number in range(1, 5):
        values |= {f"blocks_{number}": 1, f"filters_level_{number}": 0, f"kernel_{number}": 3}
        values |= {f"kind_{number}": "basic", f"gate_{number}": "none"}
    return values | changes


def residual(genome: Genome) -> list[ResidualBlock]:
    found = [block for block in genome.blocks[1:] if isinstance(block, ResidualBlock)]
    assert len(found) == len(genome.blocks) - 1
    return found


@given(parameters("residual"), st.integers(8, 224), st.integers(8, 224))
def test_suggestions_keep_to_the_stated_limits(
    values: dict[str, Any], height: int, width: int
) -> None:
    image = ImageShape(1, height, width)
    genome = ResidualSpace(image).suggest(fixed(values))
    stages = residual(genome)
    assert 2 <= len(stages) == values["stages"] <= 4
    for number, stage in enumerate(stages, start=1):
        assert stage.repeats == values[f"blocks_{number}"] in (1, 2, 3)
        assert stage.filters == GRID[values[f"filters_level_{number}"]]
        assert stage.kernel == values[f"kernel_{number}"]
        assert 2 <= stage.kernel <= 5
        assert stage.bottleneck is (values[f"kind_{number}"] == "bottleneck")
        assert stage.squeeze is (values[f"gate_{number}"] == "squeeze")
        assert stage.activation == values["activation"]
        assert stage.stride == 1 or number > 1
    stem = genome.blocks[0]
    assert isinstance(stem, ConvBlock)
    assert stem.filters == GRID[values["stem_level"]]
    last = next(x for x in reversed(genome.layers(image, 2)) if x.shape[1:] != (1, 1))
    assert min(last.shape[1:]) >= 2


def test_stems() -> None:
    stems = [SPACE.suggest(fixed(choose(stem_halvings=n))).blocks[0] for n in range(3)]
    assert stems == [
        ConvBlock(16, 3),
        ConvBlock(16, 3, stride=2),
        ConvBlock(16, 3, pool=Pool.MAX, order=Order.POOL_BEFORE_NORM, stride=2),
    ]


@pytest.mark.parametrize(
    ("side", "halvings", "strides"),
    [
        (8, 0, [1, 2, 2, 1]),
        (8, 2, [1, 1, 1, 1]),
        (9, 0, [1, 2, 2, 2]),  # 9, 5, 3, 2
        (11, 2, [1, 2, 1, 1]),  # 6, 3, 2
        (64, 1, [1, 2, 2, 2]),
    ],
)
def test_strides_are_left_out_only_where_less_than_2x2_would_remain(
    side: int, halvings: int, strides: list[int]
) -> None:
    for image in (ImageShape(1, side, 99), ImageShape(1, 99, side)):
        genome = ResidualSpace(image).suggest(fixed(choose(stem_halvings=halvings)))
        assert [stage.stride for stage in residual(genome)] == strides


def test_the_first_choice_is_a_quarter_of_resnet_18() -> None:
    first, other = (SPACE.suggest(fixed(start)) for start in SPACE.warm_starts())
    stages = [
        ResidualBlock(filters, 3, Activation.RELU, stride, repeats=2)
        for filters, stride in ((16, 1), (32, 2), (64, 2), (128, 2))
    ]
    assert first.blocks == (ConvBlock(16, 3, stride=2), *stages)
    assert all(stage.bottleneck and stage.squeeze for stage in residual(other))


def test_choices_are_those_of_the_space() -> None:
    space = replace(
        SPACE,
        stages=(1, 2),
        blocks=(1, 1),
        stem_halvings=(0, 0),
        filters=(5, 7),
        kernels=(1, 1),
        kinds=("bottleneck",),
        gates=("none",),
        activations=("tanh",),
        dropout=0,
    )
    values = {"stages": 1, "activation": "tanh", "stem_halvings": 0, "stem_level": 1}
    for number in (1, 2):
        values |= {f"blocks_{number}": 1, f"filters_level_{number}": 0, f"kernel_{number}": 1}
        values |= {f"kind_{number}": "bottleneck", f"gate_{number}": "none"}
    genome = space.suggest(fixed(values))
    tanh = Activation.TANH
    assert genome == Genome((ConvBlock(7, 3, tanh), ResidualBlock(5, 1, tanh, bottleneck=True)))
    (start,) = space.warm_starts()
    assert list(start) == list(values)
    space.suggest(fixed(start)).layers(ImageShape(1, 64, 64), 2)


def test_members_are_as_many_as_the_choices_in_use_allow() -> None:
    """Counted in a space of which all can be asked: 2 · 2 · 3 stems, and 8 choices a stage."""
    space = replace(
        SPACE,
        stages=(1, 2),
        blocks=(1, 2),
        filters=(5, 7),
        kernels=(3, 3),
        gates=("none",),
        activations=("relu", "elu"),
    )
    assert members(space) == 2 * 2 * 3 * (8 + 8**2)


def test_the_choices_do_not_change_between_versions() -> None:
    """Optuna refuses to go on with a study whose choices have changed under one name."""
    asked = {name: str(value) for name, value in distributions("residual").items()}
    assert len(asked) == 4 + 4 * 5
    assert asked["stages"] == "IntDistribution(high=4, log=False, low=2, step=1)"
    assert asked["stem_halvings"] == "IntDistribution(high=2, log=False, low=0, step=1)"
    assert asked["stem_level"] == "IntDistribution(high=8, log=False, low=0, step=1)"
    assert asked["activation"] == (
        "CategoricalDistribution(choices=('relu', 'leaky_relu', 'elu', 'gelu', 'silu'))"
    )
    for number in range(1, 5):
        assert asked[f"blocks_{number}"] == "IntDistribution(high=3, log=False, low=1, step=1)"
        text = "IntDistribution(high=8, log=False, low=0, step=1)"
        assert asked[f"filters_level_{number}"] == text
        assert asked[f"kernel_{number}"] == "IntDistribution(high=5, log=False, low=2, step=1)"
        assert asked[f"kind_{number}"] == "CategoricalDistribution(choices=('basic', 'bottleneck'))"
        assert asked[f"gate_{number}"] == "CategoricalDistribution(choices=('none', 'squeeze'))"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"stages": (0, 3)}, "stages must be two whole numbers from 1 to 6, the lower first, but is"),
    ({"stages": (3, 2)}, r"stages must be two whole numbers .* but is \(3, 2\)"),
    ({"blocks": 2}, "blocks must be two whole numbers from 1 to 8, the lower first, but is 2"),
    ({"stem_halvings": (0, 3)}, "stem_halvings must be two whole numbers from 0 to 2"),
    ({"filters": (16, 8)}, r"filters must rise, each number occurring once, but are \(16, 8\)"),
    ({"filters": ()}, r"filters must be a list of 1 to 32 choices, but is \(\)"),
    ({"kernels": (0, 3)}, "kernels must be two whole numbers from 1 to 15, the lower first"),
    ({"kinds": ("wide",)}, "kinds must be different ones of basic, bottleneck, but are"),
    ({"gates": ("none", "none")}, "gates must be different ones of none, squeeze, but are"),
    ({"activations": ("relu", None)}, "activations must be a list of 1 to 32 choices, but is"),
    ({"dropout": -0.1}, r"dropout must be a number in \[0, 1\), but is -0.1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=f"residual: {message}"):
        replace(SPACE, **changes)
