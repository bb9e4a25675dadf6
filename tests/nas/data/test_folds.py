"""Divisions of the train split, and the folds made of them."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.data.cache import Form, Images
from nas.data.folds import (
    FOLDS,
    Division,
    Labelled,
    choose_division,
    divisions,
    make_fold,
)
from nas.errors import DataError, SettingsError
from nas.images import Resize
from tests.nas.data.caches import load
from tests.pictures import write_pictures

SIZE = 8
CLASSES = ("A", "B")


def images_of(
    groups: list[str],
    labels: list[int],
    splits: list[str] | None = None,
    domains: list[str] | None = None,
    channels: int = 1,
) -> Images:
    """Noise, in a cache that has other images too, in another order.

    The first pixel of a picture is its position, so that rows can be followed; that of a picture
    that is none of these is 255.
    """
    count = len(groups)
    assert count < 255
    rng = np.random.default_rng(count)
    mapped = rng.integers(0, 256, (count + 5, channels, SIZE, SIZE), dtype=np.uint8)
    # Channels, and pictures, of different brightness and spread.
    mapped //= np.arange(1, channels + 1, dtype=np.uint8).reshape(-1, 1, 1)
    mapped //= 1 + (np.arange(count + 5, dtype=np.uint8) // 20).reshape(-1, 1, 1, 1)
    mapped[:, 0, 0, 0] = 255
    rows = rng.permutation(count + 5)[:count]
    mapped[rows, 0, 0, 0] = np.arange(count)
    return Images(
        form=Form(SIZE, channels, Resize.CROP),
        mapped=mapped,
        rows=rows.astype(np.int64),
        labels=np.array(labels, dtype=np.int64),
        groups=np.array(groups),
        domains=np.array(domains or [""] * count),
        paths=np.array([f"{i}.png" for i in range(count)]),
        splits=np.array(splits or ["train"] * count),
        sha256=np.array([f"{i:064x}" for i in range(count)]),
        skipped=(),
        checksum="",
    )


def cohort(channels: int = 1) -> Images:
    """120 images of 60 patients, of whom a third are of class 1."""
    patients = [f"p{i // 2}" for i in range(120)]
    return images_of(patients, [int(i // 2 % 3 == 0) for i in range(120)], channels=channels)


def positions(part: Labelled) -> npt.NDArray[np.int64]:
    return part.images[:, 0, 0, 0].numpy().astype(np.int64)


def check_division(images: Images, division: Division) -> None:
    """No group on both sides, every class on both, and no image twice."""
    held, unused = division.held, division.unused
    trained = ~(held | unused)
    assert held.dtype == unused.dtype == np.bool_
    assert held.shape == unused.shape == (len(images),)
    assert not (held & unused).any()
    assert not set(images.groups[held]) & set(images.groups[trained])
    labels = images.labels
    assert set(labels[held]) == set(labels[trained]) == set(labels[~unused])


# By patient


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_image_is_validated_in_exactly_one_fold_by_patient(seed: int) -> None:
    images = cohort()
    found = divisions(images, seed)
    assert [division.name for division in found] == [f"patients-{n}" for n in range(1, FOLDS + 1)]
    for division in found:
        check_division(images, division)
        assert not division.unused.any()
        assert division.held.sum() == 20
        assert images.labels[division.held].sum() in (6, 8)  # a third of them, up to a patient
    assert np.sum([division.held for division in found], axis=0).tolist() == [1] * 120


def test_folds_are_a_function_of_the_seed() -> None:
    images = cohort()
    state = str(np.random.get_state(legacy=False))
    held = [divisions(images, seed)[0].held.tobytes() for seed in (0, 1, 2, 0)]
    assert len(set(held)) == 3
    assert held[0] == held[3]
    assert str(np.random.get_state(legacy=False)) == state


@pytest.mark.parametrize("patients", [2, 3, 5, 9])
def test_there_are_no_more_folds_than_a_class_has_patients(patients: int) -> None:
    groups = [f"a{i}" for i in range(20)] + [f"b{i % patients}" for i in range(20)]
    found = divisions(images_of(groups, [0] * 20 + [1] * 20), 0)
    assert len(found) == min(FOLDS, patients)


@st.composite
def mixed(draw: st.DrawFn) -> Images:
    """Patients who may have images of several classes, and of several domains."""
    images = st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from(["", "x", "y"]))
    table = draw(st.lists(images, min_size=4, max_size=24))
    values = sorted({label for label, _, _ in table})
    return images_of(
        [f"p{patient}" for _, patient, _ in table],
        [values.index(label) for label, _, _ in table],
        domains=[domain for _, _, domain in table],
    )


@given(mixed(), st.integers(0, 9))
def test_every_division_is_whole_or_none_is_made(images: Images, seed: int) -> None:
    try:
        found = divisions(images, seed)
    except DataError:
        return
    assert len({division.name for division in found}) == len(found)
    for division in found:
        check_division(images, division)
    by_patient = [one.held for one in found if one.name.startswith("patients-")]
    assert 1 <= len(by_patient) <= FOLDS
    assert np.sum(by_patient, axis=0).max() <= 1


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(DataError, match=r"at least two patients.*add patients"):
        divisions(images_of(["a", "b", "c", "c"], [0, 0, 1, 1]), 0)


def test_patients_who_bind_classes_together_are_refused() -> None:
    images = images_of(["a", "a", "b", "b", "c", "c"], [0, 1, 1, 2, 2, 0])
    with pytest.raises(DataError, match="patients"):
        divisions(images, 0)


# A given val split


@pytest.mark.parametrize("seed", [0, 1])
def test_a_given_val_split_is_the_first_division(seed: int) -> None:
    splits = ["val" if i % 5 == 2 else "train" for i in range(60)]
    images = images_of([f"p{i}" for i in range(60)], [i % 2 for i in range(60)], splits)
    first, *others = divisions(images, seed)
    assert first.name == "val"
    assert first.held.tolist() == [split == "val" for split in splits]
    assert not first.unused.any()
    assert [division.name for division in others] == [f"patients-{n}" for n in range(1, 7)]


def test_one_patient_a_class_is_enough_where_val_is_given() -> None:
    images = images_of(["a", "b", "a", "c"], [0, 1, 0, 1], ["train", "train", "val", "val"])
    (only,) = divisions(images, 0)
    assert only.held.tolist() == [False, False, True, True]


# By domain


def named(found: tuple[Division, ...], name: str) -> Division:
    return next(division for division in found if division.name == name)


def test_a_domain_is_held_out_whole() -> None:
    domains = [("GE", "Philips", "")[i // 2 % 3] for i in range(60)]
    images = images_of([f"p{i}" for i in range(60)], [i % 2 for i in range(60)], domains=domains)
    found = divisions(images, 0)
    names = [division.name for division in found if division.name.startswith("domain-")]
    assert names == ["domain-GE", "domain-Philips"]
    for domain in ("GE", "Philips"):
        division = named(found, f"domain-{domain}")
        check_division(images, division)
        assert division.held.tolist() == [one == domain for one in domains]
        assert not division.unused.any()


def test_a_class_that_a_domain_lacks_is_validated_as_in_the_first_fold() -> None:
    """As in the public chest X-rays: series of normals only, etiologies of the sick only."""
    domains = ["IM"] * 10 + ["NORMAL2"] * 10 + ["virus"] * 20 + ["bacteria"] * 20
    images = images_of([f"p{i}" for i in range(60)], [0] * 20 + [1] * 40, domains=domains)
    found = divisions(images, 3)
    first = found[0].held
    for domain in ("IM", "NORMAL2", "virus", "bacteria"):
        division = named(found, f"domain-{domain}")
        check_division(images, division)
        inside = images.domains == domain
        other = images.labels != images.labels[inside][0]
        assert division.held.tolist() == (inside | (other & first)).tolist()
        assert 0 < division.held[other].sum() < other.sum()


def test_what_is_left_of_a_group_that_a_domain_cuts_is_used_nowhere() -> None:
    groups = [f"p{i // 2}" for i in range(40)]
    labels = [i // 2 % 2 for i in range(40)]
    domains = ["x"] * 21 + ["y"] * 19  # p10 is of both
    images = images_of(groups, labels, domains=domains)
    found = divisions(images, 0)
    for domain, left in (("x", 21), ("y", 20)):
        division = named(found, f"domain-{domain}")
        check_division(images, division)
        assert division.held.tolist() == [one == domain for one in domains]
        assert division.unused.nonzero()[0].tolist() == [left]
        fold = make_fold(images, CLASSES, division)
        assert sorted([*positions(fold.train), *positions(fold.validation), left]) == [*range(40)]


def test_a_domain_that_is_all_of_it_is_no_division() -> None:
    images = dataclasses.replace(cohort(), domains=np.array(["GE"] * 120))
    assert all(division.name.startswith("patients-") for division in divisions(images, 0))


# Choosing


def test_a_division_is_chosen_by_name_and_the_first_without_one() -> None:
    found = divisions(cohort(), 0)
    assert choose_division(found, None) is found[0]
    assert choose_division(found, "patients-3") is found[2]
    with pytest.raises(SettingsError) as caught:
        choose_division(found[:2], "patients-3")
    assert str(caught.value) == (
        "--fold must be one of patients-1, patients-2, but is 'patients-3'; choose one"
    )


# Checksums


def test_a_checksum_knows_content_label_path_side_and_name() -> None:
    images = cohort()
    division = divisions(images, 0)[0]
    original = division.checksum(images)
    assert division.checksum(dataclasses.replace(images, checksum="other")) == original

    def changed(name: str) -> Images:
        column = getattr(images, name).copy()
        column[[0, 2]] = column[[2, 0]]
        return dataclasses.replace(images, **{name: column})

    assert images.labels[0] != images.labels[2]
    checksums = [division.checksum(changed(name)) for name in ("sha256", "labels", "paths")]
    other = division.held.copy()
    other[division.held.argmax()] = False
    checksums += [
        dataclasses.replace(division, held=other).checksum(images),
        dataclasses.replace(division, held=other, unused=division.held & ~other).checksum(images),
        dataclasses.replace(division, name="patients-2").checksum(images),
    ]
    assert len({original, *checksums}) == 7


def test_a_checksum_is_the_same_for_a_folder_that_moved(tmp_path: Path) -> None:
    paths = [f"train/{c}/patient{p}.png" for c in "AB" for p in range(3)]
    paths += ["test/A/x.png", "test/B/x.png"]
    checksums = []
    for place in ("one", "other/place"):
        images = load(write_pictures(tmp_path / place, paths), tmp_path / place / "cache")
        checksums.append([division.checksum(images) for division in divisions(images, 0)])
    assert checksums[0] == checksums[1]
    assert len(set(checksums[0])) == 3


# Folds


@pytest.mark.parametrize("channels", [1, 3])
def test_a_fold_has_the_images_of_its_division_and_copies_none(channels: int) -> None:
    images = cohort(channels)
    division = divisions(images, 0)[1]
    fold = make_fold(images, CLASSES, division)
    assert fold.classes == CLASSES
    for part, side in ((fold.train, ~division.held), (fold.validation, division.held)):
        assert positions(part).tolist() == side.nonzero()[0].tolist()
        assert np.shares_memory(part.pixels.numpy(), images.mapped)
        assert part.pixels.shape == images.mapped.shape
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == part.rows.dtype == torch.int64
        assert np.array_equal(part.images.numpy(), images.pixels[side])
        assert np.array_equal(part.labels.numpy(), images.labels[side])
        assert len(part) == len(part.images) == side.sum()


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_the_train_part_alone(channels: int) -> None:
    images = cohort(channels)
    fold = make_fold(images, CLASSES, divisions(images, 0)[0])
    scaled = fold.train.images.numpy().astype(np.float64) / 255
    for channel in range(channels):
        values = scaled[:, channel]
        assert fold.preprocessing.mean[channel] == pytest.approx(np.mean(values), rel=1e-12)
        assert fold.preprocessing.std[channel] == pytest.approx(np.std(values), rel=1e-9)
    everything = images.pixels[:, 0] / 255
    assert fold.preprocessing.mean[0] != pytest.approx(everything.mean(), rel=1e-6)
    form = (fold.preprocessing.size, fold.preprocessing.channels, fold.preprocessing.resize)
    assert form == (SIZE, channels, Resize.CROP)


def test_standardised_train_images_have_mean_0_and_deviation_1() -> None:
    images = cohort(3)
    fold = make_fold(images, CLASSES, divisions(images, 0)[0])
    inputs = fold.preprocessing.normalize(fold.train.images).double()
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert inputs.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_brightest_images_do_not_overflow() -> None:
    images = images_of(["a", "b", "c", "d"], [0, 0, 1, 1])
    images.mapped[:] = 255
    images.mapped[:, :, 0] = 254
    fold = make_fold(images, CLASSES, divisions(images, 0)[0])
    assert fold.preprocessing.mean[0] == pytest.approx((255 - 1 / 8) / 255, rel=1e-12)
    assert fold.preprocessing.std[0] == pytest.approx(np.sqrt(1 / 8 * 7 / 8) / 255, rel=1e-6)


@pytest.mark.parametrize("value", [0, 93, 255])
def test_constant_images_are_refused(value: int) -> None:
    images = images_of(["a", "b", "c", "d"], [0, 0, 1, 1])
    images.mapped[:] = value
    with pytest.raises(SettingsError, match="constant"):
        make_fold(images, CLASSES, divisions(images, 0)[0])
