"""A baseline as a bundle: served, verified and evaluated like the model that a search found.

The networks of torchvision and of EfficientNet-Lite are the backbones of nas.genome, tensor for
tensor, so a bundle needs neither package.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nas.baselines.recipes import Baseline, BaselineKind
from nas.bundle import Bundle
from nas.errors import BundleError
from nas.genome import BackboneBlock, BackboneName, Genome, ImageShape
from nas.learnt_weights import CLASSIFIERS, ordered, take_over
from nas.network import build
from nas.training import state_of

BACKBONES: Mapping[BaselineKind, BackboneName] = {
    BaselineKind.RESNET18: BackboneName.RESNET18,
    BaselineKind.RESNET18_SCRATCH: BackboneName.RESNET18,
    BaselineKind.EFFICIENTNET_LITE0: BackboneName.EFFICIENTNET_LITE0,
}

UNTUNED = "0.5, not tuned"
"""The threshold of a baseline: its recipe chooses none."""

TOLERANCE = 1e-4
"""Of logits, relative to the largest: other layers, the same sums in another order."""


def as_bundle(trained: Baseline, classes: tuple[str, ...], card: Mapping[str, Any]) -> Bundle:
    """The same network as a bundle.

    Args:
        trained: of a kind in BACKBONES.
        classes: names.
        card: of the bundle.

    Raises:
        BundleError: the bundle's network does not answer as the baseline does.
    """
    name, how = BACKBONES[trained.kind], trained.preprocessing
    genome, image = Genome((BackboneBlock(name),)), ImageShape(how.channels, how.size, how.size)
    network = build(genome, image, len(classes)).eval()
    state = state_of(trained.network)
    source = str(trained.kind)
    take_over(network.get_submodule("backbone1"), ordered(name, state, state, source, ""))
    head = network.get_submodule("linear")
    with torch.no_grad():
        for part in ("weight", "bias"):
            head.get_parameter(part).copy_(state[f"{CLASSIFIERS[name]}{part}"])
    _compare(trained.network, network, image)
    return Bundle.single(
        genome, classes, how, state_of(network), threshold_policy=UNTUNED, card=dict(card)
    )


def _compare(theirs: torch.nn.Module, ours: torch.nn.Module, image: ImageShape) -> None:
    shape = (2, image.channels, image.height, image.width)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = (network.cpu().eval()(images).numpy() for network in (theirs, ours))
    scale = max(1.0, float(np.abs(expected).max()))
    if not np.allclose(found, expected, rtol=0, atol=TOLERANCE * scale):
        apart = float(np.abs(found - expected).max())
        raise BundleError(
            f"a baseline's bundle must answer as the baseline does, but logits are {apart:.2g} "
            "apart; report this, it is a defect"
        )
