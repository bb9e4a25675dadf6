import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.arrays import ArrayStore
from nas.data.npz import read_npz
from nas.data.table import COLUMNS, Store
from nas.images import decode
from tests.nas.data.arraysets import (
    COUNTS,
    members,
    noise,
    npy,
    parts,
    write_npz,
    write_zip,
)

# What is read


def test_the_table(file: Path, cache: Path) -> None:
    source = read_npz(file, cache)
    table = source.table
    assert tuple(table.columns) == COLUMNS
    assert list(table.index) == list(range(110))
    assert table["split"].value_counts(sort=False).to_dict() == COUNTS
    assert table["path"].iloc[[0, 5, 6, 109]].tolist() == [
        "train/000000",
        "train/000005",
        "val/000000",
        "test/000003",
    ]
    assert table["label"].dtype == np.int64
    assert table["label"].iloc[:6].tolist() == [0, 1, 0, 1, 0, 1]
    assert table["patient"].nunique() == 110
    assert set(table["domain"]) == {""}
    assert source.notes == (
        "110 of 110 images have no patient that is known: each counts as a patient of its own",
    )


def test_the_source(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    source = read_npz(Path("lungs.npz"), cache)
    assert source.name == "lungs"
    assert source.spec == str(file)
    assert source.classes == ("0", "1")
    assert not source.synthetic
    assert not source.published
    assert source.licence is None
    store: Store = source.store
    assert isinstance(store, ArrayStore)


def test_what_is_given_is_kept(file: Path, cache: Path) -> None:
    source = read_npz(file, cache, name="x", classes=("NO", "YES"), notes=("first",), licence="CC0")
    assert (source.name, source.classes, source.licence) == ("x", ("NO", "YES"), "CC0")
    assert source.notes[0] == "first"


def test_every_image_is_what_the_file_has(file: Path, cache: Path) -> None:
    source = read_npz(file, cache)
    wanted = np.concatenate([images for images, _ in parts(COUNTS).values()])
    for path, image in zip(source.table["path"], wanted, strict=True):
        tall = decode(source.store.read(path), size=7, channels=1)
        assert tall.shape == (1, 7, 7)
        rows = np.stack([image[int(r)] for r in (0, 4)])
        np.testing.assert_array_equal(tall[0, [0, -1]], rows)  # both ends of a side are kept


def test_a_small_val_joins_train_and_a_missing_test_stays_so(tmp_path: Path, cache: Path) -> None:
    file = write_npz(tmp_path / "a.npz", parts({"train": 4, "val": 3}))
    source = read_npz(file, cache)
    assert source.table["split"].tolist() == ["train"] * 7
    assert source.table["path"].tolist()[4:] == ["val/000000", "val/000001", "val/000002"]
    assert "val has 3 images" in source.notes[0]
    for path in source.table["path"]:
        source.store.read(path)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shapes(shape: tuple[int, ...], save: Any, tmp_path: Path, cache: Path) -> None:
    save(tmp_path / "a.npz", **members(parts({"train": 4}, shape)))
    store = read_npz(tmp_path / "a.npz", cache).store
    assert decode(store.read("train/000003"), size=4, channels=1).shape == (1, 4, 4)


@pytest.mark.parametrize("dtype", ["uint8", ">i4", "int64", "uint64", "bool"])
def test_labels_of_any_whole_type_in_one_column_or_none(
    dtype: str, tmp_path: Path, cache: Path
) -> None:
    labels = np.array([1, 0, 0, 1]).astype(dtype)
    file = write_npz(tmp_path / "a.npz", {"train": (noise(4, 2, 2), labels)})
    assert read_npz(file, cache).table["label"].tolist() == [1, 0, 0, 1]


def test_labels_with_gaps_are_numbered_and_keep_their_names(tmp_path: Path, cache: Path) -> None:
    train, test = np.array([7, 3, 300, 7]), np.array([[300], [3]])
    given = {"train": (noise(4, 2, 2), train), "test": (noise(2, 2, 2), test)}
    source = read_npz(write_npz(tmp_path / "a.npz", given), cache)
    assert source.classes == ("3", "7", "300")
    assert source.table["label"].tolist() == [1, 0, 2, 1, 2, 0]


def test_arrays_in_the_order_of_fortran(tmp_path: Path, cache: Path) -> None:
    images = noise(4, 6, 6)
    file = write_npz(tmp_path / "a.npz", {"train": (np.asfortranarray(images), np.arange(4) % 2)})
    store = read_npz(file, cache).store
    for index, image in enumerate(images):
        got = decode(store.read(f"train/{index:06d}"), size=6, channels=1)
        np.testing.assert_array_equal(got[0], image)


def test_other_members_are_left_alone(tmp_path: Path, cache: Path) -> None:
    good = {name: npy(array) for name, array in members(parts({"train": 4, "test": 2})).items()}
    names = good | {"ages": npy(np.array([{}], dtype=object)), "../../escaped": b"x"}
    read_npz(write_zip(tmp_path / "a.npz", names), cache)
    (folder,) = cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "test_images.npy",
        "test_labels.npy",
        "train_images.npy",
        "train_labels.npy",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "runs"]


# The store


@given(st.data())
def test_images_come_back_exactly(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    channels = data.draw(st.sampled_from([1, 3]))
    trailing = data.draw(st.sampled_from([(), (1,)])) if channels == 1 else (3,)
    count = data.draw(st.integers(1, 3))
    images = noise(count, size, size, *trailing, seed=data.draw(st.integers(0, 1000)))
    with tempfile.TemporaryDirectory() as made:
        np.save(Path(made) / "train_images.npy", images)
        store = ArrayStore(Path(made))
        for index in range(count):
            got = decode(store.read(f"train/{index:06d}"), size=size, channels=channels)
            wanted = images[index].reshape(size, size, channels).transpose(2, 0, 1)
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "path",
    [
        "train/000006",
        "train/-00001",
        "train/6",
        "train/0000001",
        "train/00000१",
        "train/00000²",
        "train/" + "9" * 5000,
        "train/",
        "train",
        "",
        "extra/000000",
        "train/000001/",
        " train/000001",
        "train/ 00001",
        "../train/000001",
        "train/00\x00001",
    ],
)
def test_there_is_one_path_for_each_image(path: str, file: Path, cache: Path) -> None:
    store = read_npz(file, cache).store
    with pytest.raises(FileNotFoundError):
        store.read(path)
    store.stamp(path)


def test_a_stamp_changes_with_the_file(file: Path, cache: Path) -> None:
    first = read_npz(file, cache).store
    stamp = first.stamp("train/000001")
    assert read_npz(file, cache).store.stamp("train/000001") == stamp
    assert first.stamp("extra/000001") == "gone"
    write_npz(file, parts({"train": 6}, (9, 9)))
    other = read_npz(file, cache).store.stamp("train/000001")
    assert other != stamp
    (folder,) = (path for path in cache.iterdir() if path.name in stamp)
    np.save(folder / "train_images.npy", noise(6, 2, 2))
    assert first.stamp("train/000001") not in {stamp, other}
    shutil.rmtree(folder)
    assert first.stamp("train/000001") == "gone"


def test_threads_share_a_store(file: Path, cache: Path) -> None:
    source = read_npz(file, cache)
    paths = list(source.table["path"]) * 3
    alone = [source.store.read(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.store.read, paths)) == alone
