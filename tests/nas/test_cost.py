"""Measured cost."""

import torch
from torch import nn

from nas.cost import REPETITIONS, WARM_UP, measure_latency
from nas.devices import Device


class Counting(nn.Module):
    """Advances a clock by 7 ms a call, by a second in the first calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.now, self.shapes = 0, 0.0, set[tuple[int, ...]]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.now += 1.0 if self.calls <= WARM_UP else 0.007
        self.shapes.add(tuple(images.shape))
        assert torch.is_inference_mode_enabled()
        return images


def test_latency_is_the_median_after_warm_up() -> None:
    network = Counting()
    device = Device("cpu", bf16=False, channels_last=True)
    latency = measure_latency(network, (3, 8, 9), device, clock=lambda: network.now)
    assert network.calls == WARM_UP + REPETITIONS
    assert network.shapes == {(1, 3, 8, 9)}
    assert abs(latency.median_ms - 7) < 1e-6
    assert latency.quartiles_ms[0] <= latency.median_ms <= latency.quartiles_ms[1]
    assert latency.n == REPETITIONS
