"""The sheet of samples, and the settings that it and a command line name."""

import math
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data import samples
from nas.data.augment import augment
from nas.data.augmentation import STRONG, Augmentation
from nas.data.samples import sample_sheet
from nas.errors import SettingsError
from tests.nas.data.references import HIGHEST, only


def noise_images(count: int, channels: int, size: int) -> torch.Tensor:
    shape = (count, channels, size, size)
    draws = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8)


def pairs(sheet: Image.Image, count: int, size: int, columns: int) -> npt.NDArray[np.uint8]:
    """(count, 2, size, size[, 3]): originals and variants, found from the bottom of the sheet."""
    pixels = np.asarray(sheet)
    zoom = math.ceil(96 / size)
    shown = size * zoom
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    across, down = shown + samples.WIDE_GAP, 2 * shown + samples.GAP + samples.WIDE_GAP
    first = pixels.shape[0] - samples.MARGIN + samples.WIDE_GAP - rows * down
    found = []
    for index in range(count):
        top = first + index // columns * down
        left = samples.MARGIN + index % columns * across
        for start in (top, top + shown + samples.GAP):
            enlarged = pixels[start : start + shown, left : left + shown]
            small = enlarged[::zoom, ::zoom]
            # Nearest neighbour: every pixel is a plain square.
            np.testing.assert_array_equal(small.repeat(zoom, 0).repeat(zoom, 1), enlarged)
            found.append(small)
    return np.stack(found).reshape(count, 2, *found[0].shape)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 32), st.sampled_from([1, 3]), st.integers(8, 40), st.integers(1, 9))
def test_originals_stand_above_their_variants(
    count: int, channels: int, size: int, columns: int
) -> None:
    images = noise_images(count, channels, size)
    sheet = sample_sheet(images, only(exposure=0.2), 3, columns=columns)
    assert sheet.mode == ("L" if channels == 1 else "RGB")
    shown = pairs(sheet, count, size, columns)
    expected = images[:, 0] if channels == 1 else images.movedim(1, -1)
    np.testing.assert_array_equal(shown[:, 0], expected.numpy())
    # Each variant is its own original, times a factor from 1/1.2 to 1.2.
    above, below = shown.astype(np.float64).reshape(count, 2, -1).swapaxes(0, 1)
    dark = (above > 0) & (above < 200)
    for original, variant, some in zip(above, below, dark, strict=True):
        factor = variant[some].sum() / original[some].sum()
        assert 1 / 1.21 < factor < 1.21
        assert np.abs(variant[some] - factor * original[some]).max() <= 2


def test_the_variants_are_those_of_a_shuffled_batch() -> None:
    images = noise_images(32, 1, 24)
    shown = pairs(sample_sheet(images, Augmentation(), 7), 32, 24, 8)
    draws = torch.Generator().manual_seed(7)
    order = torch.randperm(32, generator=draws)
    variants = augment(images[order], Augmentation(), draws).round().to(torch.uint8)
    for place, row in enumerate(order.tolist()):
        np.testing.assert_array_equal(shown[row, 1], variants[place, 0].numpy())


def test_what_goes_by_place_is_spread_over_the_sheet() -> None:
    images = noise_images(32, 1, 16)
    shown = pairs(sample_sheet(images, only(resample=0.5), 0), 32, 16, 8)
    changed = (shown[:, 0] != shown[:, 1]).any((1, 2))
    assert changed.sum() == 16
    assert 3 < changed[:16].sum() < 13


def test_a_sheet_is_a_function_of_its_arguments() -> None:
    images, state = noise_images(6, 1, 12), torch.get_rng_state()
    before = images.clone()
    strengths = Augmentation(jpeg=0.5, erase=0.5, horizontal_flip=0.5)
    sheet = sample_sheet(images, strengths, 1)
    assert sheet.tobytes() == sample_sheet(images, strengths, 1).tobytes()
    assert sheet.tobytes() != sample_sheet(images, strengths, 2).tobytes()
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("size", "shown"), [(8, 96), (64, 128), (95, 190), (96, 96), (224, 224)])
def test_small_images_are_enlarged(size: int, shown: int) -> None:
    sheet = sample_sheet(noise_images(8, 1, size), only(), 0)
    assert sheet.width == 8 * shown + 7 * samples.WIDE_GAP + 2 * samples.MARGIN


@pytest.mark.parametrize("strengths", [Augmentation(), only(), Augmentation(**HIGHEST)])
@pytest.mark.parametrize("count", [1, 8])
def test_the_caption_has_room_and_depends_on_the_settings(
    strengths: Augmentation, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise_images(count, 1, 32)
    sheet = sample_sheet(images, strengths, 4)
    lines = samples._caption(strengths, 4, sheet.width - 2 * samples.MARGIN)
    text = " ".join(lines)
    on, off = text.split(" on: ")[1].split(" off: ")
    for field in fields(strengths):
        value = getattr(strengths, field.name)
        assert (f"{field.name} {value:g}" in on) == (value > 0)
        assert (field.name in off) == (value == 0)
    assert "seed 4" in text
    # Written where nothing else is: the margins stay empty, and so does the gap below.
    pixels = np.asarray(sheet)
    pictures = sheet.height - 2 * 96 - samples.GAP - samples.MARGIN
    caption = pixels[:pictures]
    assert (caption != samples.PAPER).any()
    assert (caption[:, -samples.MARGIN :] == samples.PAPER).all()
    assert (caption[-samples.WIDE_GAP :] == samples.PAPER).all()


@pytest.mark.parametrize(("count", "columns"), [(0, 8), (33, 8), (4, 0), (4, -1)])
def test_other_numbers_are_refused(count: int, columns: int) -> None:
    with pytest.raises(SettingsError) as caught:
        sample_sheet(noise_images(count, 1, 8), Augmentation(), 0, columns=columns)
    assert str(caught.value) == (
        "a sample sheet must have 1 to 32 images and at least 1 column, but has "
        f"{count} and {columns}; choose other numbers"
    )


# Settings


def test_every_strength_has_a_limit() -> None:
    assert {field.name for field in fields(Augmentation)} == set(HIGHEST)


@pytest.mark.parametrize("name", HIGHEST)
def test_limits_themselves_are_allowed(name: str) -> None:
    for value in (0.0, HIGHEST[name]):
        assert getattr(only(**{name: value}), name) == value


BEYOND: dict[str, Callable[[float], float]] = {
    "negative": lambda highest: -0.01,
    "too high": lambda highest: highest * 1.001,
    "not a number": lambda highest: math.nan,
    "infinite": lambda highest: math.inf,
}


@pytest.mark.parametrize("name", HIGHEST)
@pytest.mark.parametrize("kind", BEYOND)
def test_other_strengths_are_refused(name: str, kind: str) -> None:
    value = BEYOND[kind](HIGHEST[name])
    with pytest.raises(SettingsError) as caught:
        only(**{name: value})
    assert str(caught.value) == (
        f"augmentation {name} must be from 0 to {HIGHEST[name]}, but is {value}; 0 turns it off"
    )


# Settings on a command line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], Augmentation()),
        (["noise=0"], Augmentation(noise=0.0)),
        (["rotation_degrees=5", "jpeg=.25"], Augmentation(rotation_degrees=5.0, jpeg=0.25)),
        (["none"], only()),
        (["strong"], Augmentation(**STRONG)),
        (["strong", "noise=1"], Augmentation(**{**STRONG, "noise": 1.0})),
        (["none", "noise=1e1", "shift=0.5"], only(noise=10.0, shift=0.5)),
    ],
)
def test_parsed(options: list[str], expected: Augmentation) -> None:
    assert Augmentation.parsed(options) == expected


WRONG = ["fog=1", "noise", "noise=", "noise=much", "noise=nan", "noise=inf", "=1", "", "off"]
WRONG += ["none=0", "none", "strong", "strong=1", "Noise=1", "parsed=1", "gamma=0.2=1", "jpeg=0.2"]


@pytest.mark.parametrize("item", WRONG)
def test_other_options_are_refused(item: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Augmentation.parsed(["jpeg=0.1", item])
    assert str(caught.value) == (
        "augmentation must be set by none (everything off, as the first word), strong (likewise) "
        f"or NAME=NUMBER, finite and each name once, but was by {item!r}; names are "
        "rotation_degrees, shift, scale, contrast, exposure, gamma, sharpness, resample, noise, "
        "jpeg, erase, horizontal_flip"
    )


def test_a_parsed_number_keeps_to_the_limits() -> None:
    with pytest.raises(SettingsError, match=r"noise must be from 0 to 128\.0, but is 200\.0"):
        Augmentation.parsed(["noise=200"])


@given(st.fixed_dictionaries({name: st.floats(0, high) for name, high in HIGHEST.items()}))
def test_what_is_written_out_is_read_back(values: dict[str, float]) -> None:
    options = [f"{name}={value!r}" for name, value in values.items()]
    assert Augmentation.parsed(options) == Augmentation(**values)
