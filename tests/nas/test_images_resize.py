"""The three ways in which a picture of any shape becomes a square."""

import io
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from nas.images import Pixels, Resize, decode
from tests.nas.hostile import KINDS, both, deep_png, encoded, noise, png, sixteen, smooth

policies = pytest.mark.parametrize("resize", Resize)


def reference(image: Image.Image, size: int, resize: Resize) -> Pixels:
    """Cut or filled up first and scaled then, in the plainest way: (size, size, ...) pixels."""
    width, height = image.size
    if resize is Resize.CROP:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    elif resize is Resize.LETTERBOX:
        side = max(width, height)
        square = Image.new(image.mode, (side, side))
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image = square
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(size, size, -1)


def show(image: Image.Image, size: int, resize: Resize | str, channels: int = 1) -> Pixels:
    """(size, size) of the first channel."""
    first: Pixels = decode(encoded(image, "PNG"), size=size, channels=channels, resize=resize)[0]
    return first


@policies
@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (128, 64), (32, 128), (128, 32)])
@both
def test_all_policies_are_those_of_plain_references(
    resize: Resize, shape: tuple[int, int], channels: int
) -> None:
    image = Image.fromarray(smooth(*shape))
    image = image.convert("L") if channels == 1 else image
    got = decode(encoded(image, "PNG"), size=32, channels=channels, resize=resize).astype(int)
    wanted = reference(image, 32, resize).reshape(32, 32, channels).transpose(2, 0, 1)
    apart = np.abs(got - wanted)
    if resize is Resize.SQUASH:
        assert not apart.any()
    # At edges the references mix in black bars, or lack the pixels that were cut off.
    assert np.median(apart) == 0
    assert (apart <= 2).mean() > 0.85


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_that_needs_no_scaling_is_the_middle_of_the_picture(turned: bool) -> None:
    wide = noise(16, 40)
    picture = np.ascontiguousarray(wide.T) if turned else wide
    middle = wide[:, 12:28]
    got = show(Image.fromarray(picture), 16, "crop")
    assert np.array_equal(got, middle.T if turned else middle)


@pytest.mark.parametrize("turned", [False, True])
def test_a_letterbox_that_needs_no_scaling_holds_the_picture_in_its_middle(turned: bool) -> None:
    wide = noise(16, 40)
    picture = np.ascontiguousarray(wide.T) if turned else wide
    wanted = np.zeros((40, 40), dtype=np.uint8)
    wanted[12:28] = wide
    got = show(Image.fromarray(picture), 40, "letterbox")
    assert np.array_equal(got, wanted.T if turned else wanted)


def extent(pixels: Pixels) -> tuple[int, int]:
    """Height and width of what is bright."""
    rows, columns = np.nonzero(pixels > 127)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize("shape", [(120, 300), (300, 120)])
def test_a_circle_stays_round_except_when_squashed(shape: tuple[int, int]) -> None:
    height, width = shape
    image = Image.new("L", (width, height))
    middle, radius = (width / 2, height / 2), 50
    box = [middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius]
    ImageDraw.Draw(image).ellipse(box, fill=255)
    for resize, diameter in ((Resize.CROP, 100 * 96 / 120), (Resize.LETTERBOX, 100 * 96 / 300)):
        down, across = extent(show(image, 96, resize))
        assert abs(down - across) <= 1, resize
        assert abs(down - diameter) <= 2, resize
    down, across = extent(show(image, 96, Resize.SQUASH))
    assert max(down, across) / min(down, across) == pytest.approx(2.5, rel=0.1)


FORMS: dict[str, Callable[[int, int], bytes]] = {
    "gray": lambda w, h: encoded(Image.new("L", (w, h), 255), "PNG"),
    "colour": lambda w, h: encoded(Image.new("RGB", (w, h), "white"), "BMP"),
    "one bit": lambda w, h: encoded(Image.new("1", (w, h), 1), "TIFF"),
    "16 bits": lambda w, h: encoded(sixteen(np.full((h, w), 255, np.uint8)), "PNG"),
    "16-bit colour": lambda w, h: deep_png(np.full((h, w, 3), 65535, np.uint16)),
    "CMYK": lambda w, h: encoded(Image.new("CMYK", (w, h)), "TIFF"),
    "CMYK JPEG": lambda w, h: encoded(Image.new("CMYK", (w, h)), "JPEG", quality=95),
    "gray with alpha": lambda w, h: encoded(Image.new("LA", (w, h), (255, 255)), "PNG"),
    "alpha": lambda w, h: encoded(Image.new("RGBA", (w, h), "white"), "PNG"),
    "transparent colour": lambda w, h: encoded(
        Image.new("RGB", (w, h), "white"), "PNG", transparency=(1, 2, 3)
    ),
    # The colours of index 0, which Pillow fills up with, are not black here.
    "palette": lambda w, h: palette(w, h),
    "transparent palette": lambda w, h: palette(w, h, transparency=7),
}


def palette(width: int, height: int, **options: int) -> bytes:
    image = Image.new("P", (width, height), 3)
    image.putpalette([90, 60, 30] + [0] * 6 + [255] * 3 + [0] * 60)
    return encoded(image, "PNG", **options)


@pytest.mark.parametrize("form", FORMS)
@both
def test_bars_are_black_and_even_and_what_is_between_is_whole(form: str, channels: int) -> None:
    for width, height in ((60, 20), (20, 60)):
        got = decode(FORMS[form](width, height), size=30, channels=channels, resize="letterbox")
        wanted = np.zeros((30, 30), dtype=np.uint8)
        wanted[10:20] = 255
        wanted = wanted if width > height else wanted.T
        for plane in got:
            assert np.array_equal(plane, wanted), (form, width)


def test_bars_differ_by_one_pixel_at_most() -> None:
    for width in range(1, 31):
        got = show(Image.new("L", (width, 30), 255), 30, "letterbox")
        bright = np.flatnonzero(got[15])
        left, right = bright[0], 29 - bright[-1]
        assert len(bright) == width
        assert 0 <= right - left <= 1


def test_what_is_transparent_stays_black_between_bars() -> None:
    half = np.full((20, 60, 4), 255, dtype=np.uint8)
    half[:, :30, 3] = 0
    got = decode(png(half), size=30, channels=1, resize="letterbox")[0]
    assert (got[10:20, :14] == 0).all()
    assert (got[10:20, 16:] == 255).all()


@policies
@both
def test_extreme_ratios(resize: Resize, channels: int) -> None:
    for width, height in ((1, 5000), (5000, 1), (3, 5000), (32_768, 2)):
        picture = Image.new("L", (width, height), 200)
        data = encoded(picture, "PNG")
        for size in (8, 64):
            got = decode(data, size=size, channels=channels, resize=resize)
            assert got.shape == (channels, size, size)
            line = np.count_nonzero(got[0])
            # The thinnest line that can be shown is one pixel wide, not none.
            assert line == (size if resize is Resize.LETTERBOX else size * size)
            assert set(np.unique(got)) <= {0, 200}


@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.integers(8, 64),
    st.sampled_from([1, 3]),
    st.sampled_from(["L", "RGBA", "P", "CMYK", "I;16"]),
    st.sampled_from(Resize),
)
def test_every_size_gives_a_square_within_the_pictures_range(
    width: int, height: int, size: int, channels: int, mode: str, resize: Resize
) -> None:
    gray = noise(height, width, seed=width) // 2 + 60
    image = sixteen(gray) if mode == "I;16" else Image.fromarray(gray)
    if mode == "P":
        image = image.quantize(256)
    elif mode in ("RGBA", "CMYK"):
        image = image.convert("RGB").convert(mode)
    got = decode(encoded(image, "TIFF"), size=size, channels=channels, resize=resize)
    assert got.shape == (channels, size, size)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    # A palette of 256 colours is near to, not the same as, the picture.
    near = 10 if mode == "P" else 1
    assert got.max() <= gray.max() + near
    shown = got[got > 0] if resize is Resize.LETTERBOX else got
    assert shown.min() >= gray.min() - near


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 2**32 - 1))
def test_all_policies_agree_on_what_is_square(side: int, size: int, seed: int) -> None:
    for data in (png(noise(side, side, 3, seed=seed)), png(noise(side, side, 4, seed=seed))):
        squash, crop, letterbox = (
            decode(data, size=size, channels=3, resize=resize) for resize in Resize
        )
        assert np.array_equal(squash, crop)
        assert np.array_equal(squash, letterbox)


@policies
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_a_picture_is_turned_before_it_is_made_square(resize: Resize, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(smooth(24, 60))
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    turned = encoded(picture, format, exif=exif, **options)
    upright = encoded(picture.transpose(Image.Transpose.ROTATE_270), format, **options)
    got = decode(turned, size=20, channels=3, resize=resize).astype(int)
    wanted = decode(upright, size=20, channels=3, resize=resize)
    assert np.abs(got - wanted).max() <= (4 if format == "JPEG" else 0)


@policies
def test_a_jpeg_that_is_decoded_at_reduced_size_is_cut_at_the_same_place(resize: Resize) -> None:
    picture = Image.fromarray(smooth(400, 1203))
    wanted = decode(encoded(picture, "PNG"), size=16, channels=3, resize=resize).astype(int)
    got = decode(encoded(picture, "JPEG", quality=95), size=16, channels=3, resize=resize)
    assert np.abs(got - wanted).max() <= 8


@policies
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "16" in kind])
def test_16_bits_give_exactly_the_picture_of_their_8_bit_copy(resize: Resize, kind: str) -> None:
    """With all values and shapes: see also test_images.py."""
    planes = {"png 16 LA": 2, "png 16 RGB": 3}.get(kind, 1)
    for seed, (height, width) in enumerate([(13, 30), (30, 13), (1, 9), (16, 16)]):
        array = noise(height, width, planes, seed=seed)
        if planes > 1:
            deep = deep_png(array.astype(np.uint16) * 257)
        else:
            mode = "I;16B" if "big" in kind else "I;16"
            options = {"compression": "tiff_lzw"} if "lzw" in kind else {}
            format = "PNG" if "png" in kind else "TIFF"
            deep = encoded(sixteen(array[:, :, 0], mode), format, **options)
        twin = png(array if planes > 1 else array[:, :, 0])
        for size, channels in product((8, 20), (1, 3)):
            wanted = decode(twin, size=size, channels=channels, resize=resize)
            got = decode(deep, size=size, channels=channels, resize=resize)
            assert np.array_equal(got, wanted), (kind, height, width)


def test_the_policy_may_be_named_by_its_value() -> None:
    data = KINDS["png RGB"]
    for resize in Resize:
        named = decode(data, size=8, channels=3, resize=str(resize))
        assert np.array_equal(named, decode(data, size=8, channels=3, resize=resize))
    with pytest.raises(ValueError, match="stretch"):
        decode(data, size=8, channels=3, resize="stretch")


def test_what_is_stored_does_not_change() -> None:
    assert [str(resize) for resize in Resize] == ["squash", "crop", "letterbox"]
    assert Image.open(io.BytesIO(FORMS["palette"](4, 4))).mode == "P"
