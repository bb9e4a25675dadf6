"""What every built network must keep, whichever blocks or space its genome comes from."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from nas.genome import Genome, ImageShape
from nas.network import FrozenSequential, GraphModule, ResizeImages, build

Case = tuple[Genome, ImageShape, int]


def images(image: ImageShape, count: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, image.channels, image.height, image.width, generator=generator)


def outputs(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every module with a name of its own gave, in the order in which they ended."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            seen[name] = output

        return hook

    named = [(name, m) for name, m in network.named_modules() if not isinstance(m, nn.Sequential)]
    handles = [module.register_forward_hook(keep(name)) for name, module in named]
    network(batch)
    for handle in handles:
        handle.remove()
    return seen


def check_arithmetic(case: Case) -> None:
    """The genome's arithmetic is that of the network, layer by layer; torch counts the FLOPs."""
    genome, image, classes = case
    network = build(genome, image, classes).eval()
    layers = genome.layers(image, classes)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        seen = outputs(network, images(image))
    seen.pop("flatten")  # only changes how numbers are laid out, so the genome does not list it
    assert list(seen) == [layer.name for layer in layers]
    for layer in layers:
        # What follows the average is laid out flat, without its sides of 1.
        given = seen[layer.name].shape
        assert tuple(given) == (1, *layer.shape[: len(given) - 1]), layer
        own = network.get_submodule(layer.name).parameters(recurse=False)
        assert sum(p.numel() for p in own) == layer.parameters, layer
    total = sum(p.numel() for p in network.parameters())
    assert total == genome.parameters(image, classes)
    assert counter.get_total_flops() == 2 * genome.multiply_adds(image, classes)


def check_gradients(case: Case) -> None:
    """Forward and backward: every parameter that is trained gets a finite gradient."""
    genome, image, classes = case
    torch.manual_seed(0)
    network = build(genome, image, classes)
    batch = images(image, count=3)
    before = batch.clone()
    logits = network(batch)
    assert logits.shape == (3, classes)
    assert logits.isfinite().all()
    loss = functional.cross_entropy(logits, torch.arange(3) % classes)
    loss.backward()  # type: ignore[no-untyped-call]
    frozen = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, FrozenSequential)
        for parameter in module.parameters()
    }
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad is (id(parameter) not in frozen), name
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name
    assert torch.equal(batch, before)


def check_alive(case: Case) -> None:
    """Every image changes the logits: no path from it to them is missing or dead.

    Norms take their statistics from the images first. With those of a fresh network values shrink
    from layer to layer, and in a deep one the images' share of the logits is lost in rounding.
    """
    genome, image, classes = case
    torch.manual_seed(0)
    network = build(genome, image, classes).double()
    batch = images(image, count=4).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0  # those that are frozen too
    with torch.no_grad():
        network(batch)
        moved = network.eval()(batch + 0.1 * images(image, count=4, seed=1))
    seen = batch.clone().requires_grad_()
    logits = network(seen)
    assert (logits - moved).abs().amax(1).min() > 1e-6
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), seen)
    assert (gradient != 0).flatten(1).any(1).all()


def signature(case: Case) -> str:
    """The built network in words: the same for two genomes if they build the same."""
    genome, image, classes = case
    with torch.device("meta"):
        network = build(genome, image, classes)
    more: list[object] = []
    for name, module in network.named_modules():
        if isinstance(module, ResizeImages):
            more.append((name, module.side))
        if isinstance(module, GraphModule):
            more.append((name, module.places, module.ways))
    return f"{network} {more}"


def season(network: nn.Module, *, shift: float, most_variance: float) -> None:
    """Give norms weights and statistics as if they had been trained, from the global generator."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, shift)
            module.running_var.uniform_(0.5, most_variance)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, shift)
