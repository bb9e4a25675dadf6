"""Augmentation in batches, on the device that trains.

Mild geometry (a rotation turns a film, a mirror moves the heart: so no flips), and stronger changes
of sharpness, exposure and noise, because on the public chest X-rays sharpness alone predicts the
label: what augmentation varies, a network cannot lean on.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from nas.data import filters
from nas.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Strengths; each image draws its own values, uniformly and independently. 0 turns one off.

    Attributes:
        rotation_degrees: at most this to either side.
        shift: of the side, to either direction.
        scale: 0.1 means from 1/1.1 to 1.1.
        contrast: 0.3 means factors from 1/1.3 to 1.3; likewise exposure and gamma.
        exposure: factor of brightness.
        gamma: exponent.
        sharpness: amount of unsharp masking, from minus this (blur) to this.
        resample: share of the images that lose detail by shrinking, half of them to half size,
            half to three quarters. Images must be in random order.
        noise: standard deviation in grey levels (of 255), from 0 to this.
    """

    rotation_degrees: float = 10.0
    shift: float = 0.07
    scale: float = 0.1
    contrast: float = 0.3
    exposure: float = 0.2
    gamma: float = 0.3
    sharpness: float = 0.9
    resample: float = 0.25
    noise: float = 8.0

    def __post_init__(self) -> None:
        for name, high in _HIGHEST.items():
            value = getattr(self, name)
            if not 0 <= value <= high:
                raise SettingsError(
                    f"augmentation {name} must be from 0 to {high}, but is {value}; 0 turns it off"
                )


RESAMPLE_FACTORS = (0.5, 0.75)

_HIGHEST = {
    "rotation_degrees": 180.0,
    "shift": 0.5,
    "scale": 1.0,
    "contrast": 3.0,
    "exposure": 3.0,
    "gamma": 3.0,
    "sharpness": 3.0,
    "resample": 1.0,
    "noise": 128.0,
}


def augment(
    images: torch.Tensor, settings: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """A random variant of each image.

    Args:
        images: (N, C, H, W) uint8.
        settings: strengths.
        generator: on the images' device; the result is a function of its state.

    Returns:
        (N, C, H, W) float32 in [0, 255].
    """
    drawn = _Draws(images, generator)
    pictures = _move(images.float(), settings, drawn)
    pictures = _lose_detail(pictures, settings.resample)
    if settings.sharpness:
        pictures = filters.sharpen(pictures, drawn.around(settings.sharpness))
    if settings.exposure:
        pictures = filters.expose(pictures, drawn.factor(settings.exposure))
    if settings.contrast:
        pictures = filters.contrast(pictures, drawn.factor(settings.contrast))
    if settings.gamma:
        pictures = filters.gamma(pictures, drawn.factor(settings.gamma))
    if settings.noise:
        sigma = drawn.uniform() * settings.noise
        pictures = filters.add_noise(pictures, sigma, generator)
    return pictures


class _Draws:
    """Random numbers, one per image, shaped to multiply images."""

    def __init__(self, images: torch.Tensor, generator: torch.Generator) -> None:
        self._count, self._device, self._generator = len(images), images.device, generator

    def uniform(self) -> torch.Tensor:
        shape = (self._count, 1, 1, 1)
        return torch.rand(shape, generator=self._generator, device=self._device)

    def around(self, most: float) -> torch.Tensor:
        return (self.uniform() * 2 - 1) * most

    def factor(self, most: float) -> torch.Tensor:
        return torch.exp(self.around(math.log1p(most)))


def _lose_detail(images: torch.Tensor, share: float) -> torch.Tensor:
    # A shuffled batch needs no draw: a fixed share of its rows is a random share of the images.
    count = round(share * len(images) / len(RESAMPLE_FACTORS))
    if count == 0:
        return images
    pieces = list(torch.split(images, count))
    for index, factor in enumerate(RESAMPLE_FACTORS):
        pieces[index] = filters.resample(pieces[index], factor)
    return torch.cat(pieces)


def _move(images: torch.Tensor, settings: Augmentation, drawn: _Draws) -> torch.Tensor:
    if not (settings.rotation_degrees or settings.shift or settings.scale):
        return images
    angle = drawn.around(math.radians(settings.rotation_degrees)).flatten()
    size = drawn.factor(settings.scale).flatten()
    across, down = (drawn.around(2 * settings.shift).flatten() for _ in range(2))
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    # Border pixels are repeated: black corners would tell how far an image was turned.
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
