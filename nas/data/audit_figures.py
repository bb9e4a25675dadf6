"""Pictures for an audit's page: histograms as inline SVG, thumbnails as data: addresses."""

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from nas.data.audit_values import printable
from nas.data.table import Store
from nas.errors import ImageError
from nas.images import Resize, decode, look

THUMBNAIL_SIDE = 144
"""Pixels: enough to see what an image is of, and 5 KB of JPEG."""

JPEG_QUALITY = 80

BINS = 40
"""At most: of a few values most bins would be empty."""

WIDTH, HEIGHT, FOOT = 320, 120, 18
"""Of a histogram in SVG units; below it the foot has the axis."""

LINES = 6
"""How many curves the style sheet has colours for."""

Numbers = npt.NDArray[np.float64]


def thumbnail(store: Store, path: str) -> str | None:
    """An image as a data: address, its shape kept; None if it cannot be read."""
    try:
        data = store.read(path)
        header = look(data)
        side = min(THUMBNAIL_SIDE, max(header.width, header.height))
        pixels = decode(data, size=side, channels=3, resize=Resize.LETTERBOX)
    except (OSError, ImageError):
        return None
    gray = bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())
    picture = Image.fromarray(pixels[0] if gray else pixels.transpose(1, 2, 0).copy())
    file = io.BytesIO()
    # What is small already would only blur as JPEG.
    kind = "JPEG" if side == THUMBNAIL_SIDE else "PNG"
    picture.save(file, kind, quality=JPEG_QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def histogram(title: str, series: Mapping[str, Numbers]) -> str:
    """Curves over one axis as a figure in HTML; each has the same area, however many values.

    Args:
        title: in words.
        series: name -> (N,) values; the first LINES of those that have any are drawn.
    """
    drawn = [(name, values) for name, values in series.items() if len(values)][:LINES]
    low, high = _ends(np.concatenate([values for _, values in drawn]))
    fewest = min(len(values) for _, values in drawn)
    edges = np.linspace(low, high, min(BINS, max(5, round(2 * fewest**0.5))) + 1)
    shares = [
        np.histogram(np.clip(values, low, high), edges)[0] / len(values) for _, values in drawn
    ]
    tallest = max(float(share.max()) for share in shares)
    curves = "".join(
        f'<path class="line line{number}" d="{_steps(share / tallest)}"/>'
        for number, share in enumerate(shares)
    )
    medians = "; ".join(
        f"{printable(name)} has a median of {number_text(float(np.median(values)))}"
        for name, values in drawn
    )
    legend = "".join(
        f'<span class="key key{number}">{escape(printable(name))}</span>'
        for number, (name, _) in enumerate(drawn)
    )
    ticks = "".join(
        f'<text x="{share * WIDTH:.0f}" y="{HEIGHT + FOOT - 4}" text-anchor="{anchor}">'
        f"{number_text(low + share * (high - low))}</text>"
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" '
        f'aria-label="{escape(f"Histogram of {title}: {medians}")}">'
        f'<path class="axis" d="M0 {HEIGHT}H{WIDTH}"/>{curves}{ticks}</svg>'
        f'<p class="legend">{legend}</p></figure>'
    )


def number_text(value: float) -> str:
    """Three digits that matter; thousands are set apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ends(values: Numbers) -> tuple[float, float]:
    """Where nearly all values are: a few far ones would squeeze the others into one bin."""
    low, high = np.quantile(values, [0.005, 0.995]).tolist()
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _steps(heights: Numbers) -> str:
    """The outline of a histogram as an SVG path; heights in [0, 1]."""
    across = WIDTH / len(heights)
    steps = (
        f"V{HEIGHT - height * (HEIGHT - 4):.1f}H{(number + 1) * across:.1f}"
        for number, height in enumerate(heights.tolist())
    )
    return f"M0 {HEIGHT}{''.join(steps)}V{HEIGHT}"
