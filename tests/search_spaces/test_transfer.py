from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.errors import GenomeError
from nas.genome import BackboneBlock, BackboneName, Genome, ImageShape, Weights
from nas.genome.backbones import STAGES
from search_spaces.base import LearntSpace
from search_spaces.transfer import TransferSpace, frozen_stages
from tests.networks import check_arithmetic, check_gradients
from tests.search_spaces.counting import members
from tests.strategies import distributions, fixed

SPACE = TransferSpace(ImageShape(1, 64, 64))


def choose(**changes: Any) -> dict[str, Any]:
    return {
        "backbone": "resnet18",
        "trained_quarters": 4,
        "side_level": 0,
        "hidden_level": 0,
        "dropout_level": 0,
    } | changes


def test_there_are_900_networks_and_all_are_different() -> None:
    assert members(SPACE) == 4 * 5 * 5 * 3 * 3 == 900


def test_what_is_chosen_is_what_the_genome_has() -> None:
    values = choose(trained_quarters=0, side_level=4, hidden_level=2, dropout_level=1)
    block = BackboneBlock(BackboneName.RESNET18, Weights.IMAGENET, 5, 224)
    assert SPACE.suggest(fixed(values)) == Genome((block,), 0.2, (256,))
    assert SPACE.suggest(fixed(choose())) == Genome(
        (BackboneBlock(BackboneName.RESNET18, Weights.IMAGENET, 0, 64),)
    )


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("resnet18", [5, 4, 2, 1, 0]),
        ("densenet121", [5, 4, 2, 1, 0]),
        ("mobilenet_v3_small", [7, 5, 3, 2, 0]),
        ("efficientnet_lite0", [8, 6, 4, 2, 0]),
    ],
)
def test_quarters_mean_the_same_for_all_backbones(name: str, frozen: list[int]) -> None:
    backbone = BackboneName(name)
    assert frozen[0] == len(STAGES[backbone]())  # 0 trains the head alone
    assert [frozen_stages(backbone, quarters) for quarters in range(5)] == frozen


def test_without_learnt_weights_everything_is_trained() -> None:
    space = replace(SPACE, weights="none")
    keys = {space.suggest(fixed(choose(trained_quarters=n))).key for n in range(5)}
    assert keys == {Genome((BackboneBlock(BackboneName.RESNET18, side=64),)).key}
    places = {name: np.zeros(3) for name in distributions("transfer")}
    assert not space.used(places)["trained_quarters"].any()
    assert SPACE.used(places)["trained_quarters"].all()
    assert len(space.warm_starts()) == 1


@pytest.mark.parametrize("name", BackboneName)
def test_every_backbone_is_run_forward_and_backward(name: BackboneName) -> None:
    """On images of the smallest size, with half of it trained."""
    image = ImageShape(1, 8, 8)
    space = TransferSpace(image, sides=(32,))
    genome = space.suggest(fixed(choose(backbone=str(name), trained_quarters=2, hidden_level=1)))
    check_arithmetic((genome, image, 2))
    check_gradients((genome, image, 2))


def test_the_head_alone_is_tried_first() -> None:
    frozen, half = (SPACE.suggest(fixed(start)).blocks[0] for start in SPACE.warm_starts())
    lite0, imagenet = BackboneName.EFFICIENTNET_LITE0, Weights.IMAGENET
    assert frozen == BackboneBlock(lite0, imagenet, 8, 64)
    assert half == BackboneBlock(lite0, imagenet, 4, 64)


def test_it_says_which_weights_it_needs() -> None:
    assert isinstance(SPACE, LearntSpace)
    assert SPACE.learnt() == tuple(BackboneName(name) for name in SPACE.backbones)
    assert replace(SPACE, weights="none").learnt() == ()
    assert replace(SPACE, backbones=("resnet18",)).learnt() == (BackboneName.RESNET18,)


def test_the_choices_do_not_change_between_versions() -> None:
    """Optuna refuses to go on with a study whose choices have changed under one name."""
    assert {name: str(value) for name, value in distributions("transfer").items()} == {
        "backbone": "CategoricalDistribution(choices=('efficientnet_lite0', 'resnet18', "
        "'mobilenet_v3_small', 'densenet121'))",
        "trained_quarters": "IntDistribution(high=4, log=False, low=0, step=1)",
        "side_level": "IntDistribution(high=4, log=False, low=0, step=1)",
        "hidden_level": "IntDistribution(high=2, log=False, low=0, step=1)",
        "dropout_level": "IntDistribution(high=2, log=False, low=0, step=1)",
    }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"backbones": ("vgg16",)}, "backbones must be different ones of resnet18, "),
    ({"weights": "chexpert"}, "weights must be different ones of none, imagenet, but are"),
    ({"sides": (31, 64)}, "each of sides must be a whole number from 32 to 1024, but is 31"),
    ({"hidden": (64, 0)}, "hidden must rise, each number occurring once, but are"),
    ({"dropout_percents": (0, 100)}, "each of dropout_percents must be a whole number from 0 to"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=f"transfer: {message}"):
        replace(SPACE, **changes)
