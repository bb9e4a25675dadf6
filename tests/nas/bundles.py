"""Small bundles that tests write."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.bundle import Bundle, Calibration, Networks, loads, save
from nas.errors import BundleError
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Norm, Pool
from nas.network import build
from nas.preprocessing import Preprocessing

HERE = Path("model.pth")


CARD = {"name": "tiny", "data": {"synthetic": True}, "scores": {"auroc": 0.9, "n": 12}}


def make(
    genome: Genome, *, size: int = 16, channels: int = 1, classes: int = 2, seed: int = 0
) -> Bundle:
    """A bundle with random weights and running statistics that are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(genome, ImageShape(channels, size, size), classes)
        network(torch.rand(4, channels, size, size))
    names = tuple(f"class {number}" for number in range(classes))
    preprocessing = Preprocessing(size, channels, (0.5,) * channels, (0.25,) * channels)
    tensors = network.state_dict()
    return Bundle.single(genome, names, preprocessing, tensors, 0.375, "Youden", card=CARD)


TINY = make(
    Genome((ConvBlock(3, 2, pool=Pool.MAX), ConvBlock(4, 3, Activation.ELU, norm=Norm.NONE)), 0.2)
)


CALIBRATION = Calibration(1.25, "one temperature, fitted out of fold", 120, 0.41, 0.375)


def ensemble() -> Bundle:
    """Three networks of two genomes, whose folds have other means."""
    other = make(Genome((ConvBlock(5, 3, Activation.GELU, pool=Pool.AVERAGE),)), seed=2)
    again = make(TINY.members[0].genome, seed=1)
    members = [
        replace(
            bundle.members[0],
            preprocessing=replace(bundle.preprocessing, mean=(mean,), std=(mean / 2,)),
        )
        for bundle, mean in ((TINY, 0.5), (again, 0.46), (other, 0.52))
    ]
    return replace(TINY, members=tuple(members), calibration=CALIBRATION)


def with_tensors(bundle: Bundle, tensors: Mapping[str, torch.Tensor]) -> Bundle:
    """A bundle of one network, with others of its tensors."""
    (member,) = bundle.members
    return replace(bundle, members=(replace(member, tensors=tensors),))


def stored(bundle: Bundle, folder: Path) -> bytes:
    save(bundle, folder / "model.pth")
    return (folder / "model.pth").read_bytes()


def same(one: Bundle, other: Bundle) -> bool:
    mine, yours = one.tensors(), other.tensors()
    tensors = mine.keys() == yours.keys() and all(torch.equal(mine[n], yours[n]) for n in mine)
    return tensors and _said(one) == _said(other)


def _said(bundle: Bundle) -> Bundle:
    """All but the tensors, which have no plain equality."""
    return replace(bundle, members=tuple(replace(m, tensors={}) for m in bundle.members))


def logits(bundle: Bundle, count: int = 3) -> torch.Tensor:
    """(members, count, classes)."""
    shape = bundle.image
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(
        0, 256, (count, shape.channels, shape.height, shape.width), generator=generator
    )
    with torch.inference_mode():
        return Networks.of(bundle).logits(images.to(torch.uint8))


def refused(data: bytes) -> str:
    """The message with which ``data`` is refused."""
    with pytest.raises(BundleError) as caught:
        loads(data, HERE)
    assert str(caught.value).startswith("model.pth: ")
    return str(caught.value)


def content_of(data: bytes) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return content
