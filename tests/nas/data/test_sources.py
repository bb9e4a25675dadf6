import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.data import demo
from nas.data.sources import Source, open_source, patient_of, read_folder
from nas.data.splits import hold_out
from nas.errors import DataError
from tests.pictures import touch


def rows(source: Source) -> list[tuple[str, int, str, str]]:
    columns = ("path", "label", "patient", "split")
    assert tuple(source.table.columns) == columns
    return list(zip(*(source.table[column].tolist() for column in columns), strict=True))


def names(folder: str, count: int, images: int = 1) -> list[str]:
    """``images`` pictures of each of ``count`` patients."""
    return [
        f"{folder}/patient{p:03d}_{i}.png"
        for p in range(1, count + 1)
        for i in range(1, images + 1)
    ]


def splits(source: Source) -> dict[str, int]:
    return {str(name): int(n) for name, n in source.table["split"].value_counts().items()}


# Layouts


def test_train_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, ["train/B/b.png", "train/A/a2.png", "train/A/a1.png", "test/A/c.png"])
    touch(tmp_path, ["test/B/d.png"])
    source = read_folder(tmp_path)
    assert source.classes == ("A", "B")
    assert rows(source) == [
        ("train/A/a1.png", 0, "train/A/a1.png", "train"),
        ("train/A/a2.png", 0, "train/A/a2.png", "train"),
        ("train/B/b.png", 1, "train/B/b.png", "train"),
        ("test/A/c.png", 0, "test/A/c.png", "test"),
        ("test/B/d.png", 1, "test/B/d.png", "test"),
    ]
    assert (source.name, source.root, source.synthetic) == (tmp_path.name, tmp_path, False)
    assert list(source.table.index) == list(range(5))


def test_a_large_val_stays_a_split(tmp_path: Path) -> None:
    for split, count in {"train": 3, "val": 50, "test": 2}.items():
        touch(tmp_path, names(f"{split}/A", count) + names(f"{split}/B", count))
    source = read_folder(tmp_path)
    assert splits(source) == {"train": 6, "val": 100, "test": 4}
    assert all(path.split("/")[0] == split for path, _, _, split in rows(source))
    assert source.notes == ()


def test_a_small_val_joins_train_and_says_so(tmp_path: Path) -> None:
    for split, count in {"train": 3, "val": 49, "test": 2}.items():
        touch(tmp_path, names(f"{split}/A", count) + names(f"{split}/B", count))
    touch(tmp_path, ["val/B/patient050_1.png"])  # 99: one fewer than is enough
    source = read_folder(tmp_path)
    assert splits(source) == {"train": 6 + 99, "test": 4}
    (note,) = source.notes
    assert "val/ has 99 images" in note
    assert "at least 100" in note
    assert "joined the train split" in note


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_test_whole_patients_are_set_aside(tmp_path: Path, prefix: str) -> None:
    touch(tmp_path, names(f"{prefix}A", 20, images=3))
    touch(tmp_path, [n.replace("patient", "subject") for n in names(f"{prefix}B", 30, images=2)])
    source = read_folder(tmp_path)
    table = source.table
    held = table["split"] == "test"
    assert set(table["split"]) == {"train", "test"}
    assert not set(table["patient"][held]) & set(table["patient"][~held])
    for label in (0, 1):
        assert held[table["label"] == label].sum() == 12  # a fifth of 60
    (note,) = source.notes
    assert "no test/" in note
    assert "24 of 120 images" in note
    assert "set aside as the test split" in note


def test_the_split_made_here_is_sealed(tmp_path: Path) -> None:
    """It depends on no generator's state and on no run's seed: 101010 always."""
    touch(tmp_path, names("A", 12) + [n.replace("patient", "subject") for n in names("B", 12)])
    chosen = []
    for seed in (1, 2):
        np.random.seed(seed)
        random.seed(seed)
        chosen.append((read_folder(tmp_path).table["split"] == "test").to_numpy())
    table = read_folder(tmp_path).table
    expected = hold_out(table["label"], table["patient"], 1 / 5, 101010)
    assert np.array_equal(chosen[0], chosen[1])
    assert np.array_equal(chosen[0], expected)


def test_a_val_without_test_gives_patients_to_the_test_split_too(tmp_path: Path) -> None:
    """A patient in train/ and val/ goes to one place, or the test split would not be sealed."""
    for split in ("train", "val"):
        touch(tmp_path, names(f"{split}/A", 60))
        touch(tmp_path, [n.replace("patient", "subject") for n in names(f"{split}/B", 60)])
    table = read_folder(tmp_path).table
    held = table["split"] == "test"
    assert held.sum() == 48
    assert not set(table["patient"][held]) & set(table["patient"][~held])


def test_classes_are_sorted_by_name_and_their_place_is_the_label(tmp_path: Path) -> None:
    for name in ("zebra", "Cat", "ant", "10", "9"):
        touch(tmp_path, [f"train/{name}/x.png", f"test/{name}/x.png"])
    source = read_folder(tmp_path)
    assert source.classes == ("10", "9", "Cat", "ant", "zebra")
    assert all(source.classes[label] == path.split("/")[1] for path, label, _, _ in rows(source))


def test_only_images_count_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    images = ["a.PNG", "b.Jpg", "c.jpeg", "d.bmp", "e.tif", "f.TIFF", "deep/er/g.png", "h.x.png"]
    others = [
        "notes.txt",
        "scan.dcm",
        "archive.png.zip",
        "png",
        ".hidden.png",
        "._a.png",
        "Thumbs.db",
        "deep/.DS_Store",
        ".ipynb_checkpoints/a-checkpoint.png",
        "deep/__MACOSX/a.png",
    ]
    for split in ("train", "test"):
        touch(tmp_path, [f"{split}/A/{name}" for name in (*images, *others)])
        touch(tmp_path, [f"{split}/B/x.png", f"{split}/readme.png", f"{split}/.git/x.png"])
        touch(tmp_path, [f"{split}/__MACOSX/x.png"])
        (tmp_path / split / "A" / "folder.png").mkdir()
    touch(tmp_path, ["__MACOSX/train/A/._a.png", "list.csv", "cover.png"])
    source = read_folder(tmp_path)
    assert source.classes == ("A", "B")
    found = [path for path, label, _, split in rows(source) if label == 0 and split == "train"]
    assert found == sorted(f"train/A/{name}" for name in images)
    assert len(rows(source)) == 2 * (len(images) + 1)


def test_a_data_folder_may_itself_lie_in_a_hidden_one(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "__data"
    touch(root, [f"{split}/{name}/x.png" for split in ("train", "test") for name in "AB"])
    assert len(rows(read_folder(root))) == 4


def test_class_folders_beside_train_are_not_read(tmp_path: Path) -> None:
    touch(tmp_path, [f"{s}/{c}/x.png" for s in ("train", "test", "extra") for c in "AB"])
    assert {path.split("/")[0] for path, *_ in rows(read_folder(tmp_path))} == {"train", "test"}


def test_the_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "mine", [f"{s}/{c}/x.png" for s in ("train", "test") for c in "AB"])
    monkeypatch.chdir(tmp_path / "mine")
    source = read_folder(Path())
    assert (source.name, source.root) == ("mine", tmp_path / "mine")


# Patients


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("person12_bacteria_46", "person12_bacteria"),
        ("person12_virus_46", "person12_virus"),
        ("person1000_virus_1681", "person1000_virus"),
        ("IM-0115-0001", "IM-0115"),
        ("NORMAL2-IM-0383-0001", "NORMAL2-IM-0383"),
        ("NORMAL2-IM-0383-0001-0002", "NORMAL2-IM-0383"),
        ("demo0042_1", "demo0042"),
        ("sub-01_x", "sub-01"),
        ("sub-pixar001_ses-2", "sub-pixar001"),
        ("patient_7", "patient_7"),
        ("patient_7_left", "patient_7"),
        ("Patient12-3", "Patient12"),
        ("subject-3.b", "subject-3"),
        ("SUBJECT 4 a", "SUBJECT 4"),
        ("IM-0115", None),
        ("demo0042_1_2", None),
        ("person12_fungus_46", None),
        ("my_patient_7", None),
        ("patients", None),
        ("scan_0001", None),
        ("", None),
    ],
)
def test_patient_of(stem: str, patient: str | None) -> None:
    assert patient_of(stem) == patient


def test_the_same_number_with_another_etiology_is_another_person(tmp_path: Path) -> None:
    touch(tmp_path, ["train/B/person12_bacteria_46.jpeg", "train/B/person12_bacteria_47.jpeg"])
    touch(tmp_path, ["train/B/person12_virus_46.jpeg", "train/A/IM-0115-0001.jpeg"])
    touch(tmp_path, ["test/A/NORMAL2-IM-0115-0001.jpeg", "test/B/x/sub-01_1.png"])
    source = read_folder(tmp_path)
    assert [patient for _, _, patient, _ in rows(source)] == [
        "IM-0115",
        "person12_bacteria",
        "person12_bacteria",
        "person12_virus",
        "NORMAL2-IM-0115",
        "sub-01",
    ]
    assert source.notes == ()


def test_an_unknown_name_is_a_patient_of_its_own_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/scan.png", "train/B/scan.png", "test/A/scan.png"])
    touch(tmp_path, ["test/B/patient_1.png", "test/B/patient_1b.png"])
    source = read_folder(tmp_path)
    patients = [patient for _, _, patient, _ in rows(source)]
    assert len(set(patients)) == 4  # three scans, and patient_1 twice
    (note,) = source.notes
    assert "3 of 5 file names carry no patient" in note
    assert "a patient of its own" in note


# Refusals: each names the rule, the value and the remedy


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_no_folder(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    refused(missing, "must be a folder", f"{missing} is not", "give the folder")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["images.zip"])
    refused(tmp_path / "images.zip", "must be a folder", "images.zip is not", "give the folder")


def test_no_class(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", ".git/a.png", "__MACOSX/a.png"])
    refused(tmp_path, "at least two classes", "has none", "sort the images into folders")


def test_one_class(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/a.png", "test/A/a.png"])
    where = str(tmp_path / "train")
    refused(tmp_path, where, "at least two classes", "has one (A)", "sort the images into folders")


def test_an_empty_class(tmp_path: Path) -> None:
    touch(tmp_path, ["A/a.png", "B/b.txt"])
    where = str(tmp_path / "B")
    refused(tmp_path, "every class must have images", f"{where} has none", ".png", "remove the fol")


def test_other_classes_in_test(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/a.png", "train/B/b.png", "test/A/a.png", "test/C/b.png"])
    same = "every split must have the same classes"
    refused(tmp_path, same, "train/ has ['A', 'B']", "test/ has ['A', 'C']", "make them the same")


def test_test_without_train(tmp_path: Path) -> None:
    touch(tmp_path, ["test/A/a.png", "test/B/b.png"])
    refused(tmp_path, "has test/ but no train/", "add train/", "one folder per class")


def test_too_few_patients_to_set_some_aside(tmp_path: Path) -> None:
    touch(tmp_path, [*names("A", 5), "B/patient099_1.png", "B/patient099_2.png"])
    refused(tmp_path, "at least two patients", "one has 1", "add patients")


# Without a folder


def tiny_demo(calls: list[Path]) -> Callable[..., Path]:
    def write(folder: Path, report: object = None) -> Path:
        calls.append(folder)
        return touch(folder, [f"{s}/{c}/demo0001_1.png" for s in ("train", "test") for c in "AB"])

    return write


def test_a_given_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(demo, "write_demo", tiny_demo(calls))
    for root in ("mine", "data/chestxrays"):
        touch(tmp_path / root, [f"{s}/{c}/x.png" for s in ("train", "test") for c in "AB"])
    monkeypatch.chdir(tmp_path)
    source = open_source(Path("mine"), tmp_path / "cache")
    assert (source.root, source.synthetic, calls) == (tmp_path / "mine", False, [])


def test_without_a_folder_the_usual_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(demo, "write_demo", tiny_demo(calls))
    root = tmp_path / "data" / "chestxrays"
    touch(root, [f"{s}/{c}/x.png" for s in ("train", "test") for c in "AB"])
    monkeypatch.chdir(tmp_path)
    source = open_source(None, tmp_path / "cache")
    assert (source.name, source.root, source.synthetic) == ("chestxrays", root, False)
    assert calls == []


def test_without_any_folder_the_demo_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(demo, "write_demo", tiny_demo(calls))
    monkeypatch.chdir(tmp_path)
    source = open_source(None, tmp_path / "cache")
    drawn = tmp_path / "cache" / f"demo-{demo.DEMO_VERSION}"
    assert calls == [drawn]
    assert (source.name, source.root, source.synthetic) == ("demo", drawn, True)
    assert source.classes == ("A", "B")


def test_drawing_the_demo_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENTS", {"train": 6, "test": 4})
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[int, int]] = []
    source = open_source(None, tmp_path / "cache", lambda *counts: seen.append(counts))
    total = len(source.table)
    assert seen == [(done, total) for done in range(1, total + 1)]
    assert source.classes == ("NORMAL", "PNEUMONIA")
    assert source.notes == ()


def test_a_missing_folder_is_not_replaced_by_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="must be a folder"):
        open_source(Path("mistyped"), tmp_path / "cache")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden names count
