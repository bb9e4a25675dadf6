"""Slow, plain versions of what is computed in batches: numpy arrays, loops, SciPy, Pillow.

And ways to read back from a picture what was done to it.
"""

import io
import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import fft, ndimage

from nas.data import filters
from nas.data.augmentation import Augmentation

Array = npt.NDArray[np.float64]

HIGHEST = {
    "rotation_degrees": 180.0,
    "shift": 0.5,
    "scale": 1.0,
    "contrast": 3.0,
    "exposure": 3.0,
    "gamma": 3.0,
    "sharpness": 3.0,
    "resample": 1.0,
    "noise": 128.0,
    "jpeg": 1.0,
    "erase": 1.0,
    "horizontal_flip": 1.0,
}
"""What Augmentation allows."""

SIDE = 41
"""Of pictures whose values are their own coordinates: there a map can be read back."""


def only(**strengths: float) -> Augmentation:
    """Everything off but the given."""
    return Augmentation(**{**dict.fromkeys(HIGHEST, 0.0), **strengths})


def plain_blur(picture: Array, sigma: float) -> Array:
    """One (H, W) picture, the whole two-dimensional kernel at once."""
    radius = max(1, math.ceil(2 * sigma))
    offsets = range(-radius, radius + 1)
    padded = np.pad(picture, radius, mode="reflect")
    height, width = picture.shape
    total, weights = np.zeros_like(picture), 0.0
    for down in offsets:
        for across in offsets:
            weight = math.exp(-(down**2 + across**2) / (2 * sigma**2))
            total += weight * padded[radius + down :, radius + across :][:height, :width]
            weights += weight
    return total / weights


def pillow_resample(picture: Array, factor: float) -> Array:
    height, width = picture.shape
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = Image.fromarray(picture.astype(np.float32))
    image = image.resize(small, Image.Resampling.BILINEAR)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64)


def pillow_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> tuple[Array, Array]:
    """A grayscale (H, W) picture stored and read again, and the file's (8, 8) quantisation."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        steps = np.array(image.quantization[0], dtype=np.float64).reshape(8, 8)  # type: ignore[attr-defined]
        return np.asarray(image, dtype=np.float64), steps


def plain_jpeg(picture: Array, steps: Array, error: float) -> tuple[Array, Array]:
    """JPEG without entropy coding, block by block.

    Args:
        picture: (H, W) in [0, 255].
        steps: (8, 8) quantisation.
        error: by how much another implementation's coefficients may differ from these.

    Returns:
        The picture, and by how many grey levels the other's may differ because a coefficient lies
        too close to the middle between two multiples of its step: a quarter step for each of these
        in a block (no basis function is larger than 1/4).
    """
    height, width = picture.shape
    padded = np.pad(picture, ((0, -height % 8), (0, -width % 8)), mode="edge") - 128
    slack = np.zeros_like(padded)
    for top in range(0, padded.shape[0], 8):
        for left in range(0, padded.shape[1], 8):
            block = (slice(top, top + 8), slice(left, left + 8))
            multiples = fft.dctn(padded[block], norm="ortho") / steps
            doubtful = np.abs(multiples % 1 - 0.5) * steps <= error
            slack[block] = (steps * doubtful).sum() / 4
            padded[block] = fft.idctn(np.rint(multiples) * steps, norm="ortho")
    result = np.clip(padded + 128, 0, 255)
    return result[:height, :width], slack[:height, :width]


def plain_move(picture: Array, angle: float, size: float, across: float, down: float) -> Array:
    """A square (S, S) picture turned by ``angle``, seen from ``size`` times as far away and moved.

    Pixel (x, y) from the centre shows what was at size · R(angle) (x, y) + (across, down) · S,
    between pixels linearly, beyond the border as at the border.
    """
    side = len(picture)
    centre = (side - 1) / 2
    places = np.empty((2, side, side))
    for row in range(side):
        for column in range(side):
            x, y = column - centre, row - centre
            from_x = size * (math.cos(angle) * x - math.sin(angle) * y) + across * side
            from_y = size * (math.sin(angle) * x + math.cos(angle) * y) + down * side
            places[:, row, column] = from_y + centre, from_x + centre
    moved: Array = ndimage.map_coordinates(picture, np.clip(places, 0, side - 1), order=1)
    return moved


def plain_erase(image: Array, top: int, left: int, height: int, width: int) -> Array:
    """One (C, H, W) image."""
    result = image.copy()
    for channel, values in zip(result, image, strict=True):
        mean = values.sum() / values.size
        for row in range(channel.shape[0]):
            for column in range(channel.shape[1]):
                if top <= row < top + height and left <= column < left + width:
                    channel[row, column] = mean
    return result


def default_augmentation(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What the default settings did in runs/chestxrays-chain-64, draw by draw.

    A change of this changes what earlier runs can be compared with.
    """

    def drawn() -> torch.Tensor:
        return torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device)

    def around(most: float) -> torch.Tensor:
        return (drawn() * 2 - 1) * most

    angle, size = around(math.radians(10.0)).flatten(), torch.exp(around(math.log1p(0.1))).flatten()
    across, down = around(2 * 0.07).flatten(), around(2 * 0.07).flatten()
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1)]
    grid = torch.nn.functional.affine_grid(
        torch.stack(rows, 1), list(images.shape), align_corners=False
    )
    pictures = torch.nn.functional.grid_sample(
        images.float(), grid, padding_mode="border", align_corners=False
    )
    count = round(0.25 * len(images) / 2)
    half, three_quarters, rest = torch.split(pictures, [count, count, len(images) - 2 * count])
    if count:
        half, three_quarters = filters.resample(half, 0.5), filters.resample(three_quarters, 0.75)
    pictures = torch.cat([half, three_quarters, rest])
    pictures = filters.sharpen(pictures, around(0.9))
    pictures = filters.expose(pictures, torch.exp(around(math.log1p(0.2))))
    pictures = filters.contrast(pictures, torch.exp(around(math.log1p(0.3))))
    pictures = filters.gamma(pictures, torch.exp(around(math.log1p(0.3))))
    return filters.add_noise(pictures, drawn() * 8.0, generator)


def check_uniform(values: Array, low: float, high: float, *, slack: float = 1e-3) -> None:
    """Within [low, high] but for ``slack``, a share of the range, and spread evenly over it."""
    places = (np.sort(values) - low) / (high - low)
    assert places[0] >= -slack
    assert places[-1] <= 1 + slack
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is exceeded by one uniform sample in a thousand; the
    # sample here is always the same.
    steps = (np.arange(len(places)) + 0.5) / len(places)
    assert np.abs(places - steps).max() < 1.95 / math.sqrt(len(places))


def coordinates(count: int) -> torch.Tensor:
    """(count, 3, SIDE, SIDE): channel 0 is 6 × the column, channel 1 is 6 × the row."""
    ramp = torch.arange(SIDE, dtype=torch.uint8) * 6
    column, row = ramp.expand(SIDE, SIDE), ramp.view(-1, 1).expand(SIDE, SIDE)
    return torch.stack([column, row, torch.full_like(column, 77)]).expand(count, 3, SIDE, SIDE)


def affine_maps(moved: torch.Tensor) -> Array:
    """Where the pixels of moved ``coordinates`` come from.

    Returns:
        (count, 2, 3): a, b and c of x' = a·x + b·y + c, and likewise for y', in pixels from the
        centre.
    """
    result, centre = moved.double().numpy(), (SIDE - 1) / 2
    assert np.abs(result[:, 2] - 77).max() < 1e-3  # no border of another level comes in
    inner = np.arange(14, SIDE - 14)
    down, across = (grid.ravel() for grid in np.meshgrid(inner, inner, indexing="ij"))
    design = np.stack([across - centre, down - centre, np.ones_like(down)], 1)
    found = []
    for picture in result:
        sources = picture[:2, down, across].T / 6 - centre
        solution, residual, *_ = np.linalg.lstsq(design, sources, rcond=None)
        assert residual.max() < 1e-3  # it is an affine map, sampled bilinearly
        found.append(solution.T)
    return np.stack(found)
