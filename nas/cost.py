"""What a network costs to run, measured. What follows from a genome alone is in nas.genome."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from nas.devices import Device

WARM_UP = 5
REPETITIONS = 30


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds for one image, input on the device: median and quartiles of ``n`` runs."""

    median_ms: float
    quartiles_ms: tuple[float, float]
    n: int


def measure_latency(
    network: nn.Module,
    shape: tuple[int, int, int],
    device: Device,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time a forward pass of one image.

    Args:
        network: in evaluation mode, on ``device``.
        shape: (channels, height, width) of the image.
        device: also says whether bfloat16 is used.
        clock: seconds.
    """
    image = torch.zeros((1, *shape), device=device.device).to(memory_format=device.memory_format)
    times = []
    with torch.inference_mode(), device.autocast():
        for run in range(WARM_UP + REPETITIONS):
            started = clock()
            network(image)
            if device.device.type == "cuda":
                torch.cuda.synchronize(device.device)
            if run >= WARM_UP:
                times.append((clock() - started) * 1000)
    low, median, high = statistics.quantiles(times, n=4)
    return Latency(median, (low, high), REPETITIONS)
