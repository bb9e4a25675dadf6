"""A drawing as pixels, in the light colours, on white; twice as large as its units."""

import io
from itertools import pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from nas.report.drawing import Area, Dot, Drawing, Line, Mark, Places, Words

SCALE = 2
SMOOTH = 2
"""Drawn so many times larger and then reduced, as Pillow's lines have hard edges."""

LIGHT = {
    "ink": "#1d2430", "soft": "#5a6472", "paper": "#ffffff", "card": "#f5f7f9", "rule": "#d5dbe2",
    "l0": "#2266aa", "l1": "#c2410c", "l2": "#15803d", "l3": "#7c3aed", "l4": "#a16207",
    "l5": "#be185d",
}  # fmt: skip
"""The light half of the page's style, which nas.data.audit_style holds; a test compares them."""


def png(drawing: Drawing) -> bytes:
    """The PNG file."""
    scale = SCALE * SMOOTH
    size = round(drawing.width * scale), round(drawing.height * scale)
    image = Image.new("RGB", size, LIGHT["paper"])
    pen = ImageDraw.Draw(image, "RGBA")
    for mark in drawing.marks:
        if not isinstance(mark, Words):
            _draw(pen, mark, scale)
    image = image.resize((size[0] // SMOOTH, size[1] // SMOOTH), Image.Resampling.BOX)
    # Letters are smooth by themselves, and lie above everything.
    for mark in drawing.marks:
        if isinstance(mark, Words):
            _write(image, mark)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _draw(pen: ImageDraw.ImageDraw, mark: Mark, scale: float) -> None:
    match mark:
        case Line():
            places = [(x * scale, y * scale) for x, y in mark.places]
            width, colour = max(1, round(mark.width * scale)), _rgba(mark.colour, mark.opacity)
            for part in _dashed(places, mark.dashes, scale) if mark.dashes else [places]:
                pen.line(part, fill=colour, width=width, joint="curve")
        case Area():
            places = [(x * scale, y * scale) for x, y in mark.places]
            pen.polygon(places, fill=_rgba(mark.colour, mark.opacity))
        case Dot():
            x, y, r = mark.x * scale, mark.y * scale, mark.radius * scale
            colour = _rgba(mark.colour, mark.opacity)
            if mark.ring:
                pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=round(1.6 * scale))
            else:
                pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _write(image: Image.Image, mark: Words) -> None:
    font = ImageFont.load_default(mark.size * SCALE)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
    colour = _rgba(mark.colour, 1.0)
    stroke = 0.5 if mark.bold else 0
    place = mark.x * SCALE, mark.y * SCALE
    if not mark.turned:
        pen = ImageDraw.Draw(image, "RGBA")
        pen.text(place, mark.text, fill=colour, font=font, anchor=anchor, stroke_width=stroke)
        return
    length, height = round(font.getlength(mark.text)) + 4, mark.size * SCALE * 2
    sheet = Image.new("RGBA", (length, height), (255, 255, 255, 0))
    middle = (2, round(height * 0.7))
    ImageDraw.Draw(sheet).text(middle, mark.text, fill=colour, font=font, anchor="ls")
    turned = sheet.rotate(90, expand=True)
    along = {"start": 1.0, "middle": 0.5, "end": 0.0}[mark.anchor]
    corner = round(place[0] - height * 0.7), round(place[1] - length * along)
    image.paste(turned, corner, turned)


def _dashed(places: Places, dashes: tuple[int, int], scale: float) -> list[Places]:
    """The pieces of a line that are seen."""
    on, off = dashes[0] * scale, dashes[1] * scale
    pieces: list[Places] = []
    done = 0.0  # along the line, within a dash and the gap after it
    for (x, y), (to_x, to_y) in pairwise(places):
        length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
        at = 0.0
        while at < length:
            inside = done < on
            step = min((on if inside else on + off) - done, length - at)
            if inside:
                a, b = at / length, (at + step) / length
                pieces.append(
                    [(x + (to_x - x) * share, y + (to_y - y) * share) for share in (a, b)]
                )
            at += step
            done = (done + step) % (on + off)
            if on + off - done < 1e-9:
                done = 0.0
            if step <= 0:
                break
    return pieces


def _rgba(colour: str, opacity: float) -> tuple[int, int, int, int]:
    red, green, blue = ImageColor.getrgb(LIGHT.get(colour, colour))[:3]
    return red, green, blue, round(255 * opacity)
