"""Image operations on batches, on any device: what augmentation and acquisition shifts are made of.

Everywhere ``images`` is (N, C, H, W) float in [0, 255], and so is the result, clipped.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch.nn import functional

WHITE = 255.0

BLOCK = 8
"""Side in pixels of what JPEG transforms and quantises at once."""

MIN_NOISE = 1 << 18
"""Values, twice: fewer would come back too soon where batches are small."""

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation steps at quality 50; rows are vertical frequencies (ITU-T T.81, table K.1)."""


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with a standard deviation of ``sigma`` > 0 pixels; borders are reflected.

    Any H, W ≥ 1: a picture smaller than the kernel is reflected back and forth.
    """
    radius = max(1, math.ceil(2 * sigma))
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(radius + 1)]
    whole = weights[0] + 2 * sum(weights[1:])
    padded = _reflected(images, radius)
    for dim in (-2, -1):
        padded = _weighed(padded, [weight / whole for weight in weights], dim)
    return padded


def _weighed(padded: torch.Tensor, weights: Sequence[float], dim: int) -> torch.Tensor:
    """Sums along ``dim`` with symmetric weights, the middle one first; what was padded is gone.

    Shifted sums took 0.4 ms on 64 images of 64×64 where a convolution took 3.3, and 5.6 instead of
    46 ms at 224×224 (2 threads).
    """
    radius = len(weights) - 1
    side = padded.shape[dim] - 2 * radius
    result = padded.narrow(dim, radius, side) * weights[0]
    for offset, weight in enumerate(weights[1:], start=1):
        for start in (radius - offset, radius + offset):
            result.add_(padded.narrow(dim, start, side), alpha=weight)
    return result


def _reflected(images: torch.Tensor, radius: int) -> torch.Tensor:
    """``radius`` pixels more on every side, mirrored about the border pixels."""
    height, width = images.shape[-2:]
    if radius < min(height, width):
        return functional.pad(images, (radius,) * 4, mode="reflect")
    rows, columns = (_mirrored(side, radius, images.device) for side in (height, width))
    return images[..., rows.view(-1, 1), columns]  # torch's own padding reflects only once


def _mirrored(side: int, radius: int, device: torch.device) -> torch.Tensor:
    """Which of ``side`` pixels lie at -radius ... side + radius - 1."""
    period = max(1, 2 * (side - 1))
    places = torch.arange(-radius, side + radius, device=device) % period
    return torch.minimum(places, period - places)


def sharpen(images: torch.Tensor, amount: float | torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """Unsharp mask: add ``amount`` times what a blur takes away; negative amounts blur (-1: fully).

    ``amount`` is a number, or (N, 1, 1, 1).
    """
    # images + amount · (images − blurred), in one pass
    amount = _as_factor(amount, images)
    return torch.lerp(blur(images, sigma), images, 1 + amount).clamp_(0, WHITE)


def resample(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrink to ``factor`` of the size, in (0, 1), and enlarge again: detail is lost.

    At least two pixels should be left across: torch 2.14 averages wrongly where one is left.
    """
    height, width = images.shape[-2:]
    small = (max(1, round(height * factor)), max(1, round(width * factor)))
    reduced = functional.interpolate(images, small, mode="bilinear", antialias=True)
    return functional.interpolate(reduced, (height, width), mode="bilinear")


def _as_factor(factor: float | torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(factor, dtype=images.dtype, device=images.device)


def expose(images: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Multiply brightness; ``factor`` is a number or (N, 1, 1, 1)."""
    return (images * factor).clamp_(0, WHITE)


def contrast(images: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Stretch each image about its own mean; ``factor`` is a number or (N, 1, 1, 1)."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _as_factor(factor, images)).clamp_(0, WHITE)


def gamma(images: torch.Tensor, exponent: float | torch.Tensor) -> torch.Tensor:
    """Raise brightness in [0, 1] to a power; above 1 darkens. A number or (N, 1, 1, 1)."""
    return (images / WHITE).clamp_(0, 1).pow_(exponent).mul_(WHITE)


def add_noise(
    images: torch.Tensor, sigma: float | torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Add Gaussian noise of ``sigma`` grey levels; a number or (N, 1, 1, 1).

    On a CPU drawing it takes longer than all other changes to an image together (16 of 60 ms on 64
    images of 224×224), so that a stretch of a fixed supply is taken there, from a random place on.
    """
    if images.device.type == "cpu":
        count = images.numel()
        supply = _noise(2 ** math.ceil(math.log2(2 * max(count, MIN_NOISE))), images.dtype)
        start = int(torch.randint(len(supply) - count + 1, (), generator=generator))
        noise = supply[start : start + count].view(images.shape)
    else:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
    return torch.addcmul(images, noise, _as_factor(sigma, images)).clamp_(0, WHITE)


@cache
def _noise(count: int, dtype: torch.dtype) -> torch.Tensor:
    """(count,) standard normal values, the same in every process."""
    return torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=dtype)


def jpeg(images: torch.Tensor, quality: float | torch.Tensor) -> torch.Tensor:
    """What storing as JPEG does to a picture: 8×8 blocks, each frequency rounded to a step.

    Entropy coding loses nothing and is left out. Every channel is treated like the one of a
    grayscale file (no YCbCr, no subsampling): the images are radiographs. Where H or W is no
    multiple of 8, the last row or column is repeated, as encoders do. Unlike a decoder's, the
    result is not rounded to whole grey levels.

    Args:
        images: (N, C, H, W) float in [0, 255]; any H, W ≥ 1.
        quality: as libjpeg's, in [1, 100]; a number or (N, 1, 1, 1).
    """
    count, channels, height, width = images.shape
    padding = (0, -width % BLOCK, 0, -height % BLOCK)
    padded = functional.pad(images, padding, mode="replicate") if any(padding) else images
    down, across = padded.shape[-2] // BLOCK, padded.shape[-1] // BLOCK
    transform, luminance = _block_constants(images.device, images.dtype)
    # Every block is a row of 64 values and both transforms are one matrix product. On 64 images of
    # 64×64 this took 0.62 ms; einsum over the axes 2.6, a product per axis 0.9, block-diagonal
    # matrices 1.2, convolutions with stride 8 6.4; the order was the same at 224×224 (2 threads).
    rows = padded.reshape(count, channels, down, BLOCK, across, BLOCK).transpose(3, 4)
    rows = rows.reshape(count, -1, BLOCK * BLOCK)
    frequencies = (rows - 128) @ transform.T
    steps = _steps(luminance, quality)
    frequencies = frequencies.div_(steps).round_().mul_(steps)
    rows = (frequencies @ transform).add_(128).clamp_(0, WHITE)
    restored = rows.view(count, channels, down, across, BLOCK, BLOCK).transpose(3, 4)
    return restored.reshape(padded.shape)[..., :height, :width]


@cache
def _block_constants(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The orthonormal DCT-II of a block as (64, 64), frequencies by pixels, and LUMINANCE (64)."""
    frequency = torch.arange(BLOCK, dtype=torch.float64).view(-1, 1)
    pixel = torch.arange(BLOCK, dtype=torch.float64)
    waves = torch.cos((2 * pixel + 1) * frequency * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    waves[0] = math.sqrt(1 / BLOCK)
    steps = torch.tensor(LUMINANCE, dtype=torch.float64).flatten()
    # First the type: there are devices without float64.
    return torch.kron(waves, waves).to(dtype).to(device), steps.to(dtype).to(device)


def _steps(luminance: torch.Tensor, quality: float | torch.Tensor) -> torch.Tensor:
    """Quantisation steps, (N or 1, 1, 64), scaled as libjpeg's jpeg_quality_scaling does."""
    quality = torch.as_tensor(quality, dtype=luminance.dtype, device=luminance.device)
    quality = quality.view(-1, 1, 1)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((luminance * percent + 50) / 100).floor().clamp(1, 255)


def erase(
    images: torch.Tensor,
    top: torch.Tensor,
    left: torch.Tensor,
    height: torch.Tensor,
    width: torch.Tensor,
) -> torch.Tensor:
    """Fill a rectangle of each image with that image's own mean, channel by channel.

    The rectangles are (N, 1, 1, 1) in whole pixels; one of height or width 0 erases nothing.
    """
    row = torch.arange(images.shape[-2], device=images.device).view(-1, 1)
    column = torch.arange(images.shape[-1], device=images.device)
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)


def mirror(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Left and right swapped in the images where ``chosen``, (N, 1, 1, 1) bool, is true."""
    return torch.where(chosen, images.flip(-1), images)
