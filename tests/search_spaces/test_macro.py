from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.axes import Axes
from nas.errors import GenomeError
from nas.genome import ConvBlock, Genome, ImageShape, InvertedBlock
from nas.neighbours import neighbours
from search_spaces.macro import BLOCKS, MacroSpace
from tests.search_spaces.counting import members
from tests.strategies import distributions, fixed

SPACE = MacroSpace(ImageShape(1, 64, 64))


def suggest(blocks: tuple[str, ...], space: MacroSpace = SPACE) -> Genome:
    names = [f"position_{number}" for number in range(1, 9)]
    return space.suggest(fixed(dict(zip(names, blocks, strict=True))))


def everywhere(block: str, space: MacroSpace = SPACE) -> Genome:
    return suggest((block,) * 8, space)


def test_there_are_6561_networks_and_all_are_different() -> None:
    assert BLOCKS == ("skip", "bottleneck_3x3", "bottleneck_5x5")
    assert [kind.choices for kind in distributions("macro").values()] == [BLOCKS] * 8  # type: ignore[attr-defined]
    assert members(SPACE) == 3**8 == 6_561


def test_each_has_16_neighbours() -> None:
    axes = Axes(distributions("macro"))
    rows = axes.drawn(100, np.random.default_rng(0))
    each = neighbours(axes, rows).reshape(100, 16, 8)
    assert ((each != rows[:, None]).sum(2) == 1).all()
    assert all(len({n.tobytes() for n in own}) == 16 for own in each)


def test_the_blocks_are_those_of_the_paper() -> None:
    """Kernel 3 with expansion 3, kernel 5 with expansion 6; a skip only where shapes change."""
    stem, last = ConvBlock(24, 3, stride=2), ConvBlock(256, 1)
    filters = (24, 48, 96, 192)
    for name, kernel, expansion in (("bottleneck_3x3", 3, 3), ("bottleneck_5x5", 5, 6)):
        blocks = [
            InvertedBlock(count, kernel, expansion, stride=stride)
            for count in filters
            for stride in (2, 1)
        ]
        assert everywhere(name).blocks == (stem, *blocks, last)
    skips = [ConvBlock(count, 1, stride=2) for count in filters]
    assert everywhere("skip").blocks == (stem, *skips, last)


def test_a_skip_in_the_second_position_of_a_stage_is_nothing() -> None:
    names = ("bottleneck_3x3", "skip") * 4
    assert len(suggest(names).blocks) == 1 + 4 + 1
    names = ("skip", "bottleneck_3x3") * 4
    assert len(suggest(names).blocks) == 1 + 8 + 1


@pytest.mark.parametrize(
    ("side", "strides"),
    [(8, [2, 1, 1, 1]), (9, [2, 2, 1, 1]), (16, [2, 2, 1, 1]), (32, [2, 2, 2, 1]), (64, [2] * 4)],
)
def test_sides_are_halved_while_2x2_pixels_remain(side: int, strides: list[int]) -> None:
    for image in (ImageShape(1, side, 200), ImageShape(1, 200, side)):
        genome = everywhere("skip", MacroSpace(image))
        assert [b.stride for b in genome.blocks if isinstance(b, ConvBlock)][1:-1] == strides
        smallest = genome.layers(image, 2)[-4].shape
        assert min(smallest[1:]) >= 2


def test_the_skeleton_is_that_of_the_space() -> None:
    space = replace(SPACE, filters=(8, 4, 8, 4), stem_filters=2, stem_halvings=0, last_filters=9)
    genome = everywhere("skip", space)
    assert [b.filters for b in genome.blocks if isinstance(b, ConvBlock)] == [2, 8, 4, 8, 4, 9]
    assert genome.blocks[0] == ConvBlock(2, 3)


def test_blocks_can_be_fewer() -> None:
    space = replace(SPACE, blocks=("bottleneck_5x5", "skip"))
    assert everywhere("skip", space) == everywhere("skip")
    assert len(space.warm_starts()) == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filters": (8, 16)}, "the number of filters must be a whole number from 4 to 4, but is 2"),
    ({"filters": (8, 16, 32, 0)}, "each of filters must be a whole number from 1 to 4096"),
    ({"filters": [8, 16, 32, 64]}, "filters must be a list of 1 to 32 choices"),
    ({"stem_filters": 0}, "stem_filters must be a whole number from 1"),
    ({"stem_halvings": 3}, "stem_halvings must be a whole number from 0 to 2, but is 3"),
    ({"last_filters": True}, "last_filters must be a whole number from 1"),
    ({"blocks": ("skip", "skip")}, "blocks must be different ones of skip, bottleneck_3x3, "),
    ({"dropout": "no"}, r"dropout must be a number in \[0, 1\), but is 'no'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=f"macro: {message}"):
        replace(SPACE, **changes)
