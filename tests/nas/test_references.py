"""References are the published networks: their counts, their depth, and what they compute."""

import pytest
import torch
import torchvision
from torch import nn

from nas.genome import Genome, ImageShape
from nas.genome.summary import summary
from nas.network import build
from nas.references import REFERENCES

DEPTHS = {
    "lenet5": 5,
    "alexnet": 8,
    "vgg11": 11,
    "vgg16": 16,
    "resnet18": 18,
    "densenet121": 121,
}
"""As their names say (and LeNet-5's 5 are two convolutions and three linear layers)."""


@pytest.mark.parametrize("name", REFERENCES)
def test_published_counts_of_parameters(name: str) -> None:
    reference = REFERENCES[name]
    found = summary(reference.genome, reference.image, reference.classes)
    if reference.parameters is not None:
        assert found.parameters == reference.parameters
    assert found.depth == DEPTHS.get(name.removesuffix("_transfer"), found.depth)


def test_lenet5_against_the_count_in_its_paper() -> None:
    """60,000 there: fewer maps are seen by the second convolution, averaging has a coefficient and
    a bias for each map, and the ten outputs are not learnt."""
    seen, coefficients, outputs = 1516, 2 * (6 + 16), 84 * 10 + 10
    ours = (5 * 5 * 6 + 1) * 16
    assert REFERENCES["lenet5"].parameters == 60_000 - seen + ours - coefficients + outputs


def test_what_is_trained_of_a_frozen_network_is_its_head() -> None:
    two = summary(REFERENCES["resnet18_transfer"].genome, ImageShape(3, 224, 224), 2)
    assert two.trainable == 1026
    free = summary(REFERENCES["resnet18"].genome, ImageShape(3, 224, 224), 2)
    assert free.trainable == free.parameters == two.parameters


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
@pytest.mark.parametrize("side", [224, 97])
def test_plain_networks_compute_what_torchvision_does(name: str, side: int) -> None:
    torch.manual_seed(0)
    theirs: nn.Module = getattr(torchvision.models, name)(num_classes=7).eval()
    ours = build(REFERENCES[name].genome, ImageShape(3, side, side), 7).eval()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    with torch.inference_mode():
        for own, other in pairs:
            own.copy_(other)
        images = torch.randn(1, 3, side, side)
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in REFERENCES if n not in ("vgg11", "vgg16", "alexnet")])
def test_every_reference_takes_x_rays(name: str) -> None:
    network = build(REFERENCES[name].genome, ImageShape(1, 64, 64), 2).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 1, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_different_and_can_be_kept(name: str) -> None:
    genome = REFERENCES[name].genome
    assert Genome.from_json(genome.to_json()) == genome
    others = [other.genome.key for key, other in REFERENCES.items() if key != name]
    assert genome.key not in others
    assert REFERENCES[name].source


def test_without_a_norm_something_still_reaches_the_output() -> None:
    """VGG-16 with torch's default weights gave all images the same logits, to 7 digits."""
    torch.manual_seed(0)
    data = REFERENCES["vgg16"].genome.to_json()
    for block in data["blocks"]:
        block["filters"] //= 8
    data["head"] |= {"hidden": [64, 64]}
    network = build(Genome.from_json(data), ImageShape(1, 64, 64), 2).eval()
    with torch.inference_mode():
        features = network[:-7](torch.randn(8, 1, 64, 64))
    assert features.std(0).mean() > 1e-3
