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

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.bundle import Calibration, Networks, load, loads, save, save_safetensors
from nas.errors import BundleError
from nas.genome import Genome, ImageShape
from nas.predictor import Predictor
from nas.preprocessing import Preprocessing
from tests.nas.bundles import (
    CALIBRATION,
    CARD,
    HERE,
    TINY,
    content_of,
    ensemble,
    logits,
    make,
    refused,
    same,
    stored,
    with_tensors,
)
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
    assert [member.genome for member in bundle.members] == [TINY.members[0].genome]
    assert bundle.calibration == Calibration(1.0, "none", 0, None, None)
    assert bundle.classes == ("class 0", "class 1")
    assert bundle.preprocessing == Preprocessing(16, 1, (0.5,), (0.25,))
    assert (bundle.threshold, bundle.threshold_policy) == (0.375, "Youden")
    assert bundle.card == CARD
    assert bundle.image == ImageShape(1, 16, 16)


def test_the_network_is_in_evaluation_mode(data: bytes) -> None:
    network = Networks.of(loads(data, HERE))
    assert not any(module.training for module in network.modules())


def test_saving_copies_no_gradients_and_leaves_the_bundle_alone(tmp_path: Path) -> None:
    network = TINY.members[0].network(2)
    live = with_tensors(TINY, dict(network.state_dict(keep_vars=True)))
    assert any(tensor.requires_grad for tensor in live.tensors().values())
    again = loads(stored(live, tmp_path), HERE)
    assert not any(tensor.requires_grad for tensor in again.tensors().values())
    assert same(again, TINY)


def test_other_memory_layouts_are_the_same_model(tmp_path: Path, data: bytes) -> None:
    network = TINY.members[0].network(2).to(memory_format=torch.channels_last)
    strided = with_tensors(TINY, network.state_dict())
    assert not strided.tensors()["member0.conv2.weight"].is_contiguous()
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
        "classes",
        "members",
        "combination",
        "calibration",
        "threshold",
        "card",
        "tensors",
    ]
    assert (manifest["format"], manifest["version"]) == ("nas-bundle", 2)
    assert manifest["combination"] == "mean of softmax(logits / temperature)"
    assert manifest["threshold"] == {"value": 0.375, "policy": "Youden"}
    for name, tensor in content["tensors"].items():
        assert manifest["tensors"][name] == {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "sha256": hashlib.sha256(tensor.numpy().tobytes()).hexdigest(),
        }


ELSEWHERE = """
import json, sys, numpy as np
from pathlib import Path
from nas.predictor import Predictor
pixels = np.array(json.loads(sys.argv[1]), dtype=np.uint8)
said = []
for path in sys.argv[2:]:
    predictor = Predictor.load(Path(path))
    said.append([predictor.logits(pixels).tolist(), predictor.probabilities(pixels).tolist()])
heavy = ("optuna", "fastapi", "onnx", "onnxruntime", "onnxscript")
print(json.dumps([said, sorted(name for name in heavy if name in sys.modules)]))
"""


def test_another_process_gets_the_same_logits(tmp_path: Path) -> None:
    """Of one network and of three, from either kind of file."""
    pixels = np.random.default_rng(5).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    command = [sys.executable, "-c", ELSEWHERE, json.dumps(pixels.tolist())]
    expected = []
    for name, bundle in (("one", TINY), ("three", ensemble())):
        save(bundle, tmp_path / f"{name}.pth")
        save_safetensors(bundle, tmp_path / f"{name}.safetensors")
        here = Predictor(bundle, name="here", sha256="")
        expected += [(here.logits(pixels), here.probabilities(pixels))] * 2
        command += [str(tmp_path / f"{name}{suffix}") for suffix in (".pth", ".safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    said, imported = json.loads(done.stdout)
    assert imported == []
    for (logits_there, chances_there), (logits_here, chances_here) in zip(
        said, expected, strict=True
    ):
        np.testing.assert_allclose(logits_there, logits_here, rtol=0, atol=1e-5)
        np.testing.assert_allclose(chances_there, chances_here, rtol=0, atol=1e-5)


# Several networks ---------------------------------------------------------------------------------


def test_an_ensemble_comes_back_bit_by_bit(tmp_path: Path) -> None:
    before = ensemble()
    after = loads(stored(before, tmp_path), HERE)
    assert same(before, after)
    assert [member.preprocessing.mean for member in after.members] == [(0.5,), (0.46,), (0.52,)]
    assert after.calibration == CALIBRATION
    assert torch.equal(logits(before), logits(after))
    content = content_of((tmp_path / "model.pth").read_bytes())
    starts = {name.partition(".")[0] for name in content["tensors"]}
    assert starts == {"member0", "member1", "member2"}


def test_costs_and_keys_of_an_ensemble_are_over_all_its_networks() -> None:
    three = ensemble()
    each = [replace(three, members=(member,)) for member in three.members]
    assert three.parameters == sum(one.parameters for one in each)
    assert three.multiply_adds == sum(one.multiply_adds for one in each)
    assert TINY.genome_key == TINY.members[0].genome.key
    swapped = replace(three, members=three.members[::-1])
    assert len({three.genome_key, swapped.genome_key, *(one.genome_key for one in each)}) == 4
    assert len({three.weights_sha256, *(one.weights_sha256 for one in each)}) == 4


def test_the_digest_of_one_networks_weights_is_over_their_plain_names() -> None:
    """As format 1 had it: a run's manifest counts the readings of the test split by it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(TINY.members[0].tensors.items()):
        digest.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
    assert TINY.weights_sha256 == digest.hexdigest()


# Safetensors --------------------------------------------------------------------------------------


def test_safetensors_hold_the_same_bundle(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for bundle in (TINY, ensemble()):
        save_safetensors(bundle, path)
        assert same(load(path), bundle)
    with safetensors.safe_open(path, "pt") as file:  # as anybody reads it
        metadata = file.metadata()
        names = set(file.keys())
    assert metadata["format"] == "pt"
    assert json.loads(metadata["manifest"])["version"] == 2
    assert names == set(ensemble().tensors())


def test_a_damaged_safetensors_file_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_safetensors(TINY, path)
    data = path.read_bytes()
    for position in range(0, len(data), 5):
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        error_or_identical(bytes(damaged))
    for end in range(0, len(data), 97):
        assert "export the model again" in refused(data[:end])
    start = data.index(b'\\"value\\": 0.375')
    damaged = bytearray(data)
    damaged[start + len(b'\\"value\\": 0.')] ^= 0x01  # the threshold would be 0.275
    assert "the manifest does not match its checksum" in refused(bytes(damaged))


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
        "tensor": content["tensors"]["member0.conv2.weight"].numpy().tobytes(),
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
