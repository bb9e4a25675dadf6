"""Proxies against slow implementations straight from their formulas, and what must not matter."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.errors import SettingsError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Order, Pool
from nas.network import ACTIVATIONS, build
from nas.proxies import ACTIVATIONS as SEEN
from nas.proxies import BATCH, JACOB_K, PROXIES, proxies
from nas.training import initial_network
from tests.strategies import fitting

SHAPE = ImageShape(1, 9, 8)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, 9, 8, generator=torch.Generator().manual_seed(seed))


def network_of(activation: Activation = Activation.RELU, norm: Norm = Norm.BATCH) -> nn.Module:
    blocks = (
        ConvBlock(5, 3, activation, Pool.MAX, norm, Order.POOL_BEFORE_NORM),
        ConvBlock(4, 2, activation, Pool.NONE, norm),
    )
    return initial_network(lambda: build(Genome(blocks, 0.2), SHAPE, 3), 0)


def whole_batch(network: nn.Module) -> nn.Module:
    """As the papers show images to it: norms use the batch, dropout drops nothing."""
    own = copy.deepcopy(network).train()
    own.get_submodule("dropout").eval()
    return own


# From the formulas --------------------------------------------------------------------------------


def jacob_cov_by_hand(network: nn.Module, images: torch.Tensor) -> float:
    inputs = images.clone().requires_grad_()
    whole_batch(network)(inputs).backward(torch.ones(len(images), 3))
    assert inputs.grad is not None
    values = np.linalg.eigvalsh(np.corrcoef(inputs.grad.flatten(1).double().numpy()))
    return -sum(math.log(v + JACOB_K) + 1 / (float(v) + JACOB_K) for v in values)


def naswot_by_hand(network: nn.Module, images: torch.Tensor) -> float:
    """Through every layer by itself; the kernel counts one unit after the other."""
    codes: list[list[bool]] = [[] for _ in images]
    values = images
    for module in whole_batch(network).children():
        if isinstance(module, tuple(type(make(False)) for make in ACTIVATIONS.values())):
            for code, row in zip(codes, values.flatten(1), strict=True):
                code += [bool(value > 0) for value in row]
        values = module(values)
    kernel = np.array([[sum(a == b for a, b in zip(x, y, strict=True)) for y in codes]
                       for x in codes], dtype=np.float64)  # fmt: skip
    return float(np.log(np.linalg.det(kernel + np.eye(len(kernel)))))


def synflow_by_hand(network: nn.Module) -> float:
    """One layer after the other; the saliency of every layer is R, as R is linear in each."""
    flow = torch.ones(1, 1, 9, 8, dtype=torch.float64)
    layers = 0
    for module in copy.deepcopy(network).double().children():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.abs_()
            module.bias = None
            layers += 1
        if not isinstance(module, (nn.BatchNorm2d, nn.Dropout, *SEEN)):
            flow = module(flow)
    return math.log(layers * float(flow.detach().sum()))


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("activation", Activation)
def test_agrees_with_the_formulas(activation: Activation, norm: Norm) -> None:
    network, images = network_of(activation, norm), pictures(6)
    found = proxies(network, images, seed=0)
    assert tuple(found) == PROXIES
    assert found["jacob_cov"] == pytest.approx(jacob_cov_by_hand(network, images), rel=1e-3)
    assert found["naswot"] == pytest.approx(naswot_by_hand(network, images), rel=1e-9)
    assert found["synflow"] == pytest.approx(synflow_by_hand(network), rel=1e-9)


def test_knows_every_activation() -> None:
    assert set(SEEN) == {type(make(False)) for make in ACTIVATIONS.values()}
    assert set(ACTIVATIONS) == set(Activation)


def test_synflow_is_the_sum_over_paths_and_weights() -> None:
    """A path is a product of weights; each weight's saliency is the sum over its paths."""
    first, second = nn.Linear(3, 2), nn.Linear(2, 2)
    first.weight.data = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
    second.weight.data = torch.tensor([[-1.0, 4.0], [2.0, 0.25]])
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
    found = proxies(network, pictures(4)[..., :1, :3], seed=0)["synflow"]
    # 6 into the first unit and 3 out of it, 1.5 into the second and 4.25 out of it; two layers.
    assert found == pytest.approx(math.log(2 * (6 * 3 + 1.5 * 4.25)))


# What matters and what does not -------------------------------------------------------------------


@given(st.floats(0.01, 100), st.sampled_from(["conv1", "conv2", "linear"]))
@settings(max_examples=15, deadline=None)
def test_a_scaled_layer_scales_synflow_and_no_pattern(factor: float, name: str) -> None:
    network = network_of()
    before = proxies(network, pictures(6), seed=0)
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    layer.weight.data *= factor
    after = proxies(network, pictures(6), seed=0)
    assert after["synflow"] == pytest.approx(before["synflow"] + math.log(factor))
    # A norm follows, or no function does; only rounding may turn a unit that is nearly 0.
    assert after["naswot"] == pytest.approx(before["naswot"], rel=1e-2)


def test_equal_images_are_the_worst_and_still_a_number() -> None:
    network, images = network_of(), pictures(8)
    different = proxies(network, images, seed=0)
    equal = proxies(network, images[:1].expand(8, -1, -1, -1), seed=0)
    assert all(math.isfinite(value) for value in equal.values())
    assert equal["naswot"] < different["naswot"]
    assert equal["jacob_cov"] < different["jacob_cov"] - 1 / JACOB_K
    assert equal["synflow"] == different["synflow"]


def test_the_order_of_images_does_not_matter() -> None:
    network, images = network_of(), pictures(8)
    one, other = (proxies(network, rows, seed=0) for rows in (images, images.flip(0)))
    assert one == pytest.approx(other, rel=1e-4)


def test_the_seed_draws_the_images() -> None:
    network, images = network_of(), pictures(2 * BATCH)
    one, again, other = (proxies(network, images, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one["naswot"] != other["naswot"]
    assert one["synflow"] == other["synflow"]
    # Of no more than BATCH all are shown, whatever the seed.
    few = [proxies(network, images[:BATCH], seed=seed)["naswot"] for seed in (1, 2)]
    assert few[0] == pytest.approx(few[1])


class Strict(nn.Module):
    """Refuses batches of any other size; synflow shows a single image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert len(images) in (BATCH, 1)
        return images


def test_no_more_images_are_shown_than_help() -> None:
    found = proxies(nn.Sequential(Strict(), *network_of().children()), pictures(3 * BATCH), seed=0)
    assert tuple(found) == PROXIES


@pytest.mark.parametrize("mode", [nn.Module.train, nn.Module.eval])
def test_leaves_everything_as_it_was(mode: Callable[[nn.Module], nn.Module]) -> None:
    network, images = mode(network_of()), pictures(6)
    network(images).sum().backward()
    modes = [module.training for module in network.modules()]
    state = copy.deepcopy(network.state_dict())
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    generator, grads = torch.get_rng_state(), torch.is_grad_enabled()
    proxies(network, images, seed=0)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled() is grads
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(state[k], value) for k, value in network.state_dict().items())
    kept = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(kept) == len(gradients) > 0
    assert all(torch.equal(a, b) for a, b in zip(kept, gradients, strict=True))
    assert not any(module._forward_pre_hooks for module in network.modules())


# Always a number ----------------------------------------------------------------------------------


@given(fitting(), st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_finite_for_any_genome(case: tuple[Genome, ImageShape, int], count: int, seed: int) -> None:
    genome, image, classes = case
    network = initial_network(lambda: build(genome, image, classes), seed)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, image.channels, image.height, image.width, generator=generator)
    with torch.no_grad():  # as a caller may be
        found = proxies(network, images, seed)
    assert all(math.isfinite(value) for value in found.values()), found


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, math.inf, math.nan])
def test_finite_for_any_weights(value: float) -> None:
    network = network_of(norm=Norm.NONE)
    for parameter in network.parameters():
        parameter.data.fill_(value)
    found = proxies(network, pictures(4), seed=0)
    assert all(math.isfinite(one) for one in found.values()), found


def test_a_deep_network_does_not_overflow() -> None:
    """Weights of 100 in 60 layers of 8 channels: a flow of about 800 ** 60."""
    layers = [nn.Linear(8, 8, bias=False) for _ in range(60)]
    for layer in layers:
        layer.weight.data.fill_(100.0)
    network = nn.Sequential(nn.Flatten(), *layers)
    found = proxies(network, pictures(4)[..., :2, :4], seed=0)["synflow"]
    assert found == pytest.approx(60 * math.log(800) + math.log(8 * 60))


@pytest.mark.parametrize("count", [0, 1])
def test_refuses_too_few_images(count: int) -> None:
    with pytest.raises(SettingsError, match=f"at least 2, but there are {count}"):
        proxies(network_of(), pictures(count), seed=0)
