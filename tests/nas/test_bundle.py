"""Bundles: round trips, construction, and files that are damaged."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.bundle import load, loads, save
from nas.errors import BundleError
from nas.genome import Genome, ImageShape
from nas.preprocessing import Preprocessing
from tests.nas.bundles import CARD, HERE, TINY, content_of, logits, make, refused, same, stored
from tests.strategies import members

# Round trip ---------------------------------------------------------------------------------------


@given(members())
@settings(max_examples=15)
def test_any_genome_of_the_chain_space_comes_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Genome, ImageShape, int]
) -> None:
    genome, image, classes = case
    side = min(image.height, image.width)
    before = make(genome, size=side, channels=image.channels, classes=classes)
    path = tmp_path_factory.getbasetemp() / "model.pth"
    save(before, path)
    after = load(path)
    assert same(before, after)
    assert torch.equal(logits(before), logits(after))


def test_all_that_is_said_comes_back(data: bytes) -> None:
    bundle = loads(data, HERE)
    assert bundle.genome == TINY.genome
    assert bundle.classes == ("class 0", "class 1")
    assert bundle.preprocessing == Preprocessing(16, 1, (0.5,), (0.25,))
    assert (bundle.threshold, bundle.threshold_policy) == (0.375, "Youden")
    assert bundle.card == CARD
    assert bundle.image == ImageShape(1, 16, 16)


def test_the_network_is_in_evaluation_mode(data: bytes) -> None:
    network = loads(data, HERE).network()
    assert not any(module.training for module in network.modules())


def test_saving_copies_no_gradients_and_leaves_the_bundle_alone(tmp_path: Path) -> None:
    network = TINY.network()
    live = replace(TINY, tensors=dict(network.state_dict(keep_vars=True)))
    assert any(tensor.requires_grad for tensor in live.tensors.values())
    again = loads(stored(live, tmp_path), HERE)
    assert not any(tensor.requires_grad for tensor in again.tensors.values())
    assert same(again, TINY)


def test_other_memory_layouts_are_the_same_model(tmp_path: Path, data: bytes) -> None:
    network = TINY.network().to(memory_format=torch.channels_last)
    strided = replace(TINY, tensors=network.state_dict())
    assert not strided.tensors["conv2.weight"].is_contiguous()
    assert json.loads(content_of(stored(strided, tmp_path))["manifest"]) == json.loads(
        content_of(data)["manifest"]
    )


def test_torch_alone_opens_it(data: bytes) -> None:
    content = torch.load(io.BytesIO(data), weights_only=True)
    assert set(content) == {"manifest", "tensors"}
    manifest = json.loads(content["manifest"])
    assert list(manifest) == [
        "format",
        "version",
        "genome",
        "classes",
        "preprocessing",
        "threshold",
        "calibration",
        "card",
        "tensors",
    ]
    assert (manifest["format"], manifest["version"]) == ("nas-bundle", 1)
    assert manifest["threshold"] == {"value": 0.375, "policy": "Youden"}
    for name, tensor in content["tensors"].items():
        assert manifest["tensors"][name] == {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "sha256": hashlib.sha256(tensor.numpy().tobytes()).hexdigest(),
        }


ELSEWHERE = """
import sys, torch
from pathlib import Path
from nas.bundle import load
bundle = load(Path(sys.argv[1]))
shape = bundle.image
images = torch.rand(3, shape.channels, shape.height, shape.width,
                    generator=torch.Generator().manual_seed(1))
with torch.inference_mode():
    print(bundle.network()(images).tolist())
print(sorted(name for name in ("optuna", "fastapi") if name in sys.modules))
"""


def test_another_process_gets_the_same_logits(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    command = [sys.executable, "-c", ELSEWHERE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    numbers, imported = done.stdout.splitlines()
    torch.testing.assert_close(torch.tensor(json.loads(numbers)), logits(TINY))
    assert imported == "[]"


# Damage -------------------------------------------------------------------------------------------


def test_truncated_files_are_refused(data: bytes) -> None:
    ends = {*range(0, len(data), 37), len(data) - 1}
    for end in sorted(ends):
        assert "export the model again" in refused(data[:end])


def error_or_identical(data: bytes) -> bool:
    """Whether it is refused; torch may warn about what it reads. Must be TINY if it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bundle = loads(data, HERE)
        except BundleError:
            return True
    assert same(bundle, TINY)
    assert torch.equal(logits(bundle), logits(TINY))
    return False


def test_a_flipped_byte_is_refused_or_changes_nothing(data: bytes) -> None:
    """Bytes of the zip that hold dates or padding may change without harm."""
    positions = range(0, len(data), 7)
    caught = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        caught += error_or_identical(bytes(damaged))
    assert caught > len(positions) / 4  # most of this small file is padding


@pytest.mark.parametrize("part", ["manifest", "tensor"])
def test_a_flipped_bit_of_what_counts_is_refused(data: bytes, part: str) -> None:
    """Else another threshold, another class name or another mean would be used without a word."""
    content = content_of(data)
    raw = {
        "manifest": content["manifest"].encode(),
        "tensor": content["tensors"]["conv2.weight"].numpy().tobytes(),
    }[part]
    start = data.index(raw)
    for position in range(start, start + len(raw), 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        refused(bytes(damaged))


@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    )
)
@settings(max_examples=100)
def test_damage_in_several_places(data: bytes, changes: list[tuple[float, int]]) -> None:
    damaged = bytearray(data)
    for where, value in changes:
        damaged[int(where * len(data))] = value
    error_or_identical(bytes(damaged))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert error_or_identical(data)


@pytest.mark.parametrize(
    "other", [b"", b"\0" * 1000, b"Dear reader,\nthis is a text.\n", b"PK\x03\x04" + bytes(60)]
)
def test_other_files_are_refused(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(other)
    with pytest.raises(BundleError, match=r"other\.pth: not a bundle of this program"):
        load(path)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.pth: no such file; run python -m nas\.export"):
        load(tmp_path / "none.pth")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        load(tmp_path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)  # sparse: takes no space

    def read(self: Path) -> bytes:
        raise AssertionError("must not be read")

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(BundleError, match=f"at most {2 << 30} bytes, not {(2 << 30) + 1}"):
        load(path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_foreign_code_is_not_run(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "it ran"
    content = {"manifest": "{}", "tensors": {"a": Trap(mark)}}
    buffer = io.BytesIO()
    if form == "torch":
        torch.save(content, buffer)
    else:
        pickle.dump(content, buffer, protocol=2)
    refused(buffer.getvalue())
    assert not mark.exists()
