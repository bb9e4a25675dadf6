"""Where networks run, and in which arithmetic."""

import ctypes
import re
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nas.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Device:
    """A device and how to use it.

    Attributes:
        name: "cpu", "cuda:N" or "mps".
        bf16: compute under bfloat16 autocast.
        channels_last: keep images as (N, H, W, C) in memory.
    """

    name: str
    bf16: bool
    channels_last: bool

    @property
    def device(self) -> torch.device:
        """As torch wants it."""
        return torch.device(self.name)

    @property
    def memory_format(self) -> torch.memory_format:
        """For ``tensor.to(memory_format=...)``."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def exact(self) -> "Device":
        """The same in float32."""
        return replace(self, bf16=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest, with the hardware's name."""
        return {**asdict(self), "hardware": _hardware(self.device)}


@dataclass(frozen=True, slots=True)
class HalfPrecision:
    """For which networks a CPU that computes in bfloat16 is faster in it; see nas.self_test.

    Attributes:
        plain: those without depthwise convolutions; 57 % of float32's time with AVX512-BF16.
        depthwise: the others. A training step of 32 images took 100 instead of 49 ms, 255 instead
            of 109 and 127 instead of 60 (two mobile networks and a macro one, one core with
            AVX512-BF16).
    """

    plain: bool = True
    depthwise: bool = False


def choose(wish: str) -> Device:
    """The device for auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU.

    bfloat16 is used where the hardware computes in it. On CPUs: measured at 64×64 on 2 cores with
    AVX512-BF16 a training step took 57 % of its float32 time; without such instructions bfloat16
    is emulated and slower. MPS stays in float32 and contiguous: nothing else was measured there.

    Raises:
        SettingsError: no such device here.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", wish):
        raise SettingsError(
            f"--device must be auto, cpu, cuda, cuda:N or mps, but is {wish!r}; auto finds one"
        )
    kind, _, index = wish.partition(":")
    if kind == "auto":
        kind = _found()
    if kind == "cuda":
        number = int(index or 0)
        if number >= torch.cuda.device_count():
            raise SettingsError(
                f"--device {wish} needs CUDA device {number}, but {torch.cuda.device_count()} are "
                "visible; use --device auto"
            )
        return Device(f"cuda:{number}", torch.cuda.is_bf16_supported(), channels_last=True)
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise SettingsError("--device mps needs Apple's MPS, which is not here; use auto")
        return Device("mps", bf16=False, channels_last=False)
    return Device("cpu", _cpu_has_bf16(), channels_last=True)


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, where the C library can; says whether it does.

    glibc gives large blocks back to the system at once, and every step gets its activations anew,
    page by page: a third of all processor time went there. With the blocks kept a training step
    took 85 instead of 143 ms with 128 filters at 64×64 in bfloat16 (84 against 99 ms with 64;
    2 cores, two runs each in turn). For programs that train; a server needs no such thing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(mallopt(option, value) == 1 for option, value in _MALLOC_OPTIONS)


# From malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD, in bytes; values are C integers.
_MALLOC_OPTIONS = ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 28))


def _found() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cpu_has_bf16() -> bool:
    # torch offers no public question for this.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
