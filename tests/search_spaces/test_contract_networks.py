"""What the networks of every search space must keep, over the whole table SPACES.

Images are small, odd and of the smallest size that is allowed; backbones resize to few pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.axes import Axes
from nas.bundle import load
from nas.genome import ImageShape
from nas.neighbours import neighbours
from search_spaces import SPACES, NetworkSpace
from search_spaces.transfer import TransferSpace
from tests.nas.bundles import logits, make, same, stored
from tests.networks import Case, check_alive, check_arithmetic, check_gradients, signature
from tests.strategies import distributions, fixed, parameters

SIZES = ((8, 8), (9, 9), (8, 11), (13, 8), (17, 15))
SIDES = (32, 33, 37, 41, 45)
"""As many as the space has by default, so that its parameters have the same ranges."""

spaces = pytest.mark.parametrize("name", SPACES)


def space(name: str, image: ImageShape) -> NetworkSpace:
    return TransferSpace(image, sides=SIDES) if name == "transfer" else SPACES[name](image)


def points(name: str, count: int) -> list[dict[str, Any]]:
    axes = Axes(distributions(name))
    return [axes.point(row) for row in axes.drawn(count, np.random.default_rng(0))]


def cases(name: str) -> Iterator[Case]:
    """Random genomes, one for each number of channels and size; backbones take every third."""
    shapes = [ImageShape(channels, *size) for size in SIZES for channels in (1, 3)]
    if name == "transfer":
        shapes = shapes[::3]
    for number, point in enumerate(points(name, len(shapes))):
        image = shapes[number]
        yield space(name, image).suggest(fixed(point)), image, 2 + number % 3


@spaces
def test_arithmetic_is_that_of_the_network(name: str) -> None:
    for case in cases(name):
        check_arithmetic(case)


@spaces
def test_every_parameter_that_is_trained_gets_a_gradient(name: str) -> None:
    for case in cases(name):
        check_gradients(case)


@spaces
def test_no_genome_is_dead(name: str) -> None:
    for case in cases(name):
        check_alive(case)


@pytest.mark.slow
@spaces
@given(st.data())
@settings(max_examples=100)
def test_many_genomes_are_as_their_arithmetic_and_learn(name: str, data: st.DataObject) -> None:
    image = ImageShape(data.draw(st.sampled_from([1, 3])), *data.draw(st.sampled_from(SIZES)))
    case = space(name, image).suggest(fixed(data.draw(parameters(name)))), image, 2
    check_arithmetic(case)
    check_gradients(case)
    check_alive(case)


@spaces
def test_one_key_is_one_network(name: str) -> None:
    """Among a genome and its neighbours, where those that build the same are most often found."""
    image = ImageShape(1, 8, 8)
    here = space(name, image)
    axes = Axes(distributions(name))
    row = axes.drawn(1, np.random.default_rng(0))
    near = [axes.point(one) for one in [*row, *neighbours(axes, row)]]
    genomes = {genome.key: genome for genome in (here.suggest(fixed(one)) for one in near)}
    built = {signature((genome, image, 2)) for genome in genomes.values()}
    assert len(built) == len(genomes)


@spaces
@pytest.mark.parametrize("channels", [1, 3])
def test_bundles_round_trip(name: str, channels: int, tmp_path: Path) -> None:
    image = ImageShape(channels, 9, 9)
    (point,) = points(name, 1)
    genome = space(name, image).suggest(fixed(point))
    bundle = make(genome, size=9, channels=channels, classes=3)
    stored(bundle, tmp_path)
    again = load(tmp_path / "model.pth")
    assert same(again, bundle)
    assert again.genome_key == genome.key
    assert logits(again).equal(logits(bundle))
