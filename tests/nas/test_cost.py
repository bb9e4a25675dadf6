"""Measured cost."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.cost import (
    QUICK_LEAST,
    QUICK_S,
    REPETITIONS,
    WARM_UP,
    _Watch,
    measure_latency,
    peak_memory_mb,
    quick_latency_ms,
)
from nas.devices import Device
from nas.genome import Activation, ConvBlock, Genome, ImageShape
from nas.network import SameConv2d, build
from tests.strategies import conv_blocks, fitting

DEVICE = Device("cpu", bf16=False, channels_last=True)

Case = tuple[Genome, ImageShape, int]


class Counting(nn.Module):
    """Advances a clock by ``step_s`` a call, by ``first_s`` in the first calls."""

    def __init__(self, step_s: float = 0.007, first_s: float = 1.0) -> None:
        super().__init__()
        self.step_s, self.first_s = step_s, first_s
        self.calls, self.now, self.shapes = 0, 0.0, set[tuple[int, ...]]()
        self.threads = set[int]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.now += self.first_s if self.calls <= WARM_UP else self.step_s
        self.shapes.add(tuple(images.shape))
        self.threads.add(torch.get_num_threads())
        assert torch.is_inference_mode_enabled()
        return images


def test_latency_is_the_median_after_warm_up() -> None:
    network = Counting()
    latency = measure_latency(network, (3, 8, 9), DEVICE, clock=lambda: network.now)
    assert network.calls == WARM_UP + REPETITIONS
    assert network.shapes == {(1, 3, 8, 9)}
    assert abs(latency.median_ms - 7) < 1e-6
    assert latency.quartiles_ms[0] <= latency.median_ms <= latency.quartiles_ms[1]
    assert latency.n == REPETITIONS


# Quick latency ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step_s", "first_s", "runs"),
    [
        (QUICK_S / 1000, 0.0, REPETITIONS),  # fast: as often as helps
        (QUICK_S / 10, 0.0, 10),  # slower: as long as there is time
        (QUICK_S, 0.0, QUICK_LEAST),  # slow
        (QUICK_S / 1000, QUICK_S, QUICK_LEAST),  # what warming up took is time, too
    ],
)
def test_quick_latency_takes_little_time(step_s: float, first_s: float, runs: int) -> None:
    network = Counting(step_s, first_s)
    found = quick_latency_ms(network, (3, 8, 9), DEVICE, clock=lambda: network.now)
    assert found == pytest.approx(1000 * step_s)
    assert abs(network.calls - WARM_UP - runs) <= 1  # sums of seconds are rounded
    assert network.shapes == {(1, 3, 8, 9)}


def test_quick_latency_is_the_fastest_run() -> None:
    times = [0.0, 1.0] * WARM_UP
    times += [t for n in range(REPETITIONS) for t in (0.0, 0.0005 if n == 7 else 0.001 + n / 1e5)]
    ticking: Iterator[float] = iter(times)
    found = quick_latency_ms(nn.Identity(), (1, 8, 8), DEVICE, clock=lambda: next(ticking))
    assert found == pytest.approx(1.0)  # by then the time is over
    ticking = iter([0.0, 0.0] * WARM_UP + times[2 * WARM_UP :])
    found = quick_latency_ms(nn.Identity(), (1, 8, 8), DEVICE, clock=lambda: next(ticking))
    assert found == pytest.approx(0.5)


def test_quick_latency_is_that_of_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network = Counting()
        assert quick_latency_ms(network, (1, 8, 8), DEVICE) > 0
        assert network.threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Peak memory --------------------------------------------------------------------------------------

CONV = nn.Conv2d(1, 4, 3, padding=1, bias=False)  # 36 weights; 8 × 8 pixels to 256 values

SMALL: list[tuple[nn.Module, int]] = [
    # Input 64, weights 36, output 256; in place, or a view, adds nothing.
    (nn.Sequential(CONV), 64 + 36 + 256),
    (nn.Sequential(CONV, nn.ReLU(inplace=True), nn.Flatten()), 64 + 36 + 256),
    # Another 256 while the activation is computed, and the same again for each after it.
    (nn.Sequential(CONV, nn.SiLU()), 64 + 36 + 512),
    (nn.Sequential(CONV, nn.SiLU(), nn.GELU(), nn.SiLU()), 64 + 36 + 512),
    # Weight, bias, mean and variance of 4 channels, a count of 8 bytes, and a factor and a summand
    # for each channel while the norm is computed.
    (nn.Sequential(CONV, nn.BatchNorm2d(4)), 64 + 36 + 512 + 16 + 2 + 8),
    (nn.Sequential(CONV, nn.AvgPool2d(2)), 64 + 36 + 256 + 64),
    # Where each maximum was is kept in 8 bytes a value, though nobody asked.
    (nn.Sequential(CONV, nn.MaxPool2d(2)), 64 + 36 + 256 + 64 + 128),
    # Padding is a copy of 9 × 9, which lives while the convolution gives 128 values.
    (nn.Sequential(SameConv2d(1, 2, 2, bias=False)), 64 + 8 + 81 + 128),
    # The copy of the padded 256 values, 4 × 81, is larger than the output of 64 values.
    (nn.Sequential(CONV, SameConv2d(4, 1, 2, bias=False)), 64 + 36 + 16 + 256 + 324 + 64),
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), 64 + 195 + 3),
]


@pytest.mark.parametrize(("network", "values"), SMALL, ids=lambda x: str(x).replace("\n", ""))
def test_peak_memory_by_hand(network: nn.Module, values: int) -> None:
    assert peak_memory_mb(network.eval(), (1, 8, 8)) == pytest.approx(4 * values / 1e6)


class Branching(nn.Module):
    """Holds its input until the end, as a residual block does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        changed = images + 1
        changed = changed * 2
        return images + changed


def test_peak_memory_counts_what_waits_for_its_use() -> None:
    assert peak_memory_mb(Branching(), (1, 8, 8)) == pytest.approx(4 * 64 * 3 / 1e6)


def held_bytes(network: nn.Module, images: torch.Tensor) -> int:
    """Of weights and input."""
    tensors = [*network.parameters(), *network.buffers(), images]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@given(fitting(), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_peak_memory_of_any_genome(case: Case, batch: int) -> None:
    genome, image, classes = case
    network = build(genome, image, classes).eval()
    shape = (image.channels, image.height, image.width)
    found = peak_memory_mb(network, shape, batch)
    images = torch.zeros(batch, *shape)
    held = held_bytes(network, images)
    layers = genome.layers(image, classes)
    largest = max(layer.shape[0] * layer.shape[1] * layer.shape[2] for layer in layers)
    assert found * 1e6 >= held + 4 * batch * largest - 0.5
    # Activations grow with the batch, weights and what a norm keeps by channel do not.
    more = peak_memory_mb(network, shape, batch + 1) * 1e6
    by_channel = 8 * max(block.filters for block in conv_blocks(genome))
    weights = held - 4 * images.numel()
    slope = (found * 1e6 - weights) / batch
    assert (more - weights) / (batch + 1) <= slope + 0.5
    assert (more - weights - by_channel) / (batch + 1) >= slope - by_channel / batch - 0.5
    # The same operations on real tensors hold as much; torch does not show what a norm keeps then.
    with torch.no_grad(), _Watch() as watch:
        watch.see([*network.parameters(), *network.buffers(), images])
        network(images)
    assert -0.5 <= found * 1e6 - watch.peak_bytes <= by_channel + 0.5


def test_peak_memory_needs_no_weights_and_changes_none() -> None:
    genome, image = Genome((ConvBlock(4, 2, Activation.ELU),)), ImageShape(1, 16, 16)
    with torch.device("meta"):
        absent = build(genome, image, 2).eval()
    present = build(genome, image, 2).eval()
    before = {name: tensor.clone() for name, tensor in present.state_dict().items()}
    expected = peak_memory_mb(absent, (1, 16, 16))
    assert peak_memory_mb(present, (1, 16, 16)) == expected
    assert all(torch.equal(before[name], value) for name, value in present.state_dict().items())
    # Inference in float32 is what is asked about, whatever the weights are kept in.
    assert peak_memory_mb(present.double(), (1, 16, 16)) == expected


def profiled_bytes(network: nn.Module, images: torch.Tensor) -> int:
    """Most that torch's allocator gave at once while the network ran, by its profiler."""
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.inference_mode():
        network(images)
        with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
            network(images)
    assert profile.profiler is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def test_peak_memory_is_what_the_allocator_gives() -> None:
    """Exactly, without convolutions, for which libraries take scratch space of their own."""
    network = nn.Sequential(
        nn.SiLU(), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.GELU(), nn.ReLU(inplace=True),
        nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2),
    ).eval()  # fmt: skip
    images = torch.randn(2, 3, 32, 32)
    found = peak_memory_mb(network, (3, 32, 32), 2) * 1e6
    assert found == pytest.approx(held_bytes(network, images) + profiled_bytes(network, images))
