"""From a folder to a source whose splits can be trusted."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.data import duplicates as comparing
from nas.data import prepare as module
from nas.data.duplicates import Duplicates
from nas.data.folders import read_folder
from nas.data.prepare import (
    Leak,
    LeakKind,
    Prepared,
    crossing,
    find_leaks,
    known_duplicates,
    prepare,
    settle,
)
from nas.data.splits import TEST_SHARE, hold_out
from nas.data.table import COLUMNS, FileStore, Source
from nas.errors import DataError
from tests.pictures import film, stored

FILMS = [stored(film(seed)) for seed in range(24)]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def cohort() -> dict[str, bytes]:
    """One film each of twelve patients of either class, without a split."""
    return {f"{'AB'[n % 2]}/patient{n:02d}_1.png": FILMS[n] for n in range(24)}


def divided() -> dict[str, bytes]:
    """Two films of either class in train and test, which share nothing."""
    names = [f"{split}/{label}" for split in ("train", "test") for label in "AABB"]
    return {f"{name}/patient{n}_1.png": FILMS[n] for n, name in enumerate(names)}


def again(number: int) -> bytes:
    """A film stored with other compression."""
    return stored(film(number), "JPEG", quality=50)


def prepared(root: Path, cache: Path, files: dict[str, bytes]) -> Prepared:
    return prepare(str(write(root, files)), cache)


def held(found: Prepared) -> set[str]:
    table = found.source.table
    return set(table["path"][table["split"] == "test"])


# A test split of our own


def test_without_test_a_fifth_of_each_class_is_set_aside_whole(tmp_path: Path, cache: Path) -> None:
    files = cohort() | {f"{'AB'[n % 2]}/patient{n:02d}_2.png": again(n) for n in (0, 1, 6)}
    found = prepared(tmp_path / "data", cache, files)
    table = found.source.table
    test = table["split"] == "test"
    assert set(table["split"]) == {"train", "test"}
    assert not set(table["patient"][test]) & set(table["patient"][~test])
    for label in (0, 1):
        assert 2 <= test[table["label"] == label].sum() <= 4
    (note,) = found.source.notes
    assert "no test split" in note
    assert f"{test.sum()} of 27 images" in note
    assert found.leaks == ()
    found.refuse_leaks()


@pytest.mark.parametrize("nearly", [False, True])
def test_copies_of_one_image_under_two_names_are_on_one_side(
    tmp_path: Path, cache: Path, nearly: bool
) -> None:
    files = cohort()
    for number in range(12):
        # A patient of another number has the same film.
        name = f"{'AB'[number % 2]}/patient{70 + number}_1.png"
        files[name] = again(number) if nearly else FILMS[number]
    found = prepared(tmp_path / "data", cache, files)
    table = found.source.table.set_index("path")
    for number in range(12):
        label = "AB"[number % 2]
        first, second = (table.loc[f"{label}/patient{p:02d}_1.png"] for p in (number, 70 + number))
        assert first["patient"] != second["patient"]
        assert first["group"] == second["group"] == f"patient{number:02d}"
        assert first["split"] == second["split"]
    assert len(held(found)) >= 6
    assert found.leaks == ()
    pairs = found.duplicates.similar if nearly else found.duplicates.identical
    assert len(pairs) == 12


def test_the_split_made_here_is_sealed(tmp_path: Path, cache: Path) -> None:
    """It depends on no generator's state, no run's seed and no place: 101010 always."""
    chosen = []
    for seed in (1, 2):
        np.random.seed(seed)
        random.seed(seed)
        found = prepared(tmp_path / f"data{seed}", cache / str(seed), cohort())
        chosen.append(held(found))
    assert chosen[0] == chosen[1]
    table = found.source.table
    expected = hold_out(table["label"], table["group"], TEST_SHARE, 101010)
    assert chosen[0] == set(table["path"][expected])


def test_a_val_without_test_gives_patients_to_the_test_split_too(
    tmp_path: Path, cache: Path
) -> None:
    """A patient in train/ and val/ goes to one place, or the test split would not be sealed."""
    names = [f"{split}/A/patient{n}.png" for split in ("train", "val") for n in range(60)]
    names += [name.replace("A/patient", "B/subject") for name in names]
    found = prepared(tmp_path / "data", cache, {name: name.encode() for name in names})
    table = found.source.table
    test = table["split"] == "test"
    assert test.sum() == 48
    assert not set(table["patient"][test]) & set(table["patient"][~test])
    # What the user's own splits share is still a leak.
    assert [(leak.kind, leak.splits, leak.count) for leak in found.leaks] == [
        (LeakKind.PATIENT, ("train", "val"), 96)
    ]


def test_too_few_patients_to_set_some_aside_are_refused(tmp_path: Path, cache: Path) -> None:
    files = {"A/patient1.png": FILMS[1], "A/patient2.png": FILMS[2]}
    files |= {"B/patient9_1.png": FILMS[3], "B/patient9_2.png": FILMS[4]}
    with pytest.raises(DataError, match=r"at least two patients.*one has 1; add patients"):
        prepared(tmp_path / "data", cache, files)


# What is settled


def test_a_settled_source_has_groups_and_is_otherwise_as_it_was(
    tmp_path: Path, cache: Path
) -> None:
    files = divided() | {"train/B/patient50.png": FILMS[0], "train/B/patient51.png": again(1)}
    source = read_folder(write(tmp_path / "data", files))
    before = source.table.copy()
    found = settle(source, cache)
    assert source.table.equals(before)
    assert "group" not in source.table
    assert found.source.table.drop(columns="group").equals(before)
    assert replace(found.source, table=before) == replace(source, table=before)
    groups = dict(zip(before["patient"], found.source.groups, strict=True))
    assert groups["patient50"] == groups["patient0"] == "patient0"
    assert groups["patient51"] == groups["patient1"] == "patient1"
    assert groups["patient2"] == "patient2"


def test_what_is_done_is_reported(tmp_path: Path, cache: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    root = write(tmp_path / "data", divided())
    prepare(str(root), cache, lambda *step: seen.append(step))
    steps = [
        (what, done, 8)
        for what in ("reading files", "decoding images")
        for done in range(1, 9)
    ]  # fmt: skip
    assert seen == [*steps, ("comparing images", 8, 8)]
    prepare(str(root), cache, lambda *step: seen.append(step))
    assert len(seen) == 17


def test_files_that_cannot_be_decoded_are_no_obstacle(tmp_path: Path, cache: Path) -> None:
    files = divided() | {"train/A/x.png": b"broken", "test/A/x.png": b"broken too"}
    assert prepared(tmp_path / "data", cache, files).leaks == ()


def test_a_set_of_which_nothing_can_be_decoded_is_no_obstacle_yet(
    tmp_path: Path, cache: Path
) -> None:
    """Who loads the images says so."""
    files = {path: path.encode() for path in divided()}
    assert len(prepared(tmp_path / "data", cache, files).source.table) == 8


def test_a_note_says_where_images_are_too_alike(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MOST_PER_IMAGE", 0)
    found = prepared(tmp_path / "data", cache, divided() | {"train/A/patient0_2.png": again(0)})
    assert any("too alike to look for near duplicates" in note for note in found.source.notes)
    assert not found.duplicates.compared
    second = prepare(str(tmp_path / "data"), cache)  # found in the cache
    assert second.source.notes == found.source.notes


# Leaks


@pytest.mark.parametrize(
    ("path", "content", "kind", "what"),
    [
        ("test/A/patient0_9.png", FILMS[20], LeakKind.PATIENT, "1 patient (patient0)"),
        (
            "test/B/patient60.png",
            FILMS[0],
            LeakKind.IDENTICAL,
            "1 pair of byte-identical files "
            "(train/A/patient0_1.png and test/B/patient60.png)",
        ),
        (
            "test/B/patient60.png",
            again(3),
            LeakKind.SIMILAR,
            "1 pair of nearly equal images "
            "(train/B/patient3_1.png and test/B/patient60.png)",
        ),
    ],
)  # fmt: skip
def test_a_leak_is_found_and_refused(
    tmp_path: Path, cache: Path, path: str, content: bytes, kind: LeakKind, what: str
) -> None:
    found = prepared(tmp_path / "data", cache, divided() | {path: content})
    (leak,) = found.leaks
    assert (leak.kind, leak.splits, leak.count) == (kind, ("train", "test"), 1)
    assert str(leak) == f"train and test share {what}"
    with pytest.raises(DataError) as caught:
        found.refuse_leaks()
    message = str(caught.value)
    assert message.startswith("splits must share no patient and no image, but train and test share")
    assert what in message
    assert "move them to one side" in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_of_several_leaks_the_first_is_told_and_the_others_counted(
    tmp_path: Path, cache: Path
) -> None:
    files = divided() | {"test/A/patient0_9.png": again(1), "test/A/patient1_9.png": FILMS[2]}
    found = prepared(tmp_path / "data", cache, files)
    assert [(leak.kind, leak.count) for leak in found.leaks] == [
        (LeakKind.PATIENT, 2),
        (LeakKind.IDENTICAL, 1),
        (LeakKind.SIMILAR, 1),
    ]
    with pytest.raises(DataError, match=r"2 patients \(patient0\), and 2 more such; move"):
        found.refuse_leaks()


def test_published_splits_are_reported_and_not_refused(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "data", divided() | {"test/A/patient60.png": FILMS[0]})
    found = settle(replace(read_folder(root), published=True), cache)
    assert [leak.kind for leak in found.leaks] == [LeakKind.IDENTICAL]
    found.refuse_leaks()


def test_duplicates_within_a_split_are_no_leak(tmp_path: Path, cache: Path) -> None:
    files = divided() | {"train/B/patient60.png": FILMS[0], "test/A/patient61.png": again(5)}
    found = prepared(tmp_path / "data", cache, files)
    assert found.leaks == ()
    assert len(found.duplicates.identical) == len(found.duplicates.similar) == 1


def source_of(splits: list[str], patients: list[str]) -> Source:
    rows = [
        (f"{row}.png", row % 2, patient, "", split)
        for row, (split, patient) in enumerate(zip(splits, patients, strict=True))
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Source("x", "x", FileStore(Path("x")), ("A", "B"), table)


def test_leaks_are_looked_for_between_all_splits_that_there_are() -> None:
    splits = ["test", "val", "train", "train", "val", "test"]
    source = source_of(splits, ["a", "a", "b", "c", "c", "d"])
    pairs = np.array([[0, 2], [1, 5], [2, 3], [2, 4], [2, 5]])
    found = find_leaks(source, Duplicates(pairs, np.empty((0, 2), np.int64)))
    assert found == (
        Leak(LeakKind.PATIENT, ("train", "val"), 1, ("c",)),
        Leak(LeakKind.IDENTICAL, ("train", "val"), 1, ("2.png", "4.png")),
        Leak(LeakKind.IDENTICAL, ("train", "test"), 2, ("0.png", "2.png")),
        Leak(LeakKind.PATIENT, ("val", "test"), 1, ("a",)),
        Leak(LeakKind.IDENTICAL, ("val", "test"), 1, ("1.png", "5.png")),
    )
    assert crossing(source, pairs, ("train", "test")).tolist() == [[0, 2], [2, 5]]
    assert crossing(source, pairs[:0], ("train", "test")).tolist() == []


def test_stored_names_of_leaks_stay() -> None:
    assert {kind.value for kind in LeakKind} >= {"patient", "identical", "similar"}


# Kept


def test_a_second_call_reads_and_decodes_nothing_and_finds_the_same(
    tmp_path: Path,
    cache: Path,
    decoded: list[bytes],
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = divided() | {"train/B/patient50.png": FILMS[0], "test/B/patient51.png": again(1)}
    first = prepared(tmp_path / "data", cache, files)
    assert len(decoded) == 10
    decoded.clear()
    read.clear()
    monkeypatch.setattr(module, "find_duplicates", None)
    second = prepare(str(tmp_path / "data"), cache)
    assert (decoded, read) == ([], [])
    assert second.leaks == first.leaks != ()
    assert second.source.table.equals(first.source.table)
    for kind in ("identical", "similar"):
        one, other = getattr(first.duplicates, kind), getattr(second.duplicates, kind)
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype == np.int64
    # A copy of the folder has the same duplicates.
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert prepare(str(tmp_path / "copy"), cache).leaks == first.leaks
    assert decoded == []


def test_changed_images_are_compared_again(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "data", divided())
    assert prepare(str(root), cache).leaks == ()
    write(root, {"test/A/patient4_1.png": FILMS[0]})
    assert [leak.kind for leak in prepare(str(root), cache).leaks] == [LeakKind.IDENTICAL]
    write(root, {"test/A/patient4_1.png": FILMS[4]})
    assert prepare(str(root), cache).leaks == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identical": 1}', '{"identical": "x"}'])
def test_damaged_pairs_are_refused_with_their_name(
    tmp_path: Path, cache: Path, content: str
) -> None:
    source = read_folder(write(tmp_path / "data", divided()))
    known_duplicates(source, cache)
    (file,) = cache.glob("duplicates-*.json")
    assert json.loads(file.read_text())["compared"] is True
    file.write_text(content)
    with pytest.raises(DataError, match=rf"{file} cannot be read.*; delete it"):
        known_duplicates(source, cache)


def test_pairs_that_find_no_room_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(DataError, match="No space left on device"):
        prepared(tmp_path / "data", cache, divided())
