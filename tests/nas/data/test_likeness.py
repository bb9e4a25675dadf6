"""Images against those that a model was trained on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.folders import read_folder
from nas.data.likeness import FAR, MAD_TO_STD, likeness, summary
from nas.data.prepare import THUMBNAIL
from nas.data.statistics import STATISTICS, of_images, statistics
from nas.errors import BundleError
from nas.images import decode, look
from tests.pictures import write_pictures


def frame(n: int = 200, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {name: 10 + rng.standard_normal(n) for name in STATISTICS}
    return pd.DataFrame({**values, "colour": np.zeros(n), **columns})


def test_summary_by_hand() -> None:
    found = summary(frame(5, sharpness=[1.0, 2.0, 4.0, 8.0, 100.0], colour=[0, 0, 0, 0, 1]))
    # Deviations from 4: 3, 2, 0, 4, 96, in the middle 3.
    assert found["values"]["sharpness"] == {"middle": 4, "spread": pytest.approx(MAD_TO_STD * 3)}
    assert found["values"]["colour"] == {"middle": 0.2, "spread": pytest.approx(0.4)}
    assert found["n"] == 5
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["values"]) == list(STATISTICS)


def test_where_most_are_alike_the_spread_is_the_standard_deviation() -> None:
    found = summary(frame(10, width=[224.0] * 9 + [324.0]))["values"]
    assert found["width"] == {"middle": 224, "spread": pytest.approx(30)}
    assert summary(frame(10, width=[224.0] * 10))["values"]["width"]["spread"] == 0


def test_images_like_those_of_training_are_not_far() -> None:
    found = likeness(frame(seed=1), summary(frame()))
    assert not any(one.far for one in found.values())
    assert list(found) == list(STATISTICS)
    assert found["mean"].shift == pytest.approx(0, abs=0.3)
    assert found["mean"].far_images < 0.03
    assert (found["colour"].shift, found["colour"].far_images) == (None, 0)


def test_sharper_images_are_far_and_it_is_said() -> None:
    found = likeness(frame(sharpness=np.full(200, 15.0)), summary(frame()))
    one = found["sharpness"]
    assert one.far
    assert one.far_images == 1
    assert one.shift == pytest.approx(5, abs=0.7)
    words = one.warning("sharpness")
    assert words.startswith("sharpness (variance of the Laplacian: fine detail and noise) is 15, ")
    assert words.endswith("robust standard deviations away")
    assert [name for name, other in found.items() if other.far] == ["sharpness"]


def test_what_was_alike_in_training_is_far_as_soon_as_it_differs() -> None:
    gray, colour = frame(width=np.full(200, 224.0)), frame(colour=np.ones(200))
    found = likeness(colour, summary(gray))
    assert (found["colour"].far, found["colour"].shift, found["colour"].far_images) == (
        True,
        None,
        1,
    )
    assert "where all training images were alike" in found["colour"].warning("colour")
    assert found["width"].far
    assert not likeness(gray, summary(gray))["width"].far


def test_an_outlier_is_no_warning_but_counted() -> None:
    some = frame()
    some.loc[:9, "border"] = 100.0
    one = likeness(some, summary(frame()))["border"]
    assert not one.far
    assert one.far_images == pytest.approx(0.05, abs=0.01)


@given(st.floats(-50, 50), st.floats(0.01, 100))
def test_shift_does_not_depend_on_the_unit(offset: float, unit: float) -> None:
    here, training = frame(50, seed=1), frame()
    one = likeness(here, summary(training))["mean"]
    other = likeness(
        here.assign(mean=here["mean"] * unit + offset),
        summary(training.assign(mean=training["mean"] * unit + offset)),
    )["mean"]
    assert one.shift is not None
    assert other.shift == pytest.approx(one.shift, rel=1e-6, abs=1e-6)
    assert other.far == (abs(one.shift) > FAR)


def test_a_card_of_another_version_has_what_it_has() -> None:
    known = summary(frame())
    known["values"] = {"mean": known["values"]["mean"], "entropy": {"middle": 1, "spread": 1}}
    assert list(likeness(frame(), known)) == ["mean"]


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"values": 3},
        {"values": {"mean": {"middle": 1}}},
        {"values": {"mean": {"middle": "x", "spread": 1}}},
        {"values": {"mean": {"middle": 1, "spread": -1}}},
        {"values": {"mean": {"middle": float("nan"), "spread": 1}}},
    ],
)
def test_a_garbled_card(known: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="export the model again"):
        likeness(frame(), known)


def test_statistics_at_hand_are_those_of_the_cache(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in "AB" for number in range(3)]
    source = read_folder(write_pictures(tmp_path / "films", names))
    kept = statistics(source, tmp_path / "cache")
    files = [source.store.read(path) for path in source.table["path"]]
    thumbnails = [decode(file, size=THUMBNAIL.size, channels=1) for file in files]
    found = of_images(
        [look(file) for file in files],
        np.array([len(file) for file in files]),
        np.stack(thumbnails),
    )
    pd.testing.assert_frame_equal(found, kept[list(STATISTICS)], check_index_type=False)
