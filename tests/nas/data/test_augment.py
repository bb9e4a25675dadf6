"""What augmentation does is measured on pictures from which the drawn values can be read back."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data import filters
from nas.data.augment import augment
from nas.data.augmentation import Augmentation
from tests.nas.data.references import (
    HIGHEST,
    SIDE,
    affine_maps,
    check_uniform,
    coordinates,
    default_augmentation,
    only,
    plain_move,
)

SHARES = {"resample", "jpeg", "erase", "horizontal_flip"}
"""Of images: the others stay as they are."""
MANY = 400
"""Images from which a distribution is judged: its ends are reached within 2 % of the range."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


# As a whole


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31 - 1))
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
    draws = generator()
    assert torch.equal(augment(images, only(), draws), images.float())
    assert torch.equal(draws.get_state(), generator().get_state())  # nothing was drawn


@pytest.mark.parametrize("shape", [(64, 1, 64, 64), (9, 3, 17, 17), (3, 1, 8, 8)])
def test_the_defaults_draw_and_do_what_they_always_did(shape: tuple[int, ...]) -> None:
    for seed in range(4):
        images = torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)
        now, then = generator(seed), generator(seed)
        expected = default_augmentation(images, then)
        torch.testing.assert_close(
            augment(images, Augmentation(), now), expected, rtol=0, atol=0.05
        )
        assert torch.equal(now.get_state(), then.get_state())


def test_compression_comes_last_and_changes_nothing_before_it() -> None:
    images = noise_images(8, 1, 16)
    before, result = (
        augment(images, replace(Augmentation(), jpeg=share), generator()) for share in (0.0, 0.5)
    )
    assert torch.equal(result[:4], before[:4])
    assert not torch.equal(result[4:], before[4:])


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


@pytest.mark.parametrize("name", sorted(set(HIGHEST) - SHARES))
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


# JPEG: by place, from the other end


@pytest.mark.parametrize(
    ("count", "share", "chosen"),
    [(8, 0.5, 4), (8, 1.0, 8), (64, 0.25, 16), (10, 0.25, 2), (1, 0.4, 0)],
)
def test_jpeg(count: int, share: float, chosen: int) -> None:
    images, draws = noise_images(count, 3, 17), generator(5)
    result = augment(images, only(jpeg=share), draws)
    again = generator(5)
    rest = count - chosen
    assert torch.equal(result[:rest], images[:rest].float())
    if chosen:
        qualities = 30 + 60 * torch.rand((chosen, 1, 1, 1), generator=again)
        expected = filters.jpeg(images[rest:].float(), qualities)
        torch.testing.assert_close(result[rest:], expected, atol=1e-3, rtol=0)
    assert torch.equal(draws.get_state(), again.get_state())


def test_no_image_loses_detail_twice() -> None:
    images = noise_images(64, 1, 16)
    changed = [
        (augment(images, strengths, generator()) != images).flatten(1).any(1)
        for strengths in (only(resample=0.5), only(jpeg=0.5))
    ]
    assert [int(some.sum()) for some in changed] == [32, 32]
    assert not (changed[0] & changed[1]).any()


# Erasing: rectangles are read back from pictures whose mean is no pixel's level


def rectangles(size: int, share: float) -> npt.NDArray[np.float64]:
    """(n, 4): top, left, height and width of what was erased, in pixels."""
    images = plain(100, size)
    images[:, :, ::2] = 120
    result = augment(images, only(erase=share), generator())
    found = []
    for image, changed in zip(result, (result != images)[:, 0], strict=True):
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        if not len(rows):
            continue
        top, left = int(rows[0]), int(columns[0])
        inside = image[:, top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        torch.testing.assert_close(inside, torch.full_like(inside, float(images[0].float().mean())))
        found.append((top, left, *inside.shape[1:]))
    return np.array(found, dtype=np.float64)


def test_erased_rectangles() -> None:
    top, left, height, width = rectangles(60, share=1.0).T
    assert len(top) == MANY
    # Sides are whole pixels: half a pixel of the smallest side, 6, is 8 %.
    check_uniform(height * width / 60**2, 0.02, 0.15, slack=0.02)
    check_uniform(np.log2(height / width), -1.0, 1.0, slack=0.06)
    for start, side in ((top, height), (left, width)):
        assert start.min() == 0
        assert (start + side).max() == 60
        check_uniform((start + 0.5) / (60 - side + 1), 0.0, 1.0, slack=0.02)
    assert abs(np.corrcoef(top / (61 - height), left / (61 - width))[0, 1]) < 0.2


@pytest.mark.parametrize("size", [4, 8])
def test_on_tiny_images_a_pixel_at_least_is_erased(size: int) -> None:
    assert len(rectangles(size, share=1.0)) == MANY


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_share_of_images_is_erased(share: float) -> None:
    deviation = math.sqrt(share * (1 - share) / MANY)
    assert len(rectangles(16, share)) / MANY == pytest.approx(share, abs=3.3 * deviation)


# Geometry: on pictures whose values are their own coordinates, the map can be read back


def maps(strengths: Augmentation, count: int = MANY) -> npt.NDArray[np.float64]:
    """(count, 2, 3): see ``affine_maps``."""
    return affine_maps(augment(coordinates(count), strengths, generator()))


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


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 2**31 - 1), st.floats(0, 180))
def test_geometry_against_plain_sampling(
    size: int, channels: int, seed: int, degrees: float
) -> None:
    images = noise_images(2, channels, size, seed)
    strengths = only(rotation_degrees=degrees, shift=0.2, scale=0.5)
    result = augment(images, strengths, generator(seed)).double().numpy()
    draws = generator(seed)
    angle, size_draw, across, down = (  # of each image, from -1 to 1
        (torch.rand((2, 1, 1, 1), generator=draws).double().flatten() * 2 - 1).tolist()
        for _ in range(4)
    )
    for row in range(2):
        for channel in range(channels):
            expected = plain_move(
                images[row, channel].double().numpy(),
                math.radians(degrees) * angle[row],
                1.5 ** size_draw[row],
                0.2 * across[row],
                0.2 * down[row],
            )
            np.testing.assert_allclose(result[row, channel], expected, atol=0.05)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_horizontal_flip(share: float) -> None:
    images = noise_images(MANY, 3, 9)
    result = augment(images, only(horizontal_flip=share), generator())
    mirrored = torch.from_numpy(images.numpy()[..., ::-1].copy()).float()
    flipped = (result == mirrored).flatten(1).all(1)
    kept = (result == images).flatten(1).all(1)
    assert (flipped ^ kept).all()
    deviation = math.sqrt(share * (1 - share) / MANY)
    assert float(flipped.float().mean()) == pytest.approx(share, abs=3.3 * deviation + 1e-9)


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
        jpeg=0.0,
        erase=0.0,
        horizontal_flip=0.0,
    )


def test_a_turned_white_picture_has_no_black_corners() -> None:
    white = torch.full((20, 1, 16, 16), 255, dtype=torch.uint8)
    result = augment(white, only(rotation_degrees=180.0, shift=0.5, scale=1.0), generator())
    torch.testing.assert_close(result, white.float(), atol=1e-3, rtol=0)
