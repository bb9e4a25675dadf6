import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import GenomeError
from nas.genome import (
    Activation,
    CellsBlock,
    ConvBlock,
    Genome,
    ImageShape,
    InvertedBlock,
    LayerInfo,
    Norm,
    Order,
    Pool,
    ResidualBlock,
)
from nas.network import SameConv2d, build
from tests.networks import Case, check_arithmetic, check_gradients, images, outputs
from tests.strategies import any_fitting, fitting, members

MEAN, BEFORE = Pool.AVERAGE, Order.POOL_BEFORE_NORM


# The genome's arithmetic is that of the network ---------------------------------------------------


@given(fitting())
@settings(max_examples=60)
def test_arithmetic_of_any_genome(case: Case) -> None:
    check_arithmetic(case)


@given(any_fitting())
@settings(max_examples=80)
def test_arithmetic_of_all_kinds_of_blocks(case: Case) -> None:
    check_arithmetic(case)


@given(members())
@settings(max_examples=25)
def test_arithmetic_of_the_chain_space(case: Case) -> None:
    check_arithmetic(case)


def test_multiply_adds_of_each_layer() -> None:
    """The total alone would not notice two layers that are wrong in opposite ways."""
    genome = Genome((ConvBlock(3, 4, pool=Pool.MAX), ConvBlock(5, 3, norm=Norm.NONE)))
    image = ImageShape(3, 9, 6)
    network = build(genome, image, 4).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(images(image))
    counts = counter.get_flop_counts()
    for layer in genome.layers(image, 4):
        counted = sum(counts.get(f"Sequential.{layer.name}", {}).values())
        assert counted == 2 * layer.multiply_adds, layer


# Receptive field ----------------------------------------------------------------------------------

FIELDS = [
    Genome((ConvBlock(1, 3),)),
    Genome((ConvBlock(2, 2), ConvBlock(1, 5))),
    Genome((ConvBlock(2, 3, pool=MEAN), ConvBlock(2, 4, pool=MEAN), ConvBlock(2, 2))),
    Genome((ConvBlock(2, 2, pool=MEAN, order=BEFORE), ConvBlock(2, 5, norm=Norm.NONE))),
    Genome((ConvBlock(2, 1, pool=MEAN), ConvBlock(1, 1, pool=MEAN), ConvBlock(1, 7))),
    Genome((ConvBlock(2, 3, repeats=2, stride=2), ConvBlock(1, 5, padding=0))),
    Genome((ConvBlock(2, 3, pool=MEAN, pool_window=3), ConvBlock(1, 3))),
    Genome((ResidualBlock(2, 3, stride=2), ResidualBlock(2, 5, bottleneck=True, repeats=2))),
    Genome((InvertedBlock(2, 3), InvertedBlock(2, 5, stride=2), InvertedBlock(2, 3))),
    Genome((CellsBlock("231413", 2, 1, 2),)),
]


def field_of(output: torch.Tensor, batch: torch.Tensor) -> tuple[int, int]:
    """Height and width of the input pixels that the middle value of ``output`` depends on."""
    height, width = output.shape[-2:]
    middle = output[0, 0, height // 2, width // 2]
    (gradient,) = torch.autograd.grad(middle, batch, retain_graph=True)
    rows, columns = gradient[0, 0].nonzero(as_tuple=True)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize("genome", FIELDS, ids=lambda genome: genome.key)
def test_receptive_field_is_what_gradients_reach(genome: Genome) -> None:
    image = ImageShape(1, 48, 57)  # so large that the middle sees no border
    network = build(genome, image, 2).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # positive throughout: no path cancels or dies
            parameter.fill_(0.1)
    batch = torch.ones(1, 1, image.height, image.width, requires_grad=True)
    seen = outputs(network, batch)
    spatial = [layer for layer in genome.layers(image, 2) if layer.shape[1:] != (1, 1)]
    assert spatial
    for layer in spatial:
        assert field_of(seen[layer.name], batch) == (layer.receptive_field,) * 2, layer


@pytest.mark.parametrize("side", [8, 9, 11])
def test_receptive_field_of_the_average(side: int) -> None:
    """With kernels of 1 there is no border, and what pooling cuts off is seen by nobody."""
    genome = Genome((ConvBlock(1, 1, pool=MEAN), ConvBlock(1, 1, pool=MEAN)))
    image = ImageShape(1, side, side)
    network = build(genome, image, 2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    batch = torch.ones(1, 1, side, side, requires_grad=True)
    seen = outputs(network, batch)
    average: LayerInfo = next(x for x in genome.layers(image, 2) if x.name == "average")
    assert average.receptive_field == 8
    assert field_of(seen["average"], batch) == (8, 8)


# Same padding -------------------------------------------------------------------------------------


def same_by_hand(batch: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Shifted copies of the image, added up; what lies outside is 0."""
    kernel = weight.shape[-1]
    height, width = batch.shape[-2:]
    result = bias.view(1, -1, 1, 1).expand(len(batch), -1, height, width).clone()
    for y, x in product(range(kernel), repeat=2):
        down, right = y - (kernel - 1) // 2, x - (kernel - 1) // 2
        for row, column in product(range(height), range(width)):
            if 0 <= row + down < height and 0 <= column + right < width:
                pixel = batch[:, :, row + down, column + right]
                result[:, :, row, column] += pixel @ weight[:, :, y, x].T
    return result


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("size", [(6, 7), (2, 3), (1, 1)])
def test_same_padding(kernel: int, size: tuple[int, int]) -> None:
    torch.manual_seed(kernel)
    layer = SameConv2d(2, 3, kernel, bias=True).double()
    batch = torch.randn(2, 2, *size, dtype=torch.float64)
    assert layer.bias is not None
    with torch.inference_mode():
        result = layer(batch)
        assert result.shape == (2, 3, *size)
        torch.testing.assert_close(result, same_by_hand(batch, layer.weight, layer.bias))
        if kernel % 2 == 1:
            same = functional.conv2d(batch, layer.weight, layer.bias, padding="same")
            torch.testing.assert_close(result, same)


def test_the_odd_pixel_of_padding_is_at_the_bottom_and_right() -> None:
    layer = SameConv2d(1, 1, 2, bias=False)
    nn.init.ones_(layer.weight)
    with torch.inference_mode():
        result = layer(torch.arange(4.0).view(1, 1, 2, 2))
    assert result.tolist() == [[[[6, 4], [5, 3]]]]


# Forward and backward -----------------------------------------------------------------------------


@given(fitting())
@settings(max_examples=40)
def test_gradients_of_any_genome(case: Case) -> None:
    check_gradients(case)


@given(any_fitting())
@settings(max_examples=60)
def test_gradients_of_all_kinds_of_blocks(case: Case) -> None:
    check_gradients(case)


@given(members())
@settings(max_examples=20)
def test_gradients_of_the_chain_space(case: Case) -> None:
    check_gradients(case)


ALL_KINDS = list(product(Activation, Pool, Norm, Order))


@pytest.mark.parametrize(("activation", "pool", "norm", "order"), ALL_KINDS)
def test_every_kind_of_block_learns_and_leaves_its_input_alone(
    activation: Activation, pool: Pool, norm: Norm, order: Order
) -> None:
    torch.manual_seed(0)
    block = ConvBlock(6, 1, activation, pool, norm, order)
    network = build(Genome((block, block)), ImageShape(1, 8, 8), 2)
    batch = images(ImageShape(1, 8, 8), count=4)
    before = batch.clone()
    network(batch).square().sum().backward()
    assert torch.equal(batch, before)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if norm is Norm.NONE or not name.startswith("conv"):
            # A batch norm undoes the scale before it: with kernel 1 and one channel nothing is left
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("activation", Activation)
def test_in_place_activations_give_the_gradient_of_the_copying_ones(
    activation: Activation,
) -> None:
    torch.manual_seed(0)
    block = ConvBlock(4, 3, activation, Pool.AVERAGE, Norm.BATCH, Order.POOL_BEFORE_NORM)
    network = build(Genome((block, block)), ImageShape(1, 12, 12), 2).double()
    batch = images(ImageShape(1, 12, 12), count=3).double()
    grads = []
    for inplace in (None, False):
        for module in network.modules():
            if inplace is not None and hasattr(module, "inplace"):
                module.inplace = inplace  # type: ignore[assignment]
        network.zero_grad()
        network(batch).square().sum().backward()
        grads.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(grads[0]) == len(list(network.parameters()))
    torch.testing.assert_close(grads[0], grads[1])


FORMULAS: dict[Activation, Callable[[float], float]] = {
    Activation.RELU: lambda x: max(x, 0.0),
    Activation.LEAKY_RELU: lambda x: x if x > 0 else 0.01 * x,
    Activation.ELU: lambda x: x if x > 0 else math.expm1(x),
    Activation.GELU: lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    Activation.SILU: lambda x: x / (1 + math.exp(-x)),
    Activation.RELU6: lambda x: min(max(x, 0.0), 6.0),
    Activation.HARD_SWISH: lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    Activation.HARD_SIGMOID: lambda x: min(max(x + 3, 0.0), 6.0) / 6,
    Activation.SIGMOID: lambda x: 1 / (1 + math.exp(-x)),
    Activation.TANH: math.tanh,
}


@pytest.mark.parametrize("activation", Activation)
def test_activations_are_their_formulas(activation: Activation) -> None:
    block = ConvBlock(1, 1, activation)
    layer = build(Genome((block,)), ImageShape(1, 1, 1), 2).get_submodule("act1")
    points = [-3.0, -1.0, -0.25, 0.0, 0.5, 2.0]
    result = layer(torch.tensor(points, dtype=torch.float64))
    assert result.tolist() == pytest.approx([FORMULAS[activation](x) for x in points], abs=1e-12)


@pytest.mark.parametrize(("pool", "expected"), [(Pool.MAX, 9.0), (Pool.AVERAGE, 3.75)])
def test_pooling_takes_blocks_of_four(pool: Pool, expected: float) -> None:
    layer = build(Genome((ConvBlock(1, 1, pool=pool),)), ImageShape(1, 2, 2), 2)
    result = layer.get_submodule("pool1")(torch.tensor([[[[1.0, 2.0], [3.0, 9.0]]]]))
    assert result.tolist() == [[[[expected]]]]


# The built module ---------------------------------------------------------------------------------


def test_names_of_the_tensors_are_those_that_bundles_hold() -> None:
    genome = Genome((ConvBlock(2, 3, pool=Pool.MAX), ConvBlock(4, 2, norm=Norm.NONE)))
    state = build(genome, ImageShape(1, 8, 8), 3).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "conv1.weight": (2, 1, 3, 3),
        "norm1.weight": (2,),
        "norm1.bias": (2,),
        "norm1.running_mean": (2,),
        "norm1.running_var": (2,),
        "norm1.num_batches_tracked": (),
        "conv2.weight": (4, 2, 2, 2),
        "conv2.bias": (4,),
        "linear.weight": (3, 4),
        "linear.bias": (3,),
    }


def test_dropout_is_that_of_the_genome_and_off_in_evaluation() -> None:
    image = ImageShape(1, 8, 8)
    network = build(Genome((ConvBlock(64, 3),), dropout=0.3), image, 2)
    layer = network.get_submodule("dropout")
    torch.manual_seed(0)
    ones = torch.ones(100, 1000)
    assert float((layer(ones) == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    network.eval()
    assert torch.equal(layer(ones), ones)


def test_weights_come_from_the_global_generator() -> None:
    genome, image = FIELDS[2], ImageShape(1, 16, 16)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(genome, image, 2).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*map(dict.values, states[:2]), strict=True))
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_other_sizes_pass_as_long_as_pooling_leaves_a_pixel() -> None:
    network = build(FIELDS[2], ImageShape(1, 16, 16), 2).eval()
    assert network(images(ImageShape(1, 4, 31))).shape == (1, 2)


def test_what_does_not_fit_is_refused_before_anything_is_built() -> None:
    genome = Genome((ConvBlock(1, 3, pool=Pool.MAX), ConvBlock(4096, 15, pool=Pool.MAX)))
    with pytest.raises(GenomeError, match="pool2: pooling needs"):
        build(genome, ImageShape(1, 3, 3), 2)
    with pytest.raises(GenomeError, match="classes"):
        build(genome, ImageShape(1, 8, 8), 1)
