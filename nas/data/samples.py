"""A picture to look at: images as they are, and below each of them what augmentation made of it."""

import math
from collections.abc import Iterator
from dataclasses import fields

import torch
from PIL import Image, ImageDraw, ImageFont

from nas.data.augment import augment
from nas.data.augmentation import Augmentation
from nas.errors import SettingsError

MOST = 32
SHOWN_SIDE = 96
"""Pixels that a small image is enlarged to, at least."""

GAP, WIDE_GAP, MARGIN = 2, 8, 10
NARROWEST = 480
"""Width in pixels of a sheet of few images, so that its caption has room."""

FONT_SIZE, LINE = 14, 20
PAPER, INK = 24, 225
"""Grey levels: a dark sheet shows where a dark film ends and dazzles less."""


def sample_sheet(
    images: torch.Tensor, settings: Augmentation, seed: int, *, columns: int = 8
) -> Image.Image:
    """Originals, each above its augmented variant, under a caption that gives the settings.

    Args:
        images: (N, C, S, S) uint8, N from 1 to MOST, C 1 or 3; in any order. They are mixed before
            augmentation, as in training, where some changes go by place.
        settings: strengths.
        seed: of mixing and augmentation.
        columns: images in a row, at least 1.

    Returns:
        A picture of mode L (C = 1) or RGB; a function of the arguments alone.

    Raises:
        SettingsError: too few or too many images, or no column.
    """
    if not 1 <= len(images) <= MOST or columns < 1:
        raise SettingsError(
            f"a sample sheet must have 1 to {MOST} images and at least 1 column, but has "
            f"{len(images)} and {columns}; choose other numbers"
        )
    images = images.cpu()
    variants = _augmented(images, settings, seed)
    columns = min(columns, len(images))
    shown = images.shape[-1] * math.ceil(SHOWN_SIDE / images.shape[-1])
    across, down = shown + WIDE_GAP, 2 * shown + GAP + WIDE_GAP
    width = max(NARROWEST, columns * across - WIDE_GAP + 2 * MARGIN)
    lines = _caption(settings, seed, width - 2 * MARGIN)
    top = MARGIN + len(lines) * LINE + WIDE_GAP
    height = top + math.ceil(len(images) / columns) * down - WIDE_GAP + MARGIN
    grey = images.shape[1] == 1
    sheet = Image.new("L" if grey else "RGB", (width, height), PAPER if grey else (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        place = (MARGIN, MARGIN + number * LINE)
        draw.text(place, line, font=_font(), fill=INK if grey else (INK,) * 3)
    for index, pair in enumerate(zip(images, variants, strict=True)):
        row, column = divmod(index, columns)
        for part, pixels in enumerate(pair):
            picture = _picture(pixels).resize((shown, shown), Image.Resampling.NEAREST)
            corner = (MARGIN + column * across, top + row * down + part * (shown + GAP))
            sheet.paste(picture, corner)
    return sheet


def _augmented(images: torch.Tensor, settings: Augmentation, seed: int) -> torch.Tensor:
    """(N, C, S, S) uint8, in the order of ``images``."""
    draws = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=draws)
    variants = augment(images[order], settings, draws).round().clamp(0, 255).to(torch.uint8)
    return variants[order.argsort()]


def _picture(pixels: torch.Tensor) -> Image.Image:
    """Of (C, S, S) uint8."""
    array = pixels.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0).copy())


def _caption(settings: Augmentation, seed: int, width: int) -> list[str]:
    """Lines of at most ``width`` pixels."""
    strengths = {field.name: getattr(settings, field.name) for field in fields(settings)}
    on = [f"{name} {value:g}" for name, value in strengths.items() if value]
    off = [name for name, value in strengths.items() if not value]
    lines = [f"above: original, below: augmented with seed {seed}"]
    for title, phrases in (("on", on), ("off", off)):
        lines += _wrapped(f"{title}:", phrases or ["nothing"], width)
    return lines


def _wrapped(title: str, phrases: list[str], width: int) -> Iterator[str]:
    """The phrases after the title, none of them broken."""
    line = title
    for number, phrase in enumerate(phrases, 1):
        part = phrase if number == len(phrases) else phrase + ","
        if _font().getlength(f"{line} {part}") > width:
            yield line
            line = part
        else:
            line = f"{line} {part}"
    yield line


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
