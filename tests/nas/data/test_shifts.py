import numpy as np
import pytest
import torch

from nas.data import filters
from nas.data.shifts import SHIFTS, shifted

NAMES = (
    "blur",
    "resample",
    "sharpen",
    "noise",
    "darker",
    "brighter",
    "flatter",
    "harder",
    "gamma_low",
    "gamma_high",
)


def images_of(size: int, channels: int = 1, count: int = 3) -> torch.Tensor:
    """Textured pictures, mid-grey on average, without black or white."""
    shape = (count, channels, size, size)
    return torch.randint(
        60, 180, shape, generator=torch.Generator().manual_seed(size), dtype=torch.uint8
    )


def roughness(images: torch.Tensor) -> float:
    return float(images.float().diff(dim=-1).abs().mean())


def spread(images: torch.Tensor) -> float:
    return float(images.float().std((1, 2, 3)).mean())


def level(images: torch.Tensor) -> float:
    return float(images.float().mean())


def test_the_shifts_are_these() -> None:
    """Scores of different runs are compared: a change of this set changes all of them."""
    assert tuple(SHIFTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 16, 33])
def test_a_shift_is_fixed_and_gives_uint8(name: str, channels: int, size: int) -> None:
    images = images_of(size, channels)
    before = images.clone()
    torch.manual_seed(1)
    first = shifted(images, name)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, shifted(images, name))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [24, 33, 64])
def test_each_shift_changes_every_picture(name: str, channels: int, size: int) -> None:
    images = images_of(size, channels)
    changed = (shifted(images, name) != images).float().mean((1, 2, 3))
    assert changed.min() > 0.2


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"blur", "sharpen"}))
@pytest.mark.parametrize("size", [8, 16])
def test_on_the_smallest_images_too(name: str, size: int) -> None:
    """Blur and sharpening shrink with the image: there they hardly reach a neighbour."""
    images = images_of(size)
    assert (shifted(images, name) != images).float().mean((1, 2, 3)).min() > 0.2


@pytest.mark.parametrize(
    ("name", "measure", "sign"),
    [
        ("blur", roughness, -1),
        ("resample", roughness, -1),
        ("sharpen", roughness, 1),
        ("noise", roughness, 1),
        ("darker", level, -1),
        ("brighter", level, 1),
        ("flatter", spread, -1),
        ("harder", spread, 1),
        ("gamma_low", level, 1),
        ("gamma_high", level, -1),
    ],
)
def test_each_shift_does_what_its_name_says(name: str, measure: object, sign: int) -> None:
    assert callable(measure)
    images = images_of(32)
    before, after = measure(images), measure(shifted(images, name))
    assert sign * (after - before) > 0.05 * before


def test_brightness_against_plain_arithmetic() -> None:
    images = images_of(16)
    values = images.double().numpy()
    mean = values.mean((1, 2, 3), keepdims=True)
    expected = {
        "darker": 0.7 * values,
        "brighter": 1.4 * values,
        "flatter": mean + 0.6 * (values - mean),
        "harder": mean + 1.7 * (values - mean),
        "gamma_low": 255 * (values / 255) ** 0.6,
        "gamma_high": 255 * (values / 255) ** 1.7,
    }
    for name, result in expected.items():
        rounded = np.clip(np.rint(result), 0, 255)
        difference = np.abs(shifted(images, name).numpy() - rounded)
        assert difference.max() <= 1, name  # a half may round either way in float32
        assert difference.mean() < 0.05, name


@pytest.mark.parametrize(("size", "scale"), [(64, 1.0), (32, 0.5), (96, 1.5)])
def test_blur_and_sharpening_grow_with_the_image(size: int, scale: float) -> None:
    images = images_of(size)
    floats = images.float()
    blurred = filters.blur(floats, 1.4 * scale).round().to(torch.uint8)
    assert torch.equal(shifted(images, "blur"), blurred)
    sharp = filters.sharpen(floats, 1.8, scale).round().to(torch.uint8)
    assert torch.equal(shifted(images, "sharpen"), sharp)


def test_resampling_keeps_a_third_of_the_side() -> None:
    images = images_of(32)
    expected = filters.resample(images.float(), 0.35).round().to(torch.uint8)
    assert torch.equal(shifted(images, "resample"), expected)


def test_noise_is_as_strong_as_written_and_differs_between_images() -> None:
    grey = torch.full((2, 1, 64, 64), 128, dtype=torch.uint8)
    noise = shifted(grey, "noise").float() - 128
    assert noise.std().item() == pytest.approx(16.0, rel=0.03)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.8)
    assert not torch.equal(noise[0], noise[1])


@pytest.mark.parametrize("name", NAMES)
def test_values_beyond_black_and_white_are_clipped_and_not_wrapped(name: str) -> None:
    images = torch.where(images_of(32) > 120, 255, 0).to(torch.uint8)
    result = shifted(images, name).float()
    assert torch.corrcoef(torch.stack([result.flatten(), images.float().flatten()]))[0, 1] > 0.3


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        shifted(images_of(8), "fog")
