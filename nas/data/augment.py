"""Augmentation in batches, on the device that trains.

Mild geometry (a rotation turns a film, a mirror moves the heart: so flips are off), and stronger
changes of sharpness, exposure and noise, because on the public chest X-rays sharpness alone
predicts the label: what augmentation varies, a network cannot lean on. A film hangs upright: there
are no vertical flips to switch on.
"""

import math

import torch
from torch.nn import functional

from nas.data import filters
from nas.data.augmentation import Augmentation

RESAMPLE_FACTORS = (0.5, 0.75)

JPEG_QUALITIES = (30.0, 90.0)
"""libjpeg's measure; 75 is its default. Blocks are 8 pixels of the image that is trained on."""

ERASED_AREA = (0.02, 0.15)
ERASED_STRETCH = 1.0
"""Share of the image, and how far height : width (as shares) may be from 1: from 1/2 to 2."""


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
    if settings.horizontal_flip:
        images = filters.mirror(images, drawn.uniform() < settings.horizontal_flip)
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
    # A picture is stored after it was taken, and the rectangle is no part of either.
    if settings.jpeg:
        pictures = _compress(pictures, settings.jpeg, generator)
    if settings.erase:
        pictures = _erase(pictures, settings.erase, drawn)
    return pictures


class _Draws:
    """Random numbers, one per image, shaped to multiply images."""

    def __init__(self, images: torch.Tensor, generator: torch.Generator) -> None:
        self._count, self._device, self._generator = len(images), images.device, generator

    def uniform(self) -> torch.Tensor:
        shape = (self._count, 1, 1, 1)
        return torch.rand(shape, generator=self._generator, device=self._device)

    def between(self, low: float, high: float) -> torch.Tensor:
        return low + self.uniform() * (high - low)

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


def _compress(images: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    count = round(share * len(images))  # of a shuffled batch again, and of its end
    if count == 0:
        return images
    rest, chosen = torch.split(images, [len(images) - count, count])
    qualities = _Draws(chosen, generator).between(*JPEG_QUALITIES)
    return torch.cat([rest, filters.jpeg(chosen, qualities)])


def _erase(images: torch.Tensor, share: float, drawn: _Draws) -> torch.Tensor:
    height, width = images.shape[-2:]
    area, stretch = drawn.between(*ERASED_AREA), drawn.factor(ERASED_STRETCH)
    rows = (height * torch.sqrt(area * stretch)).round().clamp(1, height)
    columns = (width * torch.sqrt(area / stretch)).round().clamp(1, width)
    top = (drawn.uniform() * (height - rows + 1)).floor()
    left = (drawn.uniform() * (width - columns + 1)).floor()
    rows = torch.where(drawn.uniform() < share, rows, 0)
    return filters.erase(images, top, left, rows, columns)


def _move(images: torch.Tensor, settings: Augmentation, drawn: _Draws) -> torch.Tensor:
    if not (settings.rotation_degrees or settings.shift or settings.scale):
        return images
    angle = drawn.around(math.radians(settings.rotation_degrees)).flatten()
    size = drawn.factor(settings.scale).flatten()
    across, down = (drawn.around(2 * settings.shift).flatten() for _ in range(2))
    # A rotation and enlargement of the plane is a product of complex numbers.
    turned = torch.polar(size, angle).view(-1, 1, 1)
    moved = torch.complex(across, down).view(-1, 1, 1)
    grid = (turned * _places(images.shape[-2:], images.device)).add_(moved)
    # Border pixels are repeated: black corners would tell how far an image was turned.
    return functional.grid_sample(
        images, torch.view_as_real(grid), padding_mode="border", align_corners=False
    )


def _places(size: torch.Size, device: torch.device) -> torch.Tensor:
    """(H, W) complex64: x + iy of each pixel's middle, where borders are at -1 and 1."""
    down, across = ((torch.arange(n, device=device) * 2 + 1) / n - 1 for n in size)
    return torch.complex(across.expand(size), down[:, None].expand(size))
