"""NAS-Bench-201's cells, counted: all of them are looked at, and none is built but a few."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.axes import Axes
from nas.errors import GenomeError
from nas.genome import CellsBlock, Genome, ImageShape
from nas.genome.cell import canonical, cells
from nas.neighbours import neighbours
from search_spaces.cell import NAMES, OPERATIONS, CellSpace, alive
from tests.strategies import distributions, fixed

IMAGE = ImageShape(1, 64, 64)
SPACE = CellSpace(IMAGE)
CODES = list(cells())


def values(code: str) -> dict[str, Any]:
    return {name: OPERATIONS[int(digit)] for name, digit in zip(NAMES, code, strict=True)}


def suggest(code: str, space: CellSpace = SPACE) -> Genome:
    return space.suggest(fixed(values(code)))


def block(genome: Genome) -> CellsBlock:
    (only,) = genome.blocks
    assert isinstance(only, CellsBlock)
    return only


def test_there_are_15625_cells_of_which_4929_are_different() -> None:
    assert len(distributions("cell")) == 6
    assert {str(kind) for kind in distributions("cell").values()} == {
        "CategoricalDistribution(choices=('none', 'skip', 'conv_1x1', 'conv_3x3', 'average_3x3'))"
    }
    assert len(CODES) == 15_625
    keys = {suggest(code).key for code in CODES}
    assert len(keys) == 4_929


def test_every_cell_has_24_neighbours() -> None:
    axes = Axes(distributions("cell"))
    rows = axes.rows([values(code) for code in CODES])
    assert len({row.tobytes() for row in rows}) == 15_625
    known = {row.tobytes() for row in rows}
    near = neighbours(axes, rows)
    assert len(near) == 15_625 * 24
    each = near.reshape(15_625, 24, 6)  # a row's neighbours follow each other
    assert ((each != rows[:, None]).sum(2) == 1).all()
    assert all(len({n.tobytes() for n in own}) == 24 for own in each)
    assert {n.tobytes() for n in near} == known


def test_edges_are_in_the_benchmarks_order() -> None:
    assert NAMES == ("edge_01", "edge_02", "edge_12", "edge_03", "edge_13", "edge_23")
    assert block(suggest("333132")).code == "333132"
    assert block(suggest("421211")).code == canonical("421211") == "122441"


def test_a_cell_whose_output_sees_nothing_gets_a_skip_on_the_direct_edge() -> None:
    dead = [code for code in CODES if canonical(code) is None]
    assert len(dead) == 341
    for code in dead:
        assert code[3] == "0"
        assert alive(code) == f"{code[:3]}1{code[4:]}"
        assert block(suggest(code)).code == "000100"
    assert all(alive(code) == code for code in CODES if code not in set(dead))


def test_what_is_not_used_makes_no_difference() -> None:
    """Of all codes, and all of it changed at once."""
    axes = Axes(distributions("cell"))
    rng = np.random.default_rng(0)
    rows = axes.rows([values(code) for code in CODES])
    told = axes.without(rows, SPACE.used)
    assert 0.1 < np.isnan(told).mean() < 0.3
    for code, other in zip(CODES, axes.filled(told, rng), strict=True):
        assert SPACE.suggest(fixed(axes.point(other))).key == suggest(code).key


# Millions of parameters, from the benchmark's table, for 10 classes of 32×32 colour images.
PUBLISHED = {
    "333132": 1.073466,  # the best on CIFAR-10
    "333333": 1.531546,
    "222222": 0.241306,
    "444444": 0.073306,
    "111111": 0.073306,
    "000300": 0.316346,
    "421211": 0.129306,
    "334131": 0.802426,
    "302143": 0.587386,
    "031112": 0.344346,
}


@pytest.mark.parametrize(("code", "millions"), PUBLISHED.items())
def test_parameters_in_the_papers_skeleton_are_the_published_ones(
    code: str, millions: float
) -> None:
    image = ImageShape(3, 32, 32)
    space = CellSpace(image, filters=16, cells=5, stages=3, stem_stride=1)
    assert suggest(code, space).parameters(image, 10) == round(1e6 * millions)


@pytest.mark.parametrize(("side", "stride"), [(8, 1), (15, 1), (16, 2), (64, 2), (224, 2)])
def test_the_stem_halves_images_that_are_large_enough(side: int, stride: int) -> None:
    for image in (ImageShape(1, side, 224), ImageShape(1, 224, side)):
        assert block(suggest("333132", CellSpace(image))) == CellsBlock(
            "333132", filters=16, cells=1, stages=3, stem_stride=stride
        )


def test_the_skeleton_is_that_of_the_space() -> None:
    space = CellSpace(IMAGE, filters=8, cells=2, stages=4, stem_stride=1, dropout=0.5)
    genome = suggest("333132", space)
    assert genome == Genome((CellsBlock("333132", 8, 2, 4, 1),), 0.5)


def test_operations_can_be_fewer() -> None:
    space = CellSpace(IMAGE, operations=("skip", "conv_3x3", "none"))
    assert block(suggest("033013", space)).code == canonical("033013")
    assert space.warm_starts() == []
    index = {0: 2.0, 1: 0.0, 3: 1.0}
    places = {name: np.array([index[int(d)]]) for name, d in zip(NAMES, "033013", strict=True)}
    assert [bool(used[0]) for used in space.used(places).values()] == [1, 1, 0, 1, 0, 1]


def test_the_best_of_the_benchmark_are_tried_first() -> None:
    starts = [block(SPACE.suggest(fixed(start))).code for start in SPACE.warm_starts()]
    assert starts == ["333132", canonical("031112")]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filters": 0}, "cells: filters must be a whole number from 1 to 256, but is 0"),
    ({"cells": 9}, "cells: cells must be a whole number from 1 to 8, but is 9"),
    ({"stages": "3"}, "cells: stages must be a whole number from 1 to 5, but is '3'"),
    ({"stem_stride": 3}, "cells: stem_stride must be a whole number from 1 to 2"),
    ({"operations": ("skip", "conv_5x5")}, "cell: operations must be different ones of none, skip"),
    ({"dropout": 1}, r"cell: dropout must be a number in \[0, 1\), but is 1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=message):
        replace(SPACE, **changes)
