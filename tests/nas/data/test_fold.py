import numpy as np
import numpy.typing as npt
import pytest
import torch

from nas.data.cache import Images
from nas.data.fold import Fold, Labelled, make_fold
from nas.errors import DataError, SettingsError
from nas.preprocessing import Preprocessing

SIZE = 8
CLASSES = ("A", "B")


def images_of(
    patients: list[str], labels: list[int], splits: list[str] | None = None, channels: int = 1
) -> Images:
    """Read-only noise; the first pixel of a picture is its row, so that rows can be followed."""
    count = len(patients)
    assert count < 256
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, channels, SIZE, SIZE), dtype=np.uint8)
    # Channels, and pictures, of different brightness and spread.
    pixels //= np.arange(1, channels + 1, dtype=np.uint8).reshape(-1, 1, 1)
    pixels //= 1 + (np.arange(count, dtype=np.uint8) // 20).reshape(-1, 1, 1, 1)
    pixels[:, 0, 0, 0] = np.arange(count)
    pixels.setflags(write=False)
    return Images(
        pixels=pixels,
        labels=np.array(labels, dtype=np.int64),
        patients=np.array(patients),
        paths=np.array([f"{i}.png" for i in range(count)]),
        splits=np.array(splits or ["train"] * count),
        skipped=(),
        checksum="",
    )


def cohort(channels: int = 1) -> Images:
    """120 images of 60 patients, of whom a third are of class 1."""
    patients = [f"p{i // 2}" for i in range(120)]
    return images_of(patients, [int(i // 2 % 3 == 0) for i in range(120)], channels=channels)


def rows(part: Labelled) -> npt.NDArray[np.int64]:
    return part.images[:, 0, 0, 0].numpy().astype(np.int64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_patients_are_on_one_side_and_all_images_are_used(seed: int) -> None:
    images = cohort()
    fold = make_fold(images, CLASSES, seed)
    train, held = rows(fold.train), rows(fold.validation)
    assert sorted([*train, *held]) == list(range(120))
    assert not set(images.patients[train]) & set(images.patients[held])
    assert len(held) == 20  # a sixth
    assert fold.validation.labels.sum() in (6, 8)  # a third of them, up to a patient


def test_rows_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    images = cohort(channels=3)
    fold = make_fold(images, CLASSES, 0)
    for part in (fold.train, fold.validation):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.images.is_contiguous()
        assert np.array_equal(part.images.numpy(), images.pixels[rows(part)])
        assert np.array_equal(part.labels.numpy(), images.labels[rows(part)])
        assert len(part) == len(part.images) == len(part.labels)
    assert fold.classes == CLASSES


def test_another_seed_is_another_fold_and_the_same_is_the_same() -> None:
    images = cohort()
    held = [rows(make_fold(images, CLASSES, seed).validation).tobytes() for seed in (0, 1, 2, 0)]
    assert len(set(held)) == 3
    assert held[0] == held[3]


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_the_train_part_alone(channels: int) -> None:
    images = cohort(channels)
    fold = make_fold(images, CLASSES, 0)
    scaled = fold.train.images.numpy().astype(np.float64) / 255
    for channel in range(channels):
        values = scaled[:, channel]
        assert fold.preprocessing.mean[channel] == pytest.approx(np.mean(values), rel=1e-12)
        assert fold.preprocessing.std[channel] == pytest.approx(np.std(values), rel=1e-9)
    everything = images.pixels[:, 0] / 255
    assert fold.preprocessing.mean[0] != pytest.approx(everything.mean(), rel=1e-6)
    assert (fold.preprocessing.size, fold.preprocessing.channels) == (SIZE, channels)


def test_standardised_train_images_have_mean_0_and_deviation_1() -> None:
    fold = make_fold(cohort(3), CLASSES, 0)
    inputs = fold.preprocessing.normalize(fold.train.images).double()
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert inputs.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_given_val_split_is_the_validation_part(seed: int) -> None:
    splits = ["val" if i % 5 == 2 else "train" for i in range(60)]
    images = images_of([f"p{i}" for i in range(60)], [i % 2 for i in range(60)], splits)
    fold = make_fold(images, CLASSES, seed)
    assert rows(fold.validation).tolist() == list(range(2, 60, 5))
    assert rows(fold.train).tolist() == [i for i in range(60) if i % 5 != 2]


def test_one_patient_a_class_is_enough_where_val_is_given() -> None:
    images = images_of(["a", "b", "c", "d"], [0, 1, 0, 1], ["train", "train", "val", "val"])
    assert rows(make_fold(images, CLASSES, 0).validation).tolist() == [2, 3]


def test_too_few_patients_are_refused() -> None:
    images = images_of(["a", "b", "c", "c"], [0, 0, 1, 1])
    with pytest.raises(DataError, match="at least two patients"):
        make_fold(images, CLASSES, 0)


def test_constant_images_are_refused() -> None:
    images = images_of(["a", "b", "c", "d"], [0, 0, 1, 1])
    images.pixels.setflags(write=True)
    images.pixels[:] = 93
    with pytest.raises(SettingsError, match="constant"):
        make_fold(images, CLASSES, 0)


def fold_of(labels: list[int], classes: tuple[str, ...]) -> Fold:
    train = Labelled(torch.zeros(len(labels), 1, SIZE, SIZE).byte(), torch.tensor(labels))
    validation = Labelled(torch.zeros(9, 1, SIZE, SIZE).byte(), torch.tensor([0] * 8 + [1]))
    return Fold(train, validation, classes, Preprocessing(SIZE, 1, (0.5,), (0.5,)))


def test_class_weights_are_inverse_to_frequency_in_train() -> None:
    weights = fold_of([0] * 30 + [1] * 10, CLASSES).class_weights()
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([40 / 60, 40 / 20])


@pytest.mark.parametrize("counts", [(5, 5), (1, 99), (7, 2, 3), (1, 2, 3, 4)])
def test_class_weights_are_1_on_average_over_images(counts: tuple[int, ...]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    fold = fold_of(labels, tuple("ABCD"[: len(counts)]))
    weights = fold.class_weights()
    assert weights.shape == (len(counts),)
    assert weights[fold.train.labels].mean().item() == pytest.approx(1.0)
    totals = [count * weight for count, weight in zip(counts, weights.tolist(), strict=True)]
    assert totals == pytest.approx([totals[0]] * len(counts))


def test_labelled_moves_as_a_whole() -> None:
    part = Labelled(torch.zeros(2, 1, SIZE, SIZE).byte(), torch.tensor([0, 1]))
    moved = part.to(torch.device("meta"))
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert len(moved) == 2
