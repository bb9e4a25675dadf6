"""How many workers this machine gets, on which devices, and with what around them. No torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from nas.errors import SettingsError

TRAINING_MEMORY = 4 * 2**30
"""Bytes of a GPU that are set aside for one training, at 64×64.

What a step keeps for its backward pass, counted on the meta device for 64 images in bfloat16: 2.9
GiB in the chain space's largest network, 0.13 GiB in the median of 300 random ones (seed 0; at most
0.91). The rest is for CUDA's own context, workspaces and the images; no GPU was at hand to measure
those. It grows with the number of pixels.
"""

# All are read when a library is imported, so a process needs them from its start. The first is
# OpenMP's, which torch and scikit-learn use; the others go before it in libraries of their own.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Slots:
    """Places for jobs.

    Attributes:
        devices: one a slot: "cpu", "mps" or "cuda:N".
        threads: of each worker, at least 1.
    """

    devices: tuple[str, ...]
    threads: int

    def __post_init__(self) -> None:
        if not self.devices or self.threads < 1:
            raise SettingsError(
                "workers need a device each and at least 1 thread, but have "
                f"{len(self.devices)} devices and {self.threads} threads; raise them"
            )


def plan(
    wish: int | None,
    device: str,
    cuda_memory: Sequence[int],
    cores: int,
    *,
    memory: int = TRAINING_MEMORY,
) -> Slots:
    """Divide this machine among workers.

    Args:
        wish: number of workers. None for one on a CPU or MPS, and on GPUs for as many as their
            free memory holds, one at least, and no more than cores.
        device: "cpu", "mps", "cuda" for every visible GPU, or "cuda:N" for one.
        cuda_memory: free bytes of each visible GPU.
        cores: of the CPU, at least 1; see ``usable_cores``.
        memory: bytes of a GPU for one worker.

    Returns:
        Workers go round the GPUs, and share the cores equally.

    Raises:
        SettingsError: fewer than one worker, more than the device takes, or no such GPU.
    """
    if wish is not None and wish < 1:
        raise SettingsError(f"--workers must be at least 1, but is {wish}; raise it")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        devices = _on_gpus(wish, _chosen(number, len(cuda_memory)), cuda_memory, cores, memory)
    else:
        most, what = (1, "MPS device") if kind == "mps" else (cores, "core")
        count = wish or 1
        if count > most:
            there = f"1 {what} that is" if most == 1 else f"{most} {what}s that are"
            raise SettingsError(
                f"--workers must be at most the {there} here, but is {count}; lower it"
            )
        devices = (device,) * count
    return Slots(devices, max(1, cores // len(devices)))


def _chosen(number: str, count: int) -> Sequence[int]:
    """Indices of GPUs."""
    chosen = range(count) if not number else range(int(number), int(number) + 1)
    if not chosen or chosen[-1] >= count:
        raise SettingsError(
            f"--device cuda{number and ':'}{number} needs that GPU, but {count} are visible; use "
            "--device auto"
        )
    return chosen


def _on_gpus(
    wish: int | None, gpus: Sequence[int], free: Sequence[int], cores: int, memory: int
) -> tuple[str, ...]:
    if wish is not None:
        return tuple(f"cuda:{gpus[n % len(gpus)]}" for n in range(wish))
    fits = {gpu: free[gpu] // memory for gpu in gpus}
    rounds = ((turn, gpu) for turn in range(cores) for gpu in gpus if turn < fits[gpu])
    devices = [f"cuda:{gpu}" for _, gpu in rounds][:cores]
    return tuple(devices) or (f"cuda:{max(gpus, key=lambda gpu: free[gpu])}",)


def usable_cores() -> int:
    """Cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker process runs.

    Attributes:
        device: as its jobs see it.
        environment: variables that it needs from its start.
    """

    device: str
    environment: Mapping[str, str]

    @classmethod
    def of(cls, device: str, threads: int, visible: str | None) -> Self:
        """For a slot.

        A worker sees its own GPU alone, as "cuda:0": what asks CUDA for its properties takes
        memory on the first one that it sees.

        Args:
            device: as this process sees it: "cpu", "mps" or "cuda:N".
            threads: for arithmetic.
            visible: CUDA_VISIBLE_DEVICES of this process.

        Raises:
            SettingsError: a GPU that is not visible.
        """
        environment = dict.fromkeys(THREADS, str(threads))
        kind, _, number = device.partition(":")
        if kind != "cuda":
            return cls(device, environment)
        index = int(number or 0)
        names = [str(n) for n in range(index + 1)]
        if visible is not None:
            names = [name.strip() for name in visible.split(",") if name.strip()]
        if index >= len(names):
            raise SettingsError(
                f"a worker's GPU must be one of the {len(names)} in {GPUS}, but is {device}; "
                "add it there"
            )
        return cls("cuda:0", environment | {GPUS: names[index]})
