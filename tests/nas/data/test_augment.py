"""What augmentation does is measured on pictures from which the drawn values can be read back."""

import math
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data import filters
from nas.data.augment import Augmentation, augment
from nas.errors import SettingsError

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
}
MANY = 400
"""Images from which a distribution is judged: its ends are reached within 2 % of the range."""


def only(**strengths: float) -> Augmentation:
    """Everything off but the given."""
    return Augmentation(**{**dict.fromkeys(HIGHEST, 0.0), **strengths})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


def check_uniform(values: npt.NDArray[np.float64], low: float, high: float) -> None:
    """Within [low, high], and spread evenly over it."""
    places = (np.sort(values) - low) / (high - low)
    assert places[0] >= -1e-3
    assert places[-1] <= 1 + 1e-3
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is exceeded by one uniform sample in a thousand; the
    # sample here is always the same.
    steps = (np.arange(len(places)) + 0.5) / len(places)
    assert np.abs(places - steps).max() < 1.95 / math.sqrt(len(places))


# As a whole


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 3]), st.integers(8, 33), st.integers(1, 9), st.integers(0, 2**31 - 1))
def test_shape_type_range_and_untouched_input(
    channels: int, size: int, count: int, seed: int
) -> None:
    images = noise_images(count, channels, size, seed)
    before = images.clone()
    for strengths in (Augmentation(), Augmentation(**HIGHEST)):
        result = augment(images, strengths, generator(seed))
        assert result.shape == images.shape
        assert result.dtype == torch.float32
        assert result.min() >= 0
        assert result.max() <= 255
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", HIGHEST)
def test_range_when_a_single_one_is_at_its_highest(name: str) -> None:
    images = torch.where(noise_images(8, 1, 16) > 127, 255, 0).to(torch.uint8)
    result = augment(images, only(**{name: HIGHEST[name]}), generator())
    assert result.min() >= -1e-3
    assert result.max() <= 255 + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_off_leaves_the_pictures_as_they_are(channels: int) -> None:
    images = noise_images(5, channels, 9)
    assert torch.equal(augment(images, only(), generator()), images.float())


@pytest.mark.parametrize("name", HIGHEST)
def test_the_result_is_a_function_of_the_generator(name: str) -> None:
    images = noise_images(4, 3, 12)
    state = torch.get_rng_state()
    for strengths in (Augmentation(), only(**{name: HIGHEST[name] / 2})):
        first = augment(images, strengths, generator(1))
        assert torch.equal(first, augment(images, strengths, generator(1)))
        changed = not torch.equal(first, augment(images, strengths, generator(2)))
        assert changed or strengths == only(resample=0.5)  # it goes by place
    assert torch.equal(state, torch.get_rng_state())


def test_a_generator_goes_on() -> None:
    images, draws = noise_images(4, 1, 12), generator(1)
    first, second = (augment(images, Augmentation(), draws) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(set(HIGHEST) - {"resample"}))
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_draws_its_own_values(name: str, channels: int) -> None:
    images = noise_images(1, channels, 16).expand(6, -1, -1, -1).contiguous()
    images = images // 2 + 30
    result = augment(images, only(**{name: HIGHEST[name] / 4}), generator())
    assert len({picture.numpy().tobytes() for picture in (*result, images[0].float())}) == 7


@pytest.mark.parametrize("name", sorted(set(HIGHEST) - {"noise", "resample"}))
def test_channels_of_one_image_share_their_values(name: str) -> None:
    images = noise_images(3, 1, 16).expand(-1, 3, -1, -1).contiguous()
    result = augment(images, only(**{name: HIGHEST[name] / 4}), generator())
    torch.testing.assert_close(result[:, 0], result[:, 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(result[:, 0], result[:, 2], atol=1e-3, rtol=0)


# Brightness: the drawn values, read back


def plain(level: int, size: int = 8) -> torch.Tensor:
    return torch.full((MANY, 1, size, size), level, dtype=torch.uint8)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_exposure(strength: float) -> None:
    result = augment(plain(80), only(exposure=strength), generator())
    factors = (result[:, 0, 0, 0] / 80).double().numpy()
    most = math.log(1 + strength)
    check_uniform(np.log(factors), -most, most)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_contrast(strength: float) -> None:
    images = plain(100)
    images[:, :, ::2] = 120
    result = augment(images, only(contrast=strength), generator())
    factors = ((result[:, 0, 0, 0] - result[:, 0, 1, 0]) / 20).double().numpy()
    most = math.log(1 + strength)
    check_uniform(np.log(factors), -most, most)
    torch.testing.assert_close(result.mean((1, 2, 3)), torch.full((MANY,), 110.0))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_gamma(strength: float) -> None:
    result = augment(plain(64), only(gamma=strength), generator())
    exponents = np.log(result[:, 0, 0, 0].double().numpy() / 255) / math.log(64 / 255)
    most = math.log(1 + strength)
    check_uniform(np.log(exponents), -most, most)


@pytest.mark.parametrize("strength", [0.5, 0.9])
def test_sharpness(strength: float) -> None:
    images = (noise_images(1, 1, 16) // 8 + 110).expand(MANY, -1, -1, -1).contiguous()
    result = augment(images, only(sharpness=strength), generator())
    detail = images[0].float() - filters.blur(images[:1].float(), 1.0)[0]
    change = result - images
    amounts = ((change * detail).sum((1, 2, 3)) / (detail * detail).sum()).double().numpy()
    check_uniform(amounts, -strength, strength)


def test_noise() -> None:
    result = augment(plain(128, size=32), only(noise=20.0), generator())
    deviations = result.std((1, 2, 3)).double().numpy()
    assert deviations.max() < 20.0 * 1.1  # 4.5 standard errors of a deviation from 1,024 pixels
    check_uniform(np.minimum(deviations, 20.0), 0.0, 20.0)


# Sharpness lost by shrinking: by place


@pytest.mark.parametrize(
    ("count", "share", "each"),
    [(8, 0.5, 2), (8, 1.0, 4), (64, 0.25, 8), (7, 1.0, 4), (10, 0.25, 1), (3, 0.2, 0), (1, 1.0, 0)],
)
def test_resample(count: int, share: float, each: int) -> None:
    images = noise_images(count, 3, 17)
    result = augment(images, only(resample=share), generator())
    half, three_quarters = images[:each].float(), images[each : 2 * each].float()
    if each:
        assert torch.equal(result[:each], filters.resample(half, 0.5))
        assert torch.equal(result[each : 2 * each], filters.resample(three_quarters, 0.75))
        assert not torch.equal(result[:each], half)
    assert torch.equal(result[2 * each :], images[2 * each :].float())


# Geometry: on pictures whose values are their own coordinates, the map can be read back

SIDE = 41
CENTRE = (SIDE - 1) / 2


def coordinates(count: int) -> torch.Tensor:
    """(count, 3, SIDE, SIDE): channel 0 is 6 × the column, channel 1 is 6 × the row."""
    ramp = torch.arange(SIDE, dtype=torch.uint8) * 6
    column, row = ramp.expand(SIDE, SIDE), ramp.view(-1, 1).expand(SIDE, SIDE)
    return torch.stack([column, row, torch.full_like(column, 77)]).expand(count, 3, SIDE, SIDE)


def maps(strengths: Augmentation, count: int = MANY) -> npt.NDArray[np.float64]:
    """(count, 2, 3): where a pixel comes from, as x' = a·x + b·y + c and likewise y', in pixels
    from the centre.
    """
    result = augment(coordinates(count), strengths, generator()).double().numpy()
    assert result[:, 2] == pytest.approx(77, abs=1e-3)  # no border of another level comes in
    inner = np.arange(14, SIDE - 14)
    down, across = (grid.ravel() for grid in np.meshgrid(inner, inner, indexing="ij"))
    design = np.stack([across - CENTRE, down - CENTRE, np.ones_like(down)], 1)
    found = []
    for picture in result:
        sources = picture[:2, down, across].T / 6 - CENTRE
        solution, residual, *_ = np.linalg.lstsq(design, sources, rcond=None)
        assert residual.max() < 1e-3  # it is an affine map, sampled bilinearly
        found.append(solution.T)
    return np.stack(found)


def test_rotation_alone() -> None:
    found = maps(only(rotation_degrees=30.0))
    linear, moved = found[:, :, :2], found[:, :, 2]
    angles = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    check_uniform(angles, -30.0, 30.0)
    # Rotations: orthogonal, determinant 1 (no mirror), the centre stays.
    products = linear @ linear.transpose(0, 2, 1)
    assert products == pytest.approx(np.broadcast_to(np.eye(2), products.shape), abs=1e-3)
    assert np.linalg.det(linear) == pytest.approx(1.0, abs=1e-3)
    assert moved == pytest.approx(0, abs=1e-2)


def test_shift_alone() -> None:
    found = maps(only(shift=0.2))
    assert found[:, :, :2] == pytest.approx(np.broadcast_to(np.eye(2), (MANY, 2, 2)), abs=1e-3)
    for axis in (0, 1):
        check_uniform(found[:, axis, 2] / SIDE, -0.2, 0.2)
    assert abs(np.corrcoef(found[:, 0, 2], found[:, 1, 2])[0, 1]) < 0.2  # to any direction


def test_scale_alone() -> None:
    found = maps(only(scale=0.5))
    sizes = found[:, 0, 0]
    most = math.log(1.5)
    check_uniform(np.log(sizes), -most, most)
    assert found[:, 1, 1] == pytest.approx(sizes, abs=1e-3)
    assert found[:, 0, 1] == pytest.approx(0, abs=1e-3)
    assert found[:, 1, 0] == pytest.approx(0, abs=1e-3)
    assert found[:, :, 2] == pytest.approx(0, abs=1e-2)


def test_the_default_geometry_is_mild_and_never_mirrors() -> None:
    found = maps(only(rotation_degrees=10.0, shift=0.07, scale=0.1))
    linear = found[:, :, :2]
    sizes = np.sqrt(np.linalg.det(linear))
    check_uniform(np.log(sizes), -math.log(1.1), math.log(1.1))
    angles = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    check_uniform(angles, -10.0, 10.0)
    check_uniform(found[:, 0, 2] / SIDE, -0.07, 0.07)
    assert Augmentation() == Augmentation(
        rotation_degrees=10.0,
        shift=0.07,
        scale=0.1,
        contrast=0.3,
        exposure=0.2,
        gamma=0.3,
        sharpness=0.9,
        resample=0.25,
        noise=8.0,
    )


def test_a_turned_white_picture_has_no_black_corners() -> None:
    white = torch.full((20, 1, 16, 16), 255, dtype=torch.uint8)
    result = augment(white, only(rotation_degrees=180.0, shift=0.5, scale=1.0), generator())
    torch.testing.assert_close(result, white.float(), atol=1e-3, rtol=0)


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
