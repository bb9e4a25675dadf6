"""Bundles: whole files with forged content, and what cannot be constructed."""

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas import bundle as bundle_module
from nas.bundle import Bundle, loads, save
from nas.errors import BundleError
from nas.genome import CellsBlock, ConvBlock, Genome, ImageShape
from nas.network import build
from tests.nas.bundles import HERE, TINY, content_of, refused, same

# Forged content -----------------------------------------------------------------------------------


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
    endless = Genome((CellsBlock("333333", 1, 8, 5),) * 8)
    message = refused(forged(data, put(genome=endless.to_json())))
    assert "at most 4096 layers, not 6403" in message


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
