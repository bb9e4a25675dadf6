import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from captum.attr import LayerGradCam
from PIL import Image
from torch import nn

from nas.bundle import Bundle, Member
from nas.errors import SettingsError
from nas.explain import grad_cam, heat_png, layer_grad_cam, overlay
from nas.genome import (
    Activation,
    CellsBlock,
    ConvBlock,
    Genome,
    InvertedBlock,
    Order,
    Pool,
    ResidualBlock,
)
from nas.predictor import Predictor
from nas.training import state_of
from tests.nas.bundles import TINY, ensemble, make
from tests.nas.trainings import train_small
from tests.pictures import bar_fold

GENOMES = {
    "chain": Genome((ConvBlock(4, 3, pool=Pool.MAX), ConvBlock(6, 2, Activation.ELU))),
    "pooled first": Genome((ConvBlock(4, 3, pool=Pool.MAX, order=Order.POOL_BEFORE_NORM),)),
    "residual": Genome((ConvBlock(4, 3), ResidualBlock(4), ResidualBlock(8, stride=2))),
    "mobile": Genome((ConvBlock(4, 3), InvertedBlock(6, 3, 2, stride=2))),
    "cells": Genome((ConvBlock(4, 3), CellsBlock("321034", 4))),
    "a grid": Genome((ConvBlock(4, 3, pool=Pool.MAX),), grid=3, hidden=(5,)),
    "down to one pixel": Genome((ConvBlock(4, 3, pool=Pool.MAX),) * 4),
}


def pixels(seed: int = 0, size: int = 16) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, size, size), dtype=np.uint8)


def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle, name="", sha256="")


@pytest.mark.parametrize("name", GENOMES)
@pytest.mark.parametrize("target", [0, 1])
def test_it_is_what_captum_computes(name: str, target: int) -> None:
    network = predictor(make(GENOMES[name])).networks.networks[0]
    assert isinstance(network, nn.Sequential)
    inputs = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    ours, layer = layer_grad_cam(network, inputs, target)
    for module in network.modules():  # captum keeps a layer's output, which nobody may write into
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - a layer of any kind
    theirs = LayerGradCam(network, network.get_submodule(layer))
    expected = theirs.attribute(inputs, target=target, relu_attributions=True)
    assert ours.shape[1] == 1
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_layer_is_the_last_that_is_fine_enough() -> None:
    layers = {name: grad_cam(predictor(make(g)), pixels()).layers for name, g in GENOMES.items()}
    assert layers["chain"] == ("act2",)
    assert layers["pooled first"] == ("act1",)
    halving = Genome((ConvBlock(4, 3, pool=Pool.MAX),) * 2)
    network = predictor(make(halving)).networks.networks[0]
    assert isinstance(network, nn.Sequential)
    for size, side in ((28, 7), (16, 8), (12, 12), (6, 3), (4, 2)):
        heat, _ = layer_grad_cam(network, torch.ones(1, 1, size, size), 0)
        assert heat.shape[-2:] == (side, side), size


def trained_on_bars() -> Predictor:
    """Tells lying bars from standing ones."""
    fold = bar_fold()
    genome = Genome((ConvBlock(8, 3, pool=Pool.MAX), ConvBlock(12, 3)))
    tiny = make(genome, size=12)
    network = train_small(fold, network=tiny.members[0].network(2)).network
    member = Member(genome, fold.preprocessing, state_of(network))
    return predictor(Bundle((member,), fold.classes))


def test_heat_is_where_the_evidence_is_and_random_weights_give_another_map() -> None:
    """The sanity check of Adebayo et al. 2018: a map must depend on what was learnt."""
    trained, fold = trained_on_bars(), bar_fold()
    image = fold.validation.images[1].numpy()
    heat = grad_cam(trained, image).heat
    others = [
        grad_cam(predictor(make(trained.bundle.members[0].genome, size=12, seed=seed)), image).heat
        for seed in range(5)
    ]
    alike = [abs(np.corrcoef(heat.ravel(), other.ravel())[0, 1]) for other in others if other.any()]
    assert np.mean(alike) < 0.7
    again = grad_cam(trained_on_bars(), image).heat
    assert np.array_equal(heat, again)


def test_of_several_networks_it_is_the_mean() -> None:
    whole = ensemble()
    image, label = pixels(), whole.classes[0]
    heats = [
        grad_cam(predictor(replace(whole, members=(member,))), image, label).heat
        for member in whole.members
    ]
    mean = np.mean(heats, axis=0)
    found = grad_cam(predictor(whole), image, label)
    assert found.heat == pytest.approx(mean / mean.max(), abs=1e-5)
    assert len(found.layers) == 3


def test_the_class_is_the_predicted_one_unless_named() -> None:
    model = predictor(TINY)
    said = model.predict_pixels(pixels()[None])[0].label
    assert grad_cam(model, pixels()).label == said
    for name in model.classes:
        assert grad_cam(model, pixels(), name).label == name
    with pytest.raises(SettingsError, match="must be one of class 0, class 1, but is 'flu'"):
        grad_cam(model, pixels(), "flu")


def test_heat_is_from_0_to_1_and_finite_for_any_image() -> None:
    model = predictor(TINY)
    for image in (np.zeros((1, 16, 16), np.uint8), np.full((1, 16, 16), 255, np.uint8), pixels(3)):
        for name in model.classes:
            heat = grad_cam(model, image, name).heat
            assert heat.shape == (16, 16)
            assert heat.dtype == np.float32
            assert np.isfinite(heat).all()
            assert heat.min() >= 0
            assert heat.max() in (0.0, pytest.approx(1.0))


def test_threads_share_a_model_and_leave_it_as_it_is() -> None:
    model = predictor(ensemble())
    before = model.probabilities(pixels()[None])
    images = [pixels(seed) for seed in range(24)]
    alone = [grad_cam(model, image).heat for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: grad_cam(model, image).heat, images))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert np.array_equal(model.probabilities(pixels()[None]), before)
    assert all(parameter.grad is None for parameter in model.networks.parameters())


def test_the_overlay_is_the_image_where_there_is_no_heat() -> None:
    image = pixels()
    heat = np.zeros((16, 16), np.float32)
    heat[4:8, 4:8] = 1
    mixed = np.asarray(Image.open(io.BytesIO(overlay(image, heat))))
    assert mixed.shape == (16, 16, 3)
    cold = heat == 0
    assert np.array_equal(mixed[cold], image[0][cold][:, None].repeat(3, 1))
    assert not np.array_equal(mixed[~cold], image[0][~cold][:, None].repeat(3, 1))
    alone = np.asarray(Image.open(io.BytesIO(heat_png(heat))))
    assert np.array_equal(alone[..., 3], (255 * heat).astype(np.uint8))


def test_three_channels() -> None:
    model = predictor(make(GENOMES["chain"], channels=3))
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    heat = grad_cam(model, image).heat
    assert Image.open(io.BytesIO(overlay(image, heat))).size == (16, 16)
