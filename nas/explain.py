"""Where a model looked: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2).

The gradient of a class's logit tells how much each map of the last layer that is fine enough
counts; the maps' weighed sum, what is above 0 of it, is the heat. It shows what the answer hung on,
not that the answer is right, and not where a disease is.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from nas.errors import SettingsError
from nas.images import Pixels
from nas.predictor import Predictor

Heat = npt.NDArray[np.float32]

FINE = 7
"""Least side of a map that is looked at: as the last of a ResNet has at 224×224. A searched network
may end in maps of 2×2, whose heat covers everything and tells nothing."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A heat map.

    Attributes:
        label: the class that it speaks of.
        heat: (size, size) float32 in [0, 1], as large as the network's input; 1 where most of the
            evidence is, all 0 where nothing speaks for the class.
        layers: name of the layer that it is from, of each network.
    """

    label: str
    heat: Heat
    layers: tuple[str, ...]


def grad_cam(predictor: Predictor, pixels: Pixels, label: str | None = None) -> Explanation:
    """Where the model looked for one class of one image; of several networks, the mean.

    Threads may share the predictor: nothing of it is changed.

    Args:
        predictor: the model.
        pixels: (channels, size, size) uint8, as ``Predictor.decode`` gives them.
        label: a class; None for the one that is predicted.

    Raises:
        SettingsError: no such class.
    """
    if label is None:
        label = predictor.predict_pixels(pixels[None])[0].label
    if label not in predictor.classes:
        raise SettingsError(
            f"the class to explain must be one of {', '.join(predictor.classes)}, but is "
            f"{label!r}; choose one"
        )
    target = predictor.classes.index(label)
    networks = predictor.networks
    heats, names = [], []
    for network, how in zip(networks.networks, networks.preprocessings, strict=True):
        assert isinstance(network, nn.Sequential)
        device = next(network.parameters()).device
        inputs = how.normalize(torch.from_numpy(pixels[None]).to(device))
        heat, name = layer_grad_cam(network, inputs, target)
        size = (pixels.shape[-2], pixels.shape[-1])
        large = functional.interpolate(heat, size, mode="bilinear", align_corners=False)[0, 0]
        highest = float(large.max())
        heats.append(large / highest if highest > 0 else large)
        names.append(name)
    mean = torch.stack(heats).mean(0)
    highest = float(mean.max())
    mean = mean / highest if highest > 0 else mean
    return Explanation(label, mean.cpu().numpy().astype(np.float32), tuple(names))


def layer_grad_cam(
    network: nn.Sequential, inputs: torch.Tensor, target: int
) -> tuple[torch.Tensor, str]:
    """Grad-CAM at the last layer that is fine enough, or the last that has an extent.

    Args:
        network: in evaluation mode.
        inputs: (N, C, H, W) float32, normalised.
        target: index of the class.

    Returns:
        (N, 1, h, w) float32 >= 0 of that layer's size, and the layer's name.
    """
    children = list(network.named_children())
    with torch.no_grad():
        place, features = _last_fine(network, inputs)
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        outputs = leaf * 1  # a copy: a layer behind it may write into what it is given
        for _, layer in children[place + 1 :]:
            outputs = layer(outputs)
        (gradient,) = torch.autograd.grad(outputs[:, target].sum(), leaf)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1, keepdim=True).relu(), children[place][0]


def _last_fine(network: nn.Sequential, inputs: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Place and output of the last layer whose maps are fine; else of several pixels; else any.

    A layer that writes into this output would give maps as fine, and be the last one itself.
    """
    found, best = (0, inputs), 0
    values = inputs
    for place, layer in enumerate(network.children()):
        values = layer(values)
        if values.ndim == 4:
            height, width = values.shape[-2:]
            rank = int(height * width > 1) + int(min(height, width) >= FINE)
            if rank >= best:
                found, best = (place, values), rank
    return found


def overlay(pixels: Pixels, heat: Heat, opacity: float = 0.45) -> bytes:
    """The image in gray with the heat over it, as PNG.

    Args:
        pixels: (channels, size, size) uint8.
        heat: (size, size) in [0, 1].
        opacity: in [0, 1], of the heat where it is 1; where it is 0 the image alone is seen.
    """
    gray = pixels.mean(0, dtype=np.float32)[..., None].repeat(3, axis=2)
    share = (opacity * heat)[..., None]
    mixed = (1 - share) * gray + share * _colours(heat)
    return _png(mixed.round().clip(0, 255).astype(np.uint8))


def heat_png(heat: Heat) -> bytes:
    """The heat alone, as PNG with its own transparency: to be laid over the image by a page."""
    colours = _colours(heat).round().astype(np.uint8)
    alpha = (255 * heat).round().astype(np.uint8)[..., None]
    return _png(np.concatenate([colours, alpha], axis=2))


def _colours(heat: Heat) -> npt.NDArray[np.float32]:
    """(H, W, 3) in [0, 255]: from dark red over orange to pale yellow, in rising brightness.

    So that it is read in print and by who sees few colours, unlike a rainbow.
    """
    stops = np.linspace(0, 1, 4)
    points = np.array([[80, 0, 20], [200, 40, 20], [255, 150, 30], [255, 250, 190]], np.float32)
    channels = [np.interp(heat, stops, points[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
