from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import GenomeError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, InvertedBlock
from search_spaces.mobile import MobileSpace
from tests.search_spaces.counting import members
from tests.strategies import distributions, fixed, parameters

GRID = (8, 12, 16, 24, 32, 48, 64, 96, 128)
SPACE = MobileSpace(ImageShape(1, 64, 64))


def inverted(genome: Genome) -> list[InvertedBlock]:
    found = [block for block in genome.blocks[1:-1] if isinstance(block, InvertedBlock)]
    assert len(found) == len(genome.blocks) - 2
    return found


@given(parameters("mobile"), st.integers(8, 224), st.integers(8, 224))
def test_suggestions_keep_to_the_stated_limits(
    values: dict[str, Any], height: int, width: int
) -> None:
    image = ImageShape(1, height, width)
    genome = MobileSpace(image).suggest(fixed(values))
    stages = inverted(genome)
    assert 2 <= len(stages) == values["stages"] <= 5
    for number, stage in enumerate(stages, start=1):
        assert stage.repeats == values[f"blocks_{number}"] in (1, 2, 3)
        assert stage.filters == GRID[values[f"filters_level_{number}"]]
        assert stage.kernel == (3, 5, 7)[values[f"kernel_level_{number}"]]
        assert stage.expansion == (1, 2, 3, 4, 6)[values[f"expansion_level_{number}"]]
        assert stage.squeeze is (values[f"gate_{number}"] == "squeeze")
        assert stage.activation == values["activation"]
        assert stage.stride == 1 or number > 1
    activation = Activation(values["activation"])
    stem = ConvBlock(GRID[values["stem_level"]], 3, activation, stride=1 + values["stem_halvings"])
    assert genome.blocks[0] == stem
    assert genome.blocks[-1] == ConvBlock(4 * stages[-1].filters, 1, activation)
    last = next(x for x in reversed(genome.layers(image, 2)) if x.shape[1:] != (1, 1))
    assert min(last.shape[1:]) >= 2


@pytest.mark.parametrize(
    ("side", "halvings", "strides"),
    [
        (8, 0, [1, 2, 2, 1, 1]),
        (8, 1, [1, 2, 1, 1, 1]),
        (9, 1, [1, 2, 2, 1, 1]),  # 5, 3, 2
        (33, 0, [1, 2, 2, 2, 2]),  # 33, 17, 9, 5, 3
        (64, 1, [1, 2, 2, 2, 2]),
    ],
)
def test_strides_are_left_out_only_where_less_than_2x2_would_remain(
    side: int, halvings: int, strides: list[int]
) -> None:
    start = SPACE.warm_starts()[0] | {"stem_halvings": halvings}
    for image in (ImageShape(1, side, 99), ImageShape(1, 99, side)):
        genome = MobileSpace(image).suggest(fixed(start))
        assert [stage.stride for stage in inverted(genome)] == strides


def test_mobile_nets_are_tried_first() -> None:
    v2, v3 = (inverted(SPACE.suggest(fixed(start))) for start in SPACE.warm_starts())
    assert [(b.repeats, b.filters, b.expansion) for b in v2] == [
        (1, 8, 1), (2, 12, 6), (3, 16, 6), (3, 32, 6), (3, 48, 6)
    ]  # fmt: skip
    assert {(b.kernel, b.squeeze, b.activation) for b in v2} == {(3, False, Activation.RELU6)}
    assert [(b.repeats, b.filters, b.kernel, b.squeeze) for b in v3] == [
        (1, 16, 3, True), (2, 24, 3, False), (3, 32, 5, True), (2, 48, 5, True), (3, 96, 5, True)
    ]  # fmt: skip
    assert {b.activation for b in v3} == {Activation.HARD_SWISH}


def test_choices_are_those_of_the_space() -> None:
    space = replace(
        SPACE,
        stages=(1, 1),
        blocks=(1, 1),
        stem_halvings=(0, 0),
        filters=(5,),
        kernel_sizes=(4,),
        expansions=(2, 8),
        gates=("squeeze",),
        activations=("elu",),
        dropout=0.5,
    )
    (start,) = space.warm_starts()
    elu = Activation.ELU
    blocks = ConvBlock(5, 3, elu), InvertedBlock(5, 4, 2, elu, squeeze=True), ConvBlock(20, 1, elu)
    assert space.suggest(fixed(start)) == Genome(blocks, 0.5)


def test_members_are_as_many_as_the_choices_in_use_allow() -> None:
    """Counted in a space of which all can be asked: 2 · 2 stems, and 16 choices a stage."""
    space = replace(
        SPACE,
        stages=(1, 2),
        blocks=(1, 2),
        filters=(5, 7),
        kernel_sizes=(3,),
        expansions=(1, 2),
        activations=("relu",),
    )
    assert members(space) == 2 * 2 * (16 + 16**2)


def test_the_choices_do_not_change_between_versions() -> None:
    """Optuna refuses to go on with a study whose choices have changed under one name."""
    asked = {name: str(value) for name, value in distributions("mobile").items()}
    assert len(asked) == 4 + 5 * 5
    assert asked["stages"] == "IntDistribution(high=5, log=False, low=2, step=1)"
    assert asked["stem_halvings"] == "IntDistribution(high=1, log=False, low=0, step=1)"
    assert asked["stem_level"] == "IntDistribution(high=8, log=False, low=0, step=1)"
    assert asked["activation"] == (
        "CategoricalDistribution(choices=('relu', 'relu6', 'hard_swish', 'silu'))"
    )
    for number in range(1, 6):
        assert asked[f"blocks_{number}"] == "IntDistribution(high=3, log=False, low=1, step=1)"
        for name, high in (("filters", 8), ("kernel", 2), ("expansion", 4)):
            text = f"IntDistribution(high={high}, log=False, low=0, step=1)"
            assert asked[f"{name}_level_{number}"] == text
        assert asked[f"gate_{number}"] == "CategoricalDistribution(choices=('none', 'squeeze'))"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"stages": (0, 3)}, "stages must be two whole numbers from 1 to 8, the lower first, but is"),
    ({"stages": (3, 2)}, r"stages must be two whole numbers .* but is \(3, 2\)"),
    ({"blocks": 2}, "blocks must be two whole numbers from 1 to 8, the lower first, but is 2"),
    ({"stem_halvings": (0, 3)}, "stem_halvings must be two whole numbers from 0 to 2"),
    ({"filters": (8, 2000)}, "each of filters must be a whole number from 1 to 1024"),
    ({"kernel_sizes": (3, 3)}, "kernel_sizes must rise, each number occurring once, but are"),
    ({"expansions": (9,)}, "each of expansions must be a whole number from 1 to 8, but is 9"),
    ({"gates": ("some",)}, "gates must be different ones of none, squeeze, but are"),
    ({"activations": ("swish",)}, "activations must be different ones of relu, "),
    ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), but is 1.0"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=f"mobile: {message}"):
        replace(SPACE, **changes)
