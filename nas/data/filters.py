"""Image operations on batches, on any device: what augmentation and acquisition shifts are made of.

Everywhere ``images`` is (N, C, H, W) float in [0, 255], and so is the result, clipped.
"""

import math

import torch
from torch.nn import functional

WHITE = 255.0


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with a standard deviation of ``sigma`` > 0 pixels; borders are reflected."""
    radius = max(1, math.ceil(2 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (radius,) * 4, mode="reflect")
    row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    column = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    once = functional.conv2d(padded, row, groups=channels)
    return functional.conv2d(once, column, groups=channels)


def sharpen(images: torch.Tensor, amount: float | torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """Unsharp mask: add ``amount`` times what a blur takes away; negative amounts blur (-1: fully).

    ``amount`` is a number, or (N, 1, 1, 1).
    """
    return (images + amount * (images - blur(images, sigma))).clamp(0, WHITE)


def resample(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrink to ``factor`` of the size, in (0, 1), and enlarge again: detail is lost."""
    height, width = images.shape[-2:]
    small = (max(1, round(height * factor)), max(1, round(width * factor)))
    reduced = functional.interpolate(images, small, mode="bilinear", antialias=True)
    return functional.interpolate(reduced, (height, width), mode="bilinear")


def expose(images: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Multiply brightness; ``factor`` is a number or (N, 1, 1, 1)."""
    return (images * factor).clamp(0, WHITE)


def contrast(images: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Stretch each image about its own mean; ``factor`` is a number or (N, 1, 1, 1)."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, WHITE)


def gamma(images: torch.Tensor, exponent: float | torch.Tensor) -> torch.Tensor:
    """Raise brightness in [0, 1] to a power; above 1 darkens. A number or (N, 1, 1, 1)."""
    return (images / WHITE).clamp(0, 1) ** exponent * WHITE


def add_noise(
    images: torch.Tensor, sigma: float | torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Add Gaussian noise of ``sigma`` grey levels; a number or (N, 1, 1, 1)."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * sigma).clamp(0, WHITE)
