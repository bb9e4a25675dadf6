"""Pictures unlike the training pictures, and decisions that are close."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.doubts import LEAST_MARGIN, USUAL_MARGIN, Doubts
from nas.errors import BundleError, ImageError
from nas.images import Look, Pixels, decode, examine
from nas.thumbnails import OF_THUMBNAILS, of_thumbnails
from tests.nas.hostile import corpus, encoded

RANDOM = np.random.default_rng(7)


def xray(seed: int = 0, side: int = 224) -> Pixels:
    """(side, side): something bright in the middle, with detail."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = 190 * np.exp(-1.5 * (x**2 + y**2)) + 25 * np.sin(9 * x) * np.cos(7 * y)
    noise = np.random.default_rng(seed).normal(0, 6, (side, side))
    return np.asarray((body + noise + 20).clip(0, 255), np.uint8)


def file(array: np.ndarray[Any, Any], format: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.fromarray(array), format, **options)


def look(data: bytes) -> Look:
    return examine(data, size=64, channels=1)[1]


def card(**figures: Any) -> dict[str, Any]:
    """Of a model that was trained on pictures such as xray(): stored as RGB, all of one size."""
    thumbnails = np.stack([look(file(xray(seed))).thumbnail for seed in range(20)])
    rows = of_thumbnails(thumbnails)
    values = {
        name: {"middle": float(np.median(row)), "spread": float(row.std()) + 4 * scale}
        for name, row, scale in zip(
            OF_THUMBNAILS, rows.T, (1, 1, 1, 1, 1, 0.01, 0.01, 1, 20), strict=True
        )
    }
    for name, middle in {"width": 224.0, "height": 224.0, "aspect": 1.0, "colour": 1.0}.items():
        values[name] = {"middle": middle, "spread": 0.0}
    return {"data": {"statistics": {"n": 20, "values": values}}, **figures}


def doubts(
    card_: dict[str, Any] | None = None, *, channels: int = 1, threshold: float = 0.5
) -> Doubts:
    given = card() if card_ is None else card_
    return Doubts.of(given, size=64, channels=channels, threshold=threshold)


PHOTO = np.stack([xray(), np.roll(xray(), 60, 1), 255 - xray()], 2)
NOT_JFIF = file(PHOTO, "JPEG")[:2] + file(PHOTO, "JPEG")[20:]  # as cameras write them
ODD = {
    "in colour": file(PHOTO),
    "in colour: JPEG": file(PHOTO, "JPEG"),
    "in colour: camera": NOT_JFIF,
    "in colour: palette": encoded(Image.fromarray(PHOTO).quantize(64), "PNG"),
    "unlike": file(RANDOM.integers(0, 256, (224, 224), np.uint8)),
    "unlike: negative": file(255 - xray()),
    "blank": file(np.full((224, 224), 130, np.uint8)),
    "blank: black": file(np.zeros((224, 224), np.uint8)),
    "small": file(xray(side=16)),
    "unusual shape": file(np.hstack([xray()] * 3)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_get_a_sentence_each(name: str) -> None:
    found = doubts().about(look(ODD[name]))
    assert found
    assert name.partition(":")[0] in " ".join(found)
    assert all(text.startswith("the picture is ") or "has an" in text for text in found)


@pytest.mark.parametrize(
    "data",
    [
        file(xray(50)),
        file(np.stack([xray(51)] * 3, 2)),  # gray stored as RGB is gray
        file(np.stack([xray(52)] * 3, 2), "JPEG"),
        file(xray(53, side=900)),  # the network's input is smaller in any case
        file(xray(54).astype(np.uint16) * 257),
        file(xray(55, side=250)[:, :224], "TIFF"),
    ],
)
def test_usual_pictures_get_none(data: bytes) -> None:
    assert doubts().about(look(data)) == []


def test_a_model_of_colour_pictures_expects_colours() -> None:
    assert not any("colour" in text for text in doubts(channels=3).about(look(ODD["in colour"])))


def test_a_card_without_statistics_still_tells_what_needs_none() -> None:
    bare = doubts({})
    assert bare.about(look(file(xray()))) == []
    assert bare.about(look(ODD["unlike"])) == []
    for name in ("in colour", "blank", "small"):
        assert len(bare.about(look(ODD[name]))) == 1
    assert bare.margin == USUAL_MARGIN


@pytest.mark.parametrize(
    ("figures", "threshold", "margin"),
    [
        ({}, 0.5, USUAL_MARGIN),
        ({"finals": None}, 0.5, USUAL_MARGIN),
        ({"finals": {"out_of_fold": {"ece": 0.055}}}, 0.5, 0.055),
        ({"finals": {"out_of_fold": {"ece": 0.001}}}, 0.5, LEAST_MARGIN),
        ({"finals": {"out_of_fold": {"ece": 0.2}}}, 0.1, 0.05),  # half of the way to 0
        ({"finals": {"out_of_fold": {"ece": 0.2}}}, 0.9, 0.05),
    ],
)
def test_the_margin_is_the_calibration_error(
    figures: dict[str, Any], threshold: float, margin: float
) -> None:
    found = doubts(card(**figures), threshold=threshold)
    assert found.margin == pytest.approx(margin)
    for away, uncertain in ((0.99, True), (-0.99, True), (1.01, False), (-1.01, False)):
        value = threshold + away * margin
        assert found.uncertain({"a": 1 - value, "b": value}) is uncertain


def test_of_several_classes_the_lead_counts() -> None:
    assert doubts().uncertain({"a": 0.42, "b": 0.35, "c": 0.23})
    assert not doubts().uncertain({"a": 0.2, "b": 0.6, "c": 0.2})


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        ({"data": {"statistics": {"values": {"mean": {"middle": 1}}}}}, "garble an entry"),
        ({"data": {"statistics": {"values": 3}}}, "garble an entry"),
        ({"data": {"statistics": {"values": {"mean": {"middle": 1, "spread": -1}}}}}, "finite"),
        ({"finals": {"out_of_fold": {"ece": "much"}}}, "out-of-fold figures"),
        ({"finals": {"out_of_fold": {"ece": 2}}}, "from 0 to 1"),
        ({"finals": {"out_of_fold": {"ece": float("nan")}}}, "from 0 to 1"),
    ],
)
def test_a_garbled_card_is_refused(broken: dict[str, Any], part: str) -> None:
    with pytest.raises(BundleError, match=part):
        doubts(broken)


@pytest.mark.filterwarnings("ignore")
def test_examining_gives_the_pixels_of_decoding() -> None:
    """Over files of every kind, whole and broken: training and serving must see the same."""
    ways: tuple[dict[str, Any], ...] = (
        {"size": 64, "channels": 1},
        {"size": 24, "channels": 3, "resize": "crop"},
        {"size": 32, "channels": 1, "resize": "letterbox"},
    )
    whole = 0
    for data in list(corpus().values())[::4]:
        for way in ways:
            try:
                pixels = decode(data, **way)
            except ImageError as error:
                with pytest.raises(ImageError, match=f"^{re.escape(str(error))}$"):
                    examine(data, **way)
            else:
                again, seen = examine(data, **way)
                assert np.array_equal(again, pixels)
                assert seen.thumbnail.shape == (1, 64, 64)
                assert 0 <= seen.chroma <= 255
                whole += 1
    assert whole > 100


def test_the_thumbnail_is_that_of_the_statistics() -> None:
    """Close also where the network's input is another: the card holds 64×64, squashed."""
    data = file(np.hstack([xray(1), xray(2)]), "JPEG")
    wanted = decode(data, size=64, channels=1).astype(float)
    for size, resize in ((64, "squash"), (128, "letterbox"), (32, "crop")):
        seen = examine(data, size=size, channels=1, resize=resize)[1]
        assert (seen.width, seen.height) == (448, 224)
        assert np.abs(seen.thumbnail - wanted).mean() < 3
    assert np.array_equal(look(data).thumbnail, wanted)


def test_a_jpeg_of_plain_red_green_and_blue_is_decoded_as_ever() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG", keep_rgb=True)
    pixels, _ = examine(buffer.getvalue(), size=64, channels=1)
    assert np.array_equal(pixels, decode(buffer.getvalue(), size=64, channels=1))
