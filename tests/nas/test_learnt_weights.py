"""Learnt weights: our backbones are the published networks, to the last bit."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from nas import learnt_weights
from nas.errors import WeightsError
from nas.genome import BackboneBlock, BackboneName, ConvBlock, Genome, ImageShape, Weights
from nas.learnt_weights import Learnt, first_network, ordered, take_over, weights_of
from nas.network import build
from tests.networks import season

LITE0 = BackboneName.EFFICIENTNET_LITE0
PUBLISHED = [name for name in BackboneName if name is not LITE0]

FEATURES: dict[BackboneName, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    BackboneName.RESNET18: lambda net, x: nn.Sequential(*list(net.children())[:-2])(x),
    BackboneName.DENSENET121: lambda net, x: net.features(x).relu(),
    BackboneName.MOBILENET_V3_SMALL: lambda net, x: net.features(x),
}
"""What comes before each head."""


def original(name: BackboneName) -> nn.Module:
    """torchvision's network, with statistics as if it had been trained."""
    torch.manual_seed(0)
    network: nn.Module = getattr(torchvision.models, str(name))().eval()
    season(network, shift=0.1, most_variance=1.5)
    return network


def learnt_of(name: BackboneName, network: nn.Module) -> Learnt:
    state = network.state_dict()
    return ordered(name, state, state, "a test", "0")


def backbone_of(name: BackboneName, channels: int, side: int = 64) -> nn.Module:
    network = build(Genome((BackboneBlock(name),)), ImageShape(channels, side, side), 2)
    return network.eval().get_submodule("backbone1")


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", [(64, 64), (65, 47)])
def test_a_backbone_computes_what_the_published_network_does(
    name: BackboneName, size: tuple[int, int]
) -> None:
    theirs, ours = original(name), backbone_of(name, 3)
    take_over(ours, learnt_of(name, theirs))
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(ours(images), FEATURES[name](theirs, images))


@pytest.mark.parametrize("side", [224, 225])
def test_lite0_computes_what_its_package_does(side: int) -> None:
    """Its padding depends on the size of the image."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    ours = backbone_of(LITE0, 3, side)
    learnt = weights_of(LITE0)
    take_over(ours, learnt)
    named = dict(theirs.named_parameters()) | dict(theirs.named_buffers())
    places = [n for n in theirs.state_dict() if "num_batches" not in n and n[:4] != "_fc."]
    with torch.no_grad():
        for place, tensor in zip(places, learnt.tensors, strict=True):
            named[place].copy_(tensor)
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs.extract_features(images)
        assert expected.abs().mean() > 0.01
        assert torch.equal(ours(images), expected)


def test_an_image_of_one_channel_is_as_if_it_were_repeated() -> None:
    learnt = learnt_of(BackboneName.RESNET18, original(BackboneName.RESNET18))
    grey, colour = (backbone_of(BackboneName.RESNET18, channels) for channels in (1, 3))
    take_over(grey, learnt)
    take_over(colour, learnt)
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
        )


def test_names_of_the_old_densenet_file_are_known() -> None:
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    new = "features.denseblock1.denselayer2.norm1.running_mean"
    assert learnt_weights._new_name(old) == new
    assert learnt_weights._new_name(new) == new
    assert learnt_weights._new_name("features.norm0.weight") == "features.norm0.weight"


@pytest.mark.parametrize("what", ["order", "shape", "few", "many"])
def test_other_weights_are_refused_and_change_nothing(what: str) -> None:
    name = BackboneName.RESNET18
    learnt = learnt_of(name, original(name))
    tensors, kinds = list(learnt.tensors), list(learnt.kinds)
    if what == "order":  # weight and bias of a norm: equal shapes
        tensors[1], tensors[2], kinds[1], kinds[2] = tensors[2], tensors[1], kinds[2], kinds[1]
    elif what == "shape":
        tensors[-1] = tensors[-1][:5]
    elif what == "few":
        tensors, kinds = tensors[:-1], kinds[:-1]
    else:
        tensors, kinds = [*tensors, tensors[-1]], [*kinds, kinds[-1]]
    backbone = backbone_of(name, 3)
    before = {entry: tensor.clone() for entry, tensor in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match="learnt weights must be those of the backbone"):
        take_over(backbone, Learnt(tensors, kinds, "a test", "0"))
    assert all(torch.equal(backbone.state_dict()[entry], before[entry]) for entry in before)


def test_a_training_begins_with_learnt_weights_and_a_head_from_the_seed() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    genome = Genome((BackboneBlock(LITE0, Weights.IMAGENET, frozen=3, side=32),))
    image = ImageShape(1, 40, 40)
    place = torch.random.get_rng_state()
    one, same, other = (first_network(genome, image, 2, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), place)
    for name, tensor in one.items():
        assert torch.equal(tensor, same[name]), name
        assert torch.equal(tensor, other[name]) is not name.startswith("linear"), name
    grey = weights_of(LITE0).tensors[0].sum(1, keepdim=True)
    assert torch.equal(one["backbone1.stage1.conv.weight"], grey)


def test_frozen_stages_ask_for_no_gradient_and_keep_their_statistics() -> None:
    genome = Genome((BackboneBlock("resnet18", "imagenet", frozen=2),))  # type: ignore[arg-type]
    network = build(genome, ImageShape(3, 32, 32), 2).train()
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {
        name for name, _ in network.named_parameters() if name.split(".")[1] in ("stage1", "stage2")
    }
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(torch.randn(2, 3, 32, 32))
    for name, buffer in network.named_buffers():
        still = "stage1" in name or "stage2" in name
        assert torch.equal(buffer, before[name]) is still, name


def test_images_of_two_channels_have_no_learnt_weights() -> None:
    genome = Genome((BackboneBlock("resnet18", "imagenet"),))  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"1 or 3 channels, but these have 2; use"):
        first_network(genome, ImageShape(2, 32, 32), 2, 0)


def test_genomes_without_learnt_weights_need_none() -> None:
    genome = Genome((ConvBlock(4, 3),))
    assert learnt_weights.learnt_backbone(genome) is None
    assert len(first_network(genome, ImageShape(2, 8, 8), 2, 0)) == 7


def test_where_weights_cannot_be_had_the_remedy_is_said(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    weights_of.cache_clear()
    with pytest.raises(WeightsError) as caught:
        weights_of(BackboneName.DENSENET121)
    for part in (
        "the backbone densenet121 needs ImageNet weights",
        "download.pytorch.org failed",
        str(tmp_path / "hub" / "checkpoints"),
        'backbones = ["efficientnet_lite0"]',
    ):
        assert part in str(caught.value)
