import hashlib
import io
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas import bundle as bundle_module
from nas.bundle import Bundle, load, loads, save
from nas.errors import BundleError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Pool
from nas.network import build
from nas.preprocessing import Preprocessing
from tests.strategies import members

HERE = Path("model.pth")
CARD = {"name": "tiny", "data": {"synthetic": True}, "scores": {"auroc": 0.9, "n": 12}}


def make(genome: Genome, *, size: int = 16, channels: int = 1, classes: int = 2) -> Bundle:
    """A bundle with random weights and running statistics that are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(genome, ImageShape(channels, size, size), classes)
        network(torch.rand(4, channels, size, size))
    names = tuple(f"class {number}" for number in range(classes))
    preprocessing = Preprocessing(size, channels, (0.5,) * channels, (0.25,) * channels)
    return Bundle(genome, names, preprocessing, network.state_dict(), 0.375, "Youden", CARD)


TINY = make(
    Genome((ConvBlock(3, 2, pool=Pool.MAX), ConvBlock(4, 3, Activation.ELU, norm=Norm.NONE)), 0.2)
)


def stored(bundle: Bundle, folder: Path) -> bytes:
    save(bundle, folder / "model.pth")
    return (folder / "model.pth").read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return stored(TINY, tmp_path_factory.mktemp("bundle"))


def same(one: Bundle, other: Bundle) -> bool:
    tensors = one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors
    )
    return tensors and replace(one, tensors={}) == replace(other, tensors={})


def logits(bundle: Bundle, count: int = 3) -> torch.Tensor:
    shape = bundle.image
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        images = torch.rand(count, shape.channels, shape.height, shape.width, generator=generator)
        result: torch.Tensor = bundle.network()(images)
    return result


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


def refused(data: bytes) -> str:
    """The message with which ``data`` is refused."""
    with pytest.raises(BundleError) as caught:
        loads(data, HERE)
    assert str(caught.value).startswith("model.pth: ")
    return str(caught.value)


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


# Forged content -----------------------------------------------------------------------------------


def content_of(data: bytes) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return content


def forged(
    data: bytes,
    manifest: Callable[[dict[str, Any]], object] | None = None,
    tensors: Callable[[dict[str, Any]], object] | None = None,
    *,
    describe: bool = False,
) -> bytes:
    """A bundle with changes; ``describe`` makes the checksums fit them again."""
    content = content_of(data)
    entries = json.loads(content["manifest"])
    if tensors is not None:
        tensors(content["tensors"])
    if describe:
        entries["tensors"] = {
            name: {
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "sha256": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest(),
            }
            for name, tensor in content["tensors"].items()
        }
    if manifest is not None:
        manifest(entries)
    buffer = io.BytesIO()
    torch.save({"manifest": json.dumps(entries), "tensors": content["tensors"]}, buffer)
    return buffer.getvalue()


def put(**entries: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data.update(entries)


def within(name: str, **entries: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data[name].update(entries)


def test_the_forger_forges_nothing_when_asked_for_nothing(data: bytes) -> None:
    assert same(loads(forged(data), HERE), TINY)
    assert same(loads(forged(data, describe=True), HERE), TINY)


def test_a_wrong_checksum_is_refused(data: bytes) -> None:
    changed = forged(data, tensors=lambda t: t["conv1.weight"].add_(1))
    assert "tensor 'conv1.weight' does not match its checksum" in refused(changed)
    # With its checksum the same content is a model of its own.
    again = forged(data, tensors=lambda t: t["conv1.weight"].add_(1), describe=True)
    assert torch.equal(loads(again, HERE).tensors["conv1.weight"], TINY.tensors["conv1.weight"] + 1)


@pytest.mark.parametrize("field", ["sha256", "shape", "dtype"])
def test_every_part_of_a_description_counts(data: bytes, field: str) -> None:
    def change(entries: dict[str, Any]) -> None:
        del entries["tensors"]["linear.bias"][field]

    assert "'linear.bias' does not match its checksum" in refused(forged(data, change))


def test_a_tensor_without_a_description_is_refused(data: bytes) -> None:
    changed = forged(data, lambda entries: entries["tensors"].pop("norm1.weight"))
    assert "'norm1.weight' does not match its checksum" in refused(changed)


FIVE = torch.ones(5)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop("conv1.weight"), "not those of the genome: ['conv1.weight']"),
        (lambda t: t.pop("norm1.running_var"), "not those of the genome: ['norm1.running_var']"),
        (lambda t: t.update(extra=FIVE), "not those of the genome: ['extra']"),
        (lambda t: t.clear(), "not those of the genome"),
        (lambda t: t.update({"linear.bias": FIVE}), "must be (2,) torch.float32, but is (5,)"),
        (
            lambda t: t.update({"linear.weight": t["linear.weight"].T}),
            "must be (2, 4) torch.float32, but is (4, 2)",
        ),
        (
            lambda t: t.update({"linear.bias": t["linear.bias"].double()}),
            "must be (2,) torch.float32, but is (2,) torch.float64",
        ),
        (
            lambda t: t.update({"norm1.num_batches_tracked": torch.tensor(1.0)}),
            "must be () torch.int64, but is () torch.float32",
        ),
        (lambda t: t["conv2.bias"].fill_(torch.nan), "'conv2.bias' has values that are not finite"),
        (lambda t: t["conv2.bias"][0].fill_(torch.inf), "'conv2.bias' has values that are not"),
    ],
)
def test_tensors_must_be_those_of_the_genome(
    data: bytes, tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    assert part in refused(forged(data, tensors=change, describe=True))
    tensors = {name: tensor.clone() for name, tensor in TINY.tensors.items()}
    change(tensors)
    with pytest.raises(BundleError) as caught:  # and saving refuses the same, in the same words
        save(replace(TINY, tensors=tensors), tmp_path / "model.pth")
    assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _meta(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, device="meta")


def _sparse(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse tensors experimental
        return tensor.to_sparse()


def _negated(tensor: torch.Tensor) -> torch.Tensor:
    return torch.complex(tensor, tensor).conj().imag  # a view that negates when it is read


@pytest.mark.parametrize("change", [_meta, _sparse, _negated])
def test_tensors_that_are_not_plain_numbers_are_refused(
    data: bytes, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    forgery = forged(data, tensors=lambda t: t.update({"conv1.weight": change(t["conv1.weight"])}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "export the model again" in refused(forgery)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put(version=2), "format must be nas-bundle 1, but is nas-bundle 2"),
        (put(version="1"), "format must be nas-bundle 1"),
        (put(format="other"), "but is other 1"),
        (put(genome={}), "genome: must have exactly"),
        (within("genome", format=2), "another version"),
        (put(classes=[]), "two or more different names"),
        (put(classes=["one"]), "two or more different names"),
        (put(classes=["a", "a"]), "two or more different names"),
        (put(classes=["a", ""]), "two or more different names"),
        (put(classes=["a", 3]), "two or more different names"),
        (put(classes=[["a"], ["b"]]), "garbles"),
        (put(classes=None), "garbles"),
        (put(classes=["a", "b", "c"]), "must be (3, 4) torch.float32, but is (2, 4)"),
        (within("preprocessing", size=4), "8 to 1024"),
        (within("preprocessing", channels=3), "per channel"),
        (within("preprocessing", std=[0.0]), "std must be in"),
        (within("preprocessing", mean=[10**400]), "preprocessing is not as written"),
        (within("preprocessing", crop=1), "preprocessing is not as written"),
        (put(preprocessing=None), "preprocessing is not as written"),
        (within("threshold", value=0), "in (0, 1), but is 0"),
        (within("threshold", value=1.0), "in (0, 1), but is 1.0"),
        (within("threshold", value=float("nan")), "in (0, 1), but is nan"),
        (within("threshold", value="0.5"), "garbles"),
        (within("threshold", policy=[1]), "policy must be text"),
        (put(threshold=None), "garbles"),
        (put(card=None), "card"),
        (put(card=[]), "card"),
        (put(card={"data": None}), "card"),
        (put(card={"data": {"synthetic": "no"}}), "synthetic"),
        (put(card={"data": {"synthetic": 1}}), "synthetic"),
        (put(card={"score": float("nan")}), "card"),
        (put(tensors=None), "garbles"),
        (put(tensors=[]), "garbles"),
        (put(tensors={}), "checksum"),
    ],
)
def test_a_garbled_manifest_is_refused(
    data: bytes, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    assert part in refused(forged(data, change))


@pytest.mark.parametrize(
    "name",
    ["format", "version", "genome", "classes", "preprocessing", "threshold", "card", "tensors"],
)
def test_a_manifest_that_lacks_an_entry_is_refused(data: bytes, name: str) -> None:
    message = refused(forged(data, lambda entries: entries.pop(name)))
    assert f"the manifest lacks or garbles an entry ('{name}')" in message


@pytest.mark.parametrize("name", ["value", "policy"])
def test_a_threshold_that_lacks_an_entry_is_refused(data: bytes, name: str) -> None:
    message = refused(forged(data, lambda entries: entries["threshold"].pop(name)))
    assert f"('{name}')" in message


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"manifest": "{}"},
        {"tensors": {}},
        {"manifest": "no json", "tensors": {}},
        {"manifest": 3, "tensors": {}},
        {"manifest": "[]", "tensors": {}},
        {"manifest": "null", "tensors": {}},
        {"manifest": "[" * 200_000, "tensors": {}},
        {"manifest": "{}", "tensors": []},
        {"manifest": "{}", "tensors": {"a": 3}},
        {"manifest": "{}", "tensors": None},
        {"manifest": "{}", "tensors": {}},
        [1],
    ],
    ids=range(13),
)
def test_other_contents_are_refused(content: object) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    refused(buffer.getvalue())


def test_a_huge_genome_is_refused_before_anything_is_allocated(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two such layers would take 15 GB."""

    def never(*args: object) -> None:
        raise AssertionError("must not be built")

    monkeypatch.setattr(bundle_module, "build", never)
    huge = Genome((ConvBlock(4096, 15), ConvBlock(4096, 15)))
    message = refused(forged(data, put(genome=huge.to_json())))
    assert "at most 250000000 parameters, not 3775" in message


def test_checking_shapes_allocates_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A genome of 250 million parameters may be asked for by a file of a few bytes."""
    devices: set[str] = set()

    def spy(genome: Genome, image: ImageShape, classes: int) -> nn.Sequential:
        network = build(genome, image, classes)
        devices.update(tensor.device.type for tensor in network.state_dict().values())
        return network

    monkeypatch.setattr(bundle_module, "build", spy)
    loads(data, HERE)
    assert devices == {"meta"}


# Construction -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"classes": ("one",)}, "two or more different names"),
        ({"classes": ("a", "a")}, "two or more different names"),
        ({"threshold": 0.0}, "in (0, 1)"),
        ({"threshold": 1.0}, "in (0, 1)"),
        ({"threshold": float("nan")}, "in (0, 1)"),
        ({"threshold_policy": None}, "policy must be text"),
        ({"card": {"data": {"synthetic": "yes"}}}, "synthetic"),
        ({"card": {"score": float("inf")}}, "card: must hold plain, finite JSON values"),
        ({"card": {"path": Path("x")}}, "card: must hold plain, finite JSON values"),
    ],
)
def test_a_bundle_is_valid_by_construction(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(BundleError) as caught:
        replace(TINY, **changes)
    assert part in str(caught.value)


def test_defaults() -> None:
    plain = Bundle(TINY.genome, ("a", "b"), TINY.preprocessing, TINY.tensors)
    assert (plain.threshold, plain.threshold_policy) == (0.5, "0.5, not tuned")
    assert plain.card == {}
