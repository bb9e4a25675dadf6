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
import safetensors.torch
import torch
from torch import nn

from nas.bundle import Bundle, Calibration, limits, loads, save, save_safetensors
from nas.errors import BundleError
from nas.genome import AnyBlock, CellsBlock, ConvBlock, Genome, ImageShape
from nas.network import build
from tests.nas.bundles import (
    HERE,
    TINY,
    content_of,
    ensemble,
    refused,
    same,
    stored,
    with_tensors,
)

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


def member(**entries: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["members"][0].update(entries)


def preprocessed(**entries: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["members"][0]["preprocessing"].update(entries)


def calibrated(**entries: Any) -> Callable[[dict[str, Any]], object]:
    return within("calibration", **entries)


def test_the_forger_forges_nothing_when_asked_for_nothing(data: bytes) -> None:
    assert same(loads(forged(data), HERE), TINY)
    assert same(loads(forged(data, describe=True), HERE), TINY)


def test_a_wrong_checksum_is_refused(data: bytes) -> None:
    changed = forged(data, tensors=lambda t: t["member0.conv1.weight"].add_(1))
    assert "tensor 'member0.conv1.weight' does not match its checksum" in refused(changed)
    # With its checksum the same content is a model of its own.
    again = forged(data, tensors=lambda t: t["member0.conv1.weight"].add_(1), describe=True)
    name = "member0.conv1.weight"
    assert torch.equal(loads(again, HERE).tensors()[name], TINY.tensors()[name] + 1)


@pytest.mark.parametrize("field", ["sha256", "shape", "dtype"])
def test_every_part_of_a_description_counts(data: bytes, field: str) -> None:
    def change(entries: dict[str, Any]) -> None:
        del entries["tensors"]["member0.linear.bias"][field]

    assert "'member0.linear.bias' does not match its checksum" in refused(forged(data, change))


def test_a_tensor_without_a_description_is_refused(data: bytes) -> None:
    changed = forged(data, lambda entries: entries["tensors"].pop("member0.norm1.weight"))
    assert "'member0.norm1.weight' does not match its checksum" in refused(changed)


FIVE = torch.ones(5)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            lambda t: t.pop("member0.conv1.weight"),
            "not those of the genome: ['member0.conv1.weight']",
        ),
        (
            lambda t: t.pop("member0.norm1.running_var"),
            "not those of the genome: ['member0.norm1.running_var']",
        ),
        (lambda t: t.update(extra=FIVE), "not those of the genome: ['extra']"),
        (lambda t: t.clear(), "not those of the genome"),
        (
            lambda t: t.update({"member0.linear.bias": FIVE}),
            "must be (2,) torch.float32, but is (5,)",
        ),
        (
            lambda t: t.update({"member0.linear.weight": t["member0.linear.weight"].T}),
            "must be (2, 4) torch.float32, but is (4, 2)",
        ),
        (
            lambda t: t.update({"member0.linear.bias": t["member0.linear.bias"].double()}),
            "must be (2,) torch.float32, but is (2,) torch.float64",
        ),
        (
            lambda t: t.update({"member0.norm1.num_batches_tracked": torch.tensor(1.0)}),
            "must be () torch.int64, but is () torch.float32",
        ),
        (
            lambda t: t["member0.conv2.bias"].fill_(torch.nan),
            "'member0.conv2.bias' has values that are not finite",
        ),
        (
            lambda t: t["member0.conv2.bias"][0].fill_(torch.inf),
            "'member0.conv2.bias' has values that are not",
        ),
    ],
)
def test_tensors_must_be_those_of_the_genome(
    data: bytes, tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    assert part in refused(forged(data, tensors=change, describe=True))
    tensors = {name: tensor.clone() for name, tensor in TINY.tensors().items()}
    change(tensors)
    plain = {name.removeprefix("member0."): tensor for name, tensor in tensors.items()}
    for write in (save, save_safetensors):
        with pytest.raises(BundleError) as caught:  # and saving refuses the same
            write(with_tensors(TINY, plain), tmp_path / "model.pth")
        assert part.replace("['extra']", "['member0.extra']") in str(caught.value)
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
    forgery = forged(
        data,
        tensors=lambda t: t.update({"member0.conv1.weight": change(t["member0.conv1.weight"])}),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "export the model again" in refused(forgery)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put(version=3), "format must be nas-bundle 1 or 2, but is nas-bundle 3"),
        (put(version="2"), "format must be nas-bundle 1 or 2"),
        (put(version=2.0), "format must be nas-bundle 1 or 2"),
        (put(version=True), "format must be nas-bundle 1 or 2, but is nas-bundle True"),
        (put(version=1), "('genome')"),
        (put(format="other"), "but is other 2"),
        (put(format=["nas-bundle"]), "format must be nas-bundle 1 or 2"),
        (put(more=1), "garbles an entry ('more')"),
        (member(genome={}), "genome: must have exactly"),
        (member(genome={"format": 2, "blocks": [], "head": {}}), "another version"),
        (put(members=[]), "a bundle has 1 to 32 networks, but this one 0"),
        (put(members=[{}] * 33), "a bundle has 1 to 32 networks, but this one 33"),
        (put(members=None), "1 to 32 networks, but this one no list of them"),
        (put(members=["a"]), "garbles"),
        (put(members=[{}]), "garbles an entry ('genome')"),
        (lambda entries: entries["members"].append(entries["members"][0]), "not those of the"),
        (put(combination="median"), "networks are combined by"),
        (put(combination=None), "networks are combined by"),
        (calibrated(temperature=0), "a number from 0.01 to 100, but is 0"),
        (calibrated(temperature=-1.0), "a number from 0.01 to 100, but is -1.0"),
        (calibrated(temperature=0.0099), "a number from 0.01 to 100"),
        (calibrated(temperature=100.1), "a number from 0.01 to 100"),
        (calibrated(temperature=10**400), "a number from 0.01 to 100"),
        (calibrated(temperature=float("nan")), "a number from 0.01 to 100, but is nan"),
        (calibrated(temperature=float("inf")), "a number from 0.01 to 100, but is inf"),
        (calibrated(temperature=True), "a number from 0.01 to 100, but is True"),
        (calibrated(temperature="1"), "a number from 0.01 to 100, but is '1'"),
        (calibrated(temperature=None), "a number from 0.01 to 100, but is None"),
        (calibrated(temperature=1.5), "must say by which method it was fitted, but is 1.5 by none"),
        (calibrated(method=""), "calibration's method must be text"),
        (calibrated(method=3), "calibration's method must be text, but is 3"),
        (calibrated(n=-1), "calibration's n must be a whole number"),
        (calibrated(n=1.5), "calibration's n must be a whole number"),
        (calibrated(n=True), "calibration's n must be a whole number"),
        (calibrated(nll_before=-0.1), "nll_before must be a finite number"),
        (calibrated(nll_after=float("inf")), "nll_after must be a finite number"),
        (calibrated(nll_after="0.3"), "nll_after must be a finite number"),
        (calibrated(more=1), "garbles"),
        (put(calibration=None), "garbles"),
        (put(calibration=[]), "garbles"),
        (put(classes=[]), "two or more different names"),
        (put(classes=["one"]), "two or more different names"),
        (put(classes=["a", "a"]), "two or more different names"),
        (put(classes=["a", ""]), "two or more different names"),
        (put(classes=["a", 3]), "two or more different names"),
        (put(classes=[["a"], ["b"]]), "garbles"),
        (put(classes=None), "garbles"),
        (put(classes=["a", "b", "c"]), "must be (3, 4) torch.float32, but is (2, 4)"),
        (preprocessed(size=4), "8 to 1024"),
        (preprocessed(channels=3), "per channel"),
        (preprocessed(std=[0.0]), "std must be in"),
        (preprocessed(mean=[10**400]), "preprocessing is not as written"),
        (preprocessed(crop=1), "preprocessing is not as written"),
        (member(preprocessing=None), "preprocessing is not as written"),
        (within("threshold", value=0), "in (0, 1), but is 0"),
        (within("threshold", value=1.0), "in (0, 1), but is 1.0"),
        (within("threshold", value=float("nan")), "in (0, 1), but is nan"),
        (within("threshold", value="0.5"), "in (0, 1), but is '0.5'"),
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
    [
        *("format", "version", "classes", "members", "combination", "calibration"),
        *("threshold", "card", "tensors"),
    ],
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


HUGE = [
    # Two such layers would take 15 GB.
    (16, (ConvBlock(4096, 15), ConvBlock(4096, 15)), 1, "250,000,000 parameters, not 3,775"),
    (16, (CellsBlock("333333", 1, 8, 5),) * 24, 1, "16,384 layers, not 19,203"),
    # Few parameters, and 17 GB of what they give for one image.
    (1024, (ConvBlock(4096, 1),), 1, "536,870,912 bytes for an image, but conv1 gives 17,179,"),
    (1024, (ConvBlock(64, 15),) * 4, 1, "1,000,000,000,000 multiply-adds for an image, not 2,"),
    # Each alone is allowed.
    (16, (ConvBlock(2048, 7), ConvBlock(1024, 7)), 3, "250,000,000 parameters, not 308,"),
]


@pytest.mark.parametrize(("size", "blocks", "count", "part"), HUGE, ids=range(len(HUGE)))
def test_a_huge_genome_is_refused_before_anything_is_allocated(
    data: bytes,
    size: int,
    blocks: tuple[AnyBlock, ...],
    count: int,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("must not be built")

    monkeypatch.setattr(limits, "build", never)

    def change(entries: dict[str, Any]) -> None:
        (one,) = entries["members"]
        one["genome"] = Genome(blocks).to_json()
        one["preprocessing"]["size"] = size
        entries["members"] = [one] * count

    assert part in refused(forged(data, change))


def test_networks_that_look_at_images_differently_are_refused(tmp_path: Path) -> None:
    data = stored(ensemble(), tmp_path)
    for name, value in (("size", 17), ("channels", 3), ("resize", "crop")):

        def change(entries: dict[str, Any], name: str = name, value: object = value) -> None:
            how = entries["members"][1]["preprocessing"]
            how[name] = value
            if name == "channels":
                how |= {"mean": [0.5] * 3, "std": [0.5] * 3}

        message = refused(forged(data, change))
        assert f"must have the same {name}, but member 0 has" in message
        assert f"and member 1 has {value}" in message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop("member1.conv1.weight"), "genome: ['member1.conv1.weight']"),
        (lambda t: t.update({"member3.a": FIVE}), "genome: ['member3.a']"),
        (lambda t: t.update({"member01.a": FIVE}), "genome: ['member01.a']"),
        (lambda t: t.update({"conv1.weight": FIVE}), "genome: ['conv1.weight']"),
        (
            lambda t: t["member2.linear.bias"].fill_(torch.nan),
            "'member2.linear.bias' has values that are not finite",
        ),
        (
            lambda t: t.update({"member2.linear.bias": FIVE}),
            "'member2.linear.bias' must be (2,) torch.float32, but is (5,)",
        ),
    ],
)
def test_every_networks_tensors_are_checked(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    data = stored(ensemble(), tmp_path)
    assert part in refused(forged(data, tensors=change, describe=True))


def test_networks_that_changed_places_are_refused(tmp_path: Path) -> None:
    """Members 0 and 1 are of one genome: only the checksums tell them apart."""

    def swap(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("member0.")]:
            other = name.replace("member0", "member1")
            tensors[name], tensors[other] = tensors[other], tensors[name]

    data = stored(ensemble(), tmp_path)
    assert "does not match its checksum" in refused(forged(data, tensors=swap))


def test_an_endless_manifest_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    torch.save({"manifest": " " * ((16 << 20) + 1), "tensors": {}}, buffer)
    assert "at most 16777216 characters, not 16777217" in refused(buffer.getvalue())


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"manifest": "{}"},
        {"manifest": "{}", "manifest_sha256": "0" * 64},
        {"manifest": "[]", "manifest_sha256": hashlib.sha256(b"[]").hexdigest()},
    ],
    ids=range(5),
)
def test_safetensors_of_others_are_refused(metadata: dict[str, str] | None) -> None:
    refused(safetensors.torch.save({"a": FIVE}, metadata))


def forged_safetensors(path: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    save_safetensors(TINY, path)
    with safetensors.safe_open(path, "pt") as file:
        entries = json.loads(file.metadata()["manifest"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(entries)
    text = json.dumps(entries)
    metadata = {"manifest": text, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return safetensors.torch.save(tensors, metadata)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put(version=3), "format must be nas-bundle 1 or 2"),
        (calibrated(temperature=0), "temperature"),
        (lambda e: e["tensors"].pop("member0.linear.bias"), "does not match its checksum"),
    ],
)
def test_safetensors_are_trusted_no_more(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    path = tmp_path / "model.safetensors"
    assert same(loads(forged_safetensors(path, lambda e: None), HERE), TINY)
    assert part in refused(forged_safetensors(path, change))


def test_checking_shapes_allocates_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A genome of 250 million parameters may be asked for by a file of a few bytes."""
    devices: set[str] = set()

    def spy(genome: Genome, image: ImageShape, classes: int) -> nn.Sequential:
        network = build(genome, image, classes)
        devices.update(tensor.device.type for tensor in network.state_dict().values())
        return network

    monkeypatch.setattr(limits, "build", spy)
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
        ({"threshold": True}, "in (0, 1)"),
        ({"members": ()}, "1 to 32 networks, but this one 0"),
        ({"members": TINY.members * 33}, "1 to 32 networks, but this one 33"),
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
    (one,) = TINY.members
    plain = Bundle.single(one.genome, ("a", "b"), one.preprocessing, one.tensors)
    assert (plain.threshold, plain.threshold_policy) == (0.5, "0.5, not tuned")
    assert plain.calibration == Calibration(1.0, "none", 0, None, None)
    assert plain.card == {}
    assert plain == Bundle((one,), ("a", "b"))
