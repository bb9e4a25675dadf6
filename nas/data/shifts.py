"""A fixed set of plausible acquisition shifts: the same film from another machine or archive.

Accuracy under these predicts accuracy on another hospital's images better than clean validation
does (runs/LOG.md), so the search's score is made of them. They are fixed: every genome of every run
is judged by the same ones. Strengths are about twice those of the augmentation.
"""

from collections.abc import Callable, Mapping

import torch

from nas.data import filters

REFERENCE_SIZE = 64
"""Side in pixels at which blur is as strong as written; it grows with the image."""

NOISE_SEED = 20_180_222

SHIFTS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "blur": lambda images: filters.blur(images, 1.4 * images.shape[-1] / REFERENCE_SIZE),
    "resample": lambda images: filters.resample(images, 0.35),
    "sharpen": lambda images: filters.sharpen(images, 1.8, images.shape[-1] / REFERENCE_SIZE),
    "noise": lambda images: filters.add_noise(images, 16.0, _generator(images)),
    "darker": lambda images: filters.expose(images, 0.7),
    "brighter": lambda images: filters.expose(images, 1.4),
    "flatter": lambda images: filters.contrast(images, 0.6),
    "harder": lambda images: filters.contrast(images, 1.7),
    "gamma_low": lambda images: filters.gamma(images, 0.6),
    "gamma_high": lambda images: filters.gamma(images, 1.7),
}


def shifted(images: torch.Tensor, name: str) -> torch.Tensor:
    """Images under one shift.

    Args:
        images: (N, C, H, W) uint8.
        name: a key of SHIFTS.

    Returns:
        (N, C, H, W) uint8 on the same device; the same for the same input.
    """
    return SHIFTS[name](images.float()).round().clamp(0, filters.WHITE).to(torch.uint8)


def _generator(images: torch.Tensor) -> torch.Generator:
    return torch.Generator(device=images.device).manual_seed(NOISE_SEED)
