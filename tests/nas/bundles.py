"""Small bundles that tests write."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.bundle import Bundle, loads, save
from nas.errors import BundleError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Pool
from nas.network import build
from nas.preprocessing import Preprocessing

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


def refused(data: bytes) -> str:
    """The message with which ``data`` is refused."""
    with pytest.raises(BundleError) as caught:
        loads(data, HERE)
    assert str(caught.value).startswith("model.pth: ")
    return str(caught.value)


def content_of(data: bytes) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return content
