"""ONNX files say what their bundle says."""

import builtins
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nas import onnx_model
from nas.bundle import Bundle, Member
from nas.errors import BundleError
from nas.genome import (
    Activation,
    BackboneBlock,
    BackboneName,
    CellsBlock,
    ConvBlock,
    Genome,
    InvertedBlock,
    Pool,
    ResidualBlock,
)
from nas.images import Pixels
from nas.onnx_model import write_onnx
from nas.predictor import Predictor
from tests.nas.bundles import TINY, ensemble, make

CHAIN = Genome((ConvBlock(4, 5, Activation.LEAKY_RELU, pool=Pool.MAX), ConvBlock(6, 2)), 0.3)
KINDS = {
    "chain": make(CHAIN),
    "pooled": make(Genome((ConvBlock(4, 4, pool=Pool.AVERAGE), ConvBlock(4, 3)), grid=2), size=15),
    "residual": make(Genome((ResidualBlock(4, 3, stride=2, bottleneck=True, squeeze=True),))),
    "mobile": make(Genome((InvertedBlock(4, 4, 2, stride=2, squeeze=True),), hidden=(5,))),
    "cell": make(Genome((CellsBlock("231413", 4, 1, 2, 1),)), channels=3, classes=3),
    "backbone": make(
        Genome((BackboneBlock(BackboneName.MOBILENET_V3_SMALL, side=32),)), size=41, channels=3
    ),
}


def loud(bundle: Bundle) -> Bundle:
    """With statistics of images, and logits spread over some units.

    Fresh networks say the same of all images, deep ones to the last digit.
    """
    pixels = torch.from_numpy(pictures(bundle, 16, seed=99))
    return replace(bundle, members=tuple(_loud(m, pixels, bundle) for m in bundle.members))


def _loud(member: Member, pixels: torch.Tensor, bundle: Bundle) -> Member:
    network = member.network(len(bundle.classes))
    images = member.preprocessing.normalize(pixels)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        network(images)
        logits = network.eval()(images)
        last = network.get_submodule("linear")
        assert isinstance(last, nn.Linear)
        scale = 2 / logits.std(0)
        last.bias.copy_((last.bias - logits.mean(0)) * scale)
        last.weight.mul_(scale[:, None])
    return replace(member, tensors=network.state_dict())


def pictures(bundle: Bundle, count: int, seed: int = 0) -> Pixels:
    """Noise of very different brightness and contrast."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, (2, count, bundle.image.channels, 1, 1)), axis=0)
    shape = (count, bundle.image.channels, bundle.image.height, bundle.image.width)
    pixels: Pixels = (low + rng.random(shape) * (high - low)).astype(np.uint8)
    return pixels


def run(path: Path, pixels: Pixels) -> Any:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"pixels": pixels})[0]


def check(quiet: Bundle, path: Path) -> None:
    """It is as the bundle for one image and for many, which the check in itself does not show."""
    bundle = loud(quiet)
    difference = write_onnx(bundle, path, pictures(bundle, 4))
    assert difference <= 1e-4
    for count in (1, 5):
        pixels = pictures(bundle, count, seed=count)
        found = run(path, pixels)
        expected = Predictor(bundle, name="", sha256="").probabilities(pixels)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.ptp(expected[:, 0]) > 0.1, expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_says_the_same_in_onnx(kind: str, tmp_path: Path) -> None:
    check(KINDS[kind], tmp_path / "model.onnx")


def test_every_activation_says_the_same_in_onnx(tmp_path: Path) -> None:
    """In one network for each half of them: exports take seconds."""
    blocks = [ConvBlock(5, 2, activation) for activation in Activation]
    for half in (blocks[::2], blocks[1::2]):
        check(make(Genome(tuple(half))), tmp_path / "model.onnx")


def test_an_ensemble_is_one_model_with_its_temperature(tmp_path: Path) -> None:
    path, bundle = tmp_path / "model.onnx", loud(ensemble())
    check(ensemble(), path)
    pixels = pictures(bundle, 6)
    plain = replace(bundle, calibration=replace(bundle.calibration, temperature=1.0))
    uncalibrated = Predictor(plain, name="", sha256="").probabilities(pixels)
    assert np.abs(run(path, pixels) - uncalibrated).max() > 1e-3


def test_the_file_says_what_goes_in_and_out(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(TINY, path, pictures(TINY, 2))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (said,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("pixels", "tensor(uint8)")
    assert isinstance(given.shape[0], str)  # any number
    assert given.shape[1:] == [1, 16, 16]
    assert (said.name, said.type, said.shape[1]) == ("probabilities", "tensor(float)", 2)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["class 0", "class 1"]
    assert float(told["threshold"]) == 0.375
    assert told["threshold_policy"] == "Youden"
    assert told["synthetic"] == "true"
    assert told["weights_sha256"] == TINY.weights_sha256
    assert "Not for diagnosis." in told["intended_use"]


def test_the_file_does_not_tell_where_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(TINY, path, pictures(TINY, 2))
    assert str(Path(onnx_model.__file__).parents[1]).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_a_model_that_says_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the exporter had made another network of it."""
    exported = onnx_model._exported
    other = make(TINY.members[0].genome, seed=1)
    monkeypatch.setattr(onnx_model, "_exported", lambda _: exported(other))
    with pytest.raises(BundleError, match=r"may differ from the model's by 0.0001, but differ by"):
        write_onnx(TINY, tmp_path / "model.onnx", pictures(TINY, 3))
    assert list(tmp_path.iterdir()) == []


def test_without_images_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="checked on images, but there are none"):
        write_onnx(TINY, tmp_path / "model.onnx", pictures(TINY, 0))
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_one_sentence_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        onnx_model, "find_spec", lambda name: None if name == "onnxscript" else known(name)
    )
    imported = builtins.__import__

    def guarded(name: str, *rest: Any) -> Any:
        assert not name.startswith("onnx")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", guarded)
    with pytest.raises(BundleError, match=r'packages onnxscript, .* pip install "\.\[onnx\]"'):
        write_onnx(TINY, tmp_path / "model.onnx", pictures(TINY, 2))
