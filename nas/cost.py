"""What a network costs to run, measured. What follows from a genome alone is in nas.genome."""

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.devices import Device

WARM_UP = 5
REPETITIONS = 30

QUICK_S = 0.04
"""Seconds after which a quick measurement ends, once there are QUICK_LEAST runs."""

QUICK_LEAST = 5


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
    with torch.inference_mode(), device.autocast():
        runs = _passes(network, shape, device, clock)
        times = [next(runs) * 1000 for _ in range(WARM_UP + REPETITIONS)][WARM_UP:]
    low, median, high = statistics.quantiles(times, n=4)
    return Latency(median, (low, high), REPETITIONS)


def quick_latency_ms(
    network: nn.Module,
    shape: tuple[int, int, int],
    device: Device,
    *,
    clock: Callable[[], float] | None = None,
) -> float:
    """The shortest forward pass of one image in milliseconds, to hold against a limit.

    The fastest of up to REPETITIONS runs, because what else a machine does only ever adds to one.
    On a CPU on one thread and by its own processor time: two threads that waited for each other
    beside other work took 200 times as long. On 2 cores under a load of 5, ten freshly built
    networks each measured ten times had a coefficient of variation of 0.9 % (32×32 pixels, 25 ms a
    measurement) and 3 to 6 % (224×224, 70 to 100 ms); by wall clock 12 to 33 % at 224×224.

    Args:
        network: in evaluation mode, on ``device``; weights may be anything.
        shape: (channels, height, width) of the image.
        device: also says whether bfloat16 is used.
        clock: seconds; None is the thread's processor time on a CPU, and elsewhere the wall clock.
    """
    alone = device.device.type == "cpu"
    if clock is None:
        clock = time.thread_time if alone else time.perf_counter
    with torch.inference_mode(), device.autocast(), _one_thread() if alone else nullcontext():
        runs = _passes(network, shape, device, clock)
        spent = sum(next(runs) for _ in range(WARM_UP))
        times: list[float] = []
        while len(times) < REPETITIONS and (len(times) < QUICK_LEAST or spent < QUICK_S):
            times.append(next(runs))
            spent += times[-1]
    return min(times) * 1000


def peak_memory_mb(network: nn.Module, shape: tuple[int, int, int], batch: int = 1) -> float:
    """Most memory that inference in float32 holds at once, in megabytes of 10⁶ bytes.

    Parameters, buffers and the input are held throughout; to them comes the largest sum of what
    layers gave and someone still needs. Views and what is computed in place count once. The pass is
    made on torch's meta device, so nothing is computed or allocated and the figure is the same on
    every machine; scratch space within a layer is not in it, because every library has its own (of
    8 networks of the chain space at 32×32 torch's allocator gave 1.1 to 1.7 times as much on a
    CPU). The first call of a process takes 2 s, in which torch imports what traces operations.

    Args:
        network: in evaluation mode, on any device, also meta; it is not changed.
        shape: (channels, height, width) of an image.
        batch: images at once.
    """
    tensors = chain(network.named_parameters(), network.named_buffers())
    state = {name: _meta(tensor) for name, tensor in tensors}
    images = torch.empty((batch, *shape), device="meta")
    # In inference mode max pooling would arrive whole, and the positions that it keeps be missed.
    with torch.no_grad(), _Watch() as watch:
        watch.see([*state.values(), images])
        torch.func.functional_call(network, state, (images,))
    return float(watch.peak_bytes / 1e6)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, by what every operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._alive: dict[int, int] = {}

    def see(self, tensors: Any) -> None:
        """Count the storages of tensors, however nested, that are not counted yet."""
        for leaf in tree_leaves(tensors):
            if not isinstance(leaf, torch.Tensor):
                continue
            storage = leaf.untyped_storage()
            if storage._cdata not in self._alive:
                self._alive[storage._cdata] = storage.nbytes()
                # An address may be used again: it is forgotten at the moment the storage goes.
                weakref.finalize(storage, self._alive.pop, storage._cdata)
        self.peak_bytes = max(self.peak_bytes, sum(self._alive.values()))

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it returns."""
        result = func(*args, **(kwargs or {}))
        self.see(result)
        return result


def _meta(tensor: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


def _passes(
    network: nn.Module, shape: tuple[int, int, int], device: Device, clock: Callable[[], float]
) -> Iterator[float]:
    """Seconds of a forward pass of one image, again and again."""
    image = torch.zeros((1, *shape), device=device.device).to(memory_format=device.memory_format)
    while True:
        started = clock()
        network(image)
        if device.device.type == "cuda":
            torch.cuda.synchronize(device.device)
        yield clock() - started


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
