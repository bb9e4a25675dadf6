import io
import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas.errors import ImageError, SettingsError
from nas.images import Resize, decode
from nas.preprocessing import Preprocessing, check_resize, check_size

GRAY = Preprocessing(16, 1, (0.5,), (0.25,))
COLOUR = Preprocessing(16, 3, (0.5, 0.25, 0.125), (0.25, 0.5, 1.0))

shares = st.floats(0, 1)
positive = st.floats(0.001, 1)


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    channels = draw(st.sampled_from([1, 3]))
    mean = draw(st.lists(shares, min_size=channels, max_size=channels))
    std = draw(st.lists(positive, min_size=channels, max_size=channels))
    size, resize = draw(st.integers(8, 1024)), draw(st.sampled_from(Resize))
    return Preprocessing(size, channels, tuple(mean), tuple(std), resize)


@given(preprocessings())
def test_json_round_trip(value: Preprocessing) -> None:
    back = Preprocessing.from_json(json.loads(json.dumps(value.to_json())))
    assert back == value
    assert type(back.resize) is Resize


def test_the_json_form_does_not_change_between_versions() -> None:
    """Bundles hold it."""
    text = '{"size": 16, "channels": 1, "mean": [0.5], "std": [0.25], "resize": "squash"}'
    assert json.dumps(GRAY.to_json()) == text
    assert Preprocessing.from_json(json.loads(text)) == GRAY
    for name in ("squash", "crop", "letterbox"):
        assert replace(GRAY, resize=check_resize(name)).to_json()["resize"] == name


def test_bundles_from_before_the_policies_are_squashed() -> None:
    old = {key: value for key, value in GRAY.to_json().items() if key != "resize"}
    assert Preprocessing.from_json(old) == GRAY


@pytest.mark.parametrize("resize", Resize)
def test_decode_honours_the_policy(resize: Resize) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (20, 1))).save(buffer, "PNG")
    pixels = replace(GRAY, resize=resize).decode(buffer.getvalue())
    wanted = decode(buffer.getvalue(), size=16, channels=1, resize=resize)
    assert np.array_equal(pixels, wanted)
    others = [replace(GRAY, resize=other) for other in Resize if other is not resize]
    assert not any(np.array_equal(pixels, other.decode(buffer.getvalue())) for other in others)


@given(preprocessings(), st.integers(0, 2**32 - 1))
def test_normalize_is_the_textbook_formula(value: Preprocessing, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, value.channels, 3, 5), np.uint8)
    shape = (1, -1, 1, 1)
    expected = (pixels / 255 - np.reshape(value.mean, shape)) / np.reshape(value.std, shape)
    result = value.normalize(torch.from_numpy(pixels))
    assert result.dtype == torch.float32
    assert result.shape == pixels.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-3)


def test_normalize_by_hand() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert GRAY.normalize(pixels).flatten().tolist() == [-2, 2]
    colour = COLOUR.normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    assert colour.flatten().tolist() == [2, 1.5, 0.875]


def test_normalize_takes_floats_and_leaves_its_input_alone() -> None:
    pixels = torch.tensor([[[[0.0, 127.5]]]])
    before = pixels.clone()
    assert GRAY.normalize(pixels).flatten().tolist() == [-2, 0]
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("value", [GRAY, COLOUR])
def test_decode_is_that_of_training(value: Preprocessing) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    pixels = value.decode(buffer.getvalue())
    assert pixels.shape == (value.channels, 16, 16)
    assert np.array_equal(
        pixels, decode(buffer.getvalue(), size=value.size, channels=value.channels)
    )
    with pytest.raises(ImageError):
        value.decode(b"no image")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"size": 7}, "8 to 1024 pixels, but is 7"),
        ({"size": 1025}, "1025"),
        ({"size": 64.0}, "64.0"),
        ({"size": True}, "True"),
        ({"size": None}, "None"),
        ({"size": "64"}, "'64'"),
        ({"channels": 2}, "channels must be 1 or 3, but is 2; choose one"),
        ({"channels": 0}, "but is 0"),
        ({"channels": True}, "but is True"),
        ({"channels": 1.0}, "but is 1.0"),
        ({"channels": None}, "but is None"),
        ({"channels": 3}, "one value in [0, 1] per channel"),
        ({"mean": ()}, "one value in [0, 1] per channel"),
        ({"mean": (0.5, 0.5)}, "one value in [0, 1] per channel"),
        ({"mean": (-0.1,)}, "one value in [0, 1] per channel"),
        ({"mean": (1.1,)}, "one value in [0, 1] per channel"),
        ({"mean": (float("nan"),)}, "one value in [0, 1] per channel"),
        ({"std": (0.5, 0.5)}, "one value in [0, 1] per channel"),
        ({"std": (0.0,)}, "std must be in (0, 1], but is (0.0,); the images are constant"),
        ({"std": (-1.0,)}, "std must be in (0, 1]"),
        ({"std": (1.5,)}, "std must be in (0, 1]"),
        ({"std": (float("nan"),)}, "std must be in (0, 1]"),
        (
            {"resize": "stretch"},
            "resize must be one of squash, crop, letterbox, but is 'stretch'; ",
        ),
        ({"resize": "CROP"}, "but is 'CROP'; squash is the usual one"),
        ({"resize": None}, "but is None"),
        ({"resize": 1}, "but is 1"),
        ({"resize": ["crop"]}, "but is ['crop']"),
    ],
)
def test_refusals(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(SettingsError) as caught:
        replace(GRAY, **changes)
    assert part in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        Preprocessing.from_json(GRAY.to_json() | changes)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        None,
        3,
        "preprocessing",
        [],
        {},
        {"size": 16},
        GRAY.to_json() | {"crop": 3},
        GRAY.to_json() | {"mean": None},
        GRAY.to_json() | {"mean": ["x"]},
        GRAY.to_json() | {"mean": [[0.5]]},
        GRAY.to_json() | {"mean": [10**400]},
        GRAY.to_json() | {"std": 0.25},
    ],
)
def test_from_json_refuses_what_it_did_not_write(data: Any) -> None:
    with pytest.raises(SettingsError, match="preprocessing is not as written by this program"):
        Preprocessing.from_json(data)


def test_limits_are_inclusive() -> None:
    assert check_size(8) == 8
    assert check_size(1024) == 1024
    Preprocessing(8, 1, (0.0,), (1.0,))
    Preprocessing(1024, 1, (1.0,), (0.001,))


def test_values_are_frozen_and_become_tuples_of_floats() -> None:
    value = Preprocessing(16, 1, [0], [1])  # type: ignore[arg-type]
    assert value == Preprocessing(16, 1, (0.0,), (1.0,))
    assert type(value.mean) is tuple
    assert type(value.mean[0]) is float
    with pytest.raises(FrozenInstanceError):
        value.size = 32  # type: ignore[misc]
