"""Where networks run, and in which arithmetic."""

import re
from dataclasses import asdict, dataclass
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

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest, with the hardware's name."""
        return {**asdict(self), "hardware": _hardware(self.device)}


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
