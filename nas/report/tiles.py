"""Arrays of numbers as small gray pictures."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Grays = npt.NDArray[np.floating]

GAP = 2
BETWEEN = 128


def mosaic(tiles: Sequence[Grays], columns: int, scale: int) -> bytes:
    """Equal tiles side by side, as PNG.

    Args:
        tiles: (H, W) each, in [0, 1].
        columns: tiles in a row.
        scale: pixels for a number.
    """
    height, width = tiles[0].shape
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    step_y, step_x = height * scale + GAP, width * scale + GAP
    sheet = np.full((rows * step_y + GAP, columns * step_x + GAP), BETWEEN, np.uint8)
    for place, tile in enumerate(tiles):
        y, x = GAP + place // columns * step_y, GAP + place % columns * step_x
        gray = (255 * tile.clip(0, 1)).round().astype(np.uint8)
        sheet[y : y + height * scale, x : x + width * scale] = gray.repeat(scale, 0).repeat(
            scale, 1
        )
    return png_of(Image.fromarray(sheet))


def spread(tile: Grays) -> Grays:
    """From its least to its greatest number as from 0 to 1; a tile of one number is 0."""
    low, high = float(tile.min()), float(tile.max())
    return (tile - low) / (high - low) if high > low else np.zeros_like(tile)


def around_zero(tile: Grays) -> Grays:
    """0 becomes a middle gray, the number farthest from it black or white."""
    most = float(np.abs(tile).max())
    return 0.5 + tile / (2 * most) if most > 0 else np.full_like(tile, 0.5)


def side_by_side(pictures: Sequence[bytes], height: int) -> bytes:
    """PNG files of one size in a row, as PNG, smoothly enlarged."""
    images = [Image.open(io.BytesIO(one)).convert("RGB") for one in pictures]
    width = round(images[0].width * height / images[0].height)
    row = Image.new("RGB", (width * len(images) + 4 * (len(images) - 1), height), (128, 128, 128))
    for place, image in enumerate(images):
        large = image.resize((width, height), Image.Resampling.BICUBIC)
        row.paste(large, (place * (width + 4), 0))
    return png_of(row)


def png_of(image: Image.Image) -> bytes:
    """The PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
