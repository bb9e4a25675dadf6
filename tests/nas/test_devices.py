import json
import platform
import subprocess
import sys

import pytest
import torch

from nas.devices import Device, choose
from nas.errors import SettingsError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with no accelerator and no bfloat16, to which a test adds."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def add_cuda(machine: pytest.MonkeyPatch, count: int, *, bf16: bool = True) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: count)
    machine.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)


def add_mps(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.parametrize(
    "wish",
    ["", "gpu", "CPU", " cpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cuda0", "mps:0"],
)
def test_other_wishes_are_refused(wish: str) -> None:
    with pytest.raises(SettingsError) as caught:
        choose(wish)
    assert str(caught.value) == (
        f"--device must be auto, cpu, cuda, cuda:N or mps, but is {wish!r}; auto finds one"
    )


def test_cpu(bare: pytest.MonkeyPatch) -> None:
    add_cuda(bare, 1)
    assert choose("cpu") == Device("cpu", bf16=False, channels_last=True)


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions(
    bare: pytest.MonkeyPatch, name: str
) -> None:
    bare.setattr(torch.cpu, name, lambda: True)
    assert choose("cpu") == Device("cpu", bf16=True, channels_last=True)


def test_a_torch_that_cannot_tell_means_float32(bare: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        bare.delattr(torch.cpu, name)
    assert choose("cpu").bf16 is False


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("wish", "name"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0")])
def test_cuda(bare: pytest.MonkeyPatch, wish: str, name: str, bf16: bool) -> None:
    add_cuda(bare, 1, bf16=bf16)
    assert choose(wish) == Device(name, bf16=bf16, channels_last=True)


def test_one_of_several_cuda_devices(bare: pytest.MonkeyPatch) -> None:
    add_cuda(bare, 12)
    assert choose("cuda:11").name == "cuda:11"
    assert choose("cuda:11").device == torch.device("cuda", 11)


@pytest.mark.parametrize(
    ("wish", "number", "count"),
    [("cuda", 0, 0), ("cuda:0", 0, 0), ("cuda:2", 2, 2), ("cuda:9", 9, 1)],
)
def test_a_cuda_device_that_is_not_there(
    bare: pytest.MonkeyPatch, wish: str, number: int, count: int
) -> None:
    add_cuda(bare, count)
    with pytest.raises(SettingsError) as caught:
        choose(wish)
    assert str(caught.value) == (
        f"--device {wish} needs CUDA device {number}, but {count} are visible; use --device auto"
    )


def test_mps(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"--device mps needs .*; use auto"):
        choose("mps")
    add_mps(bare)
    assert choose("mps") == Device("mps", bf16=False, channels_last=False)


def test_auto_takes_cuda_then_mps_then_the_cpu(bare: pytest.MonkeyPatch) -> None:
    assert choose("auto").name == "cpu"
    add_mps(bare)
    assert choose("auto").name == "mps"
    add_cuda(bare, 2)
    assert choose("auto").name == "cuda:0"


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast(bf16: bool, dtype: torch.dtype) -> None:
    linear, device = torch.nn.Linear(4, 4), Device("cpu", bf16=bf16, channels_last=True)
    with device.autocast():
        assert linear(torch.zeros(2, 4)).dtype == dtype
    assert linear(torch.zeros(2, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ("channels_last", "memory_format"),
    [(True, torch.channels_last), (False, torch.contiguous_format)],
)
def test_memory_format(channels_last: bool, memory_format: torch.memory_format) -> None:
    device = Device("cpu", bf16=False, channels_last=channels_last)
    images = torch.zeros(2, 3, 4, 5).to(memory_format=device.memory_format)
    assert device.memory_format == memory_format
    assert images.is_contiguous(memory_format=memory_format)


def test_to_json_names_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    values = Device("cpu", bf16=True, channels_last=False).to_json()
    assert json.loads(json.dumps(values)) == values
    capability = torch.backends.cpu.get_cpu_capability()
    assert values == {
        "name": "cpu",
        "bf16": True,
        "channels_last": False,
        "hardware": f"5 threads, {capability}",
    }


def test_to_json_names_the_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    device = Device("cuda:3", bf16=True, channels_last=True)
    assert device.to_json()["hardware"] == "card 3"


@pytest.mark.gpu
def test_a_real_accelerator_computes() -> None:
    device = choose("auto")
    assert device.name != "cpu"
    with device.autocast():
        result = torch.ones(8, 8, device=device.device) @ torch.ones(8, 8, device=device.device)
    assert result.float().sum().item() == 512


def test_keeping_freed_memory_is_possible_where_the_c_library_has_it() -> None:
    """In a process of its own, since it cannot be undone."""
    code = (
        "import torch; from nas.devices import keep_freed_memory\n"
        "print(keep_freed_memory(), float(torch.ones(50_000_000).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stderr == ""
    told, total = done.stdout.split()
    assert float(total) == 50_000_000
    assert told == "True" or platform.libc_ver()[0] != "glibc"
