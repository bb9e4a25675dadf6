"""Folders of labelled images: layouts, patients, and what is refused."""

import os
from pathlib import Path

import pytest

from nas.data.folders import read_csv, read_folder, read_labelled
from nas.data.table import COLUMNS, FileStore, Source
from nas.errors import DataError
from tests.pictures import touch, write_pictures


def rows(source: Source) -> list[tuple[str, int, str, str, str]]:
    """(path, label, patient, domain, split) of every row."""
    assert tuple(source.table.columns) == COLUMNS
    assert source.table.index.tolist() == list(range(len(source.table)))
    return list(source.table.itertuples(index=False, name=None))


def names(folder: str, count: int) -> list[str]:
    """A picture of each of ``count`` patients."""
    return [f"{folder}/patient{p:03d}_1.png" for p in range(1, count + 1)]


def splits(source: Source) -> dict[str, int]:
    return {str(name): int(n) for name, n in source.table["split"].value_counts().items()}


# Layouts


def test_train_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, ["train/B/b.png", "train/A/sub-2.png", "train/A/sub-1.png", "test/A/sub-1.png"])
    touch(tmp_path, ["test/B/sub-4.png"])
    source = read_folder(tmp_path)
    assert source.classes == ("A", "B")
    assert rows(source) == [
        ("train/A/sub-1.png", 0, "sub-1", "", "train"),
        ("train/A/sub-2.png", 0, "sub-2", "", "train"),
        ("train/B/b.png", 1, "image train/B/b.png", "", "train"),
        ("test/A/sub-1.png", 0, "sub-1", "", "test"),
        ("test/B/sub-4.png", 1, "sub-4", "", "test"),
    ]
    assert source.groups.tolist() == source.table["patient"].tolist()
    assert (source.name, source.synthetic, source.published) == (tmp_path.name, False, False)
    assert source.store == FileStore(tmp_path)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_test_all_of_it_is_train(tmp_path: Path, prefix: str) -> None:
    """The test split is made where duplicates are known: see nas.data.prepare."""
    touch(tmp_path, names(f"{prefix}A", 3) + names(f"{prefix}B", 2))
    assert splits(read_folder(tmp_path)) == {"train": 5}


def test_a_large_val_stays_a_split(tmp_path: Path) -> None:
    for split, count in {"train": 3, "val": 50, "test": 2}.items():
        touch(tmp_path, names(f"{split}/A", count) + names(f"{split}/B", count))
    source = read_folder(tmp_path)
    assert splits(source) == {"train": 6, "val": 100, "test": 4}
    assert all(path.split("/")[0] == split for path, *_, split in rows(source))
    assert source.notes == ()


def test_a_small_val_joins_train_and_says_so(tmp_path: Path) -> None:
    for split, count in {"train": 3, "val": 49, "test": 2}.items():
        touch(tmp_path, names(f"{split}/A", count) + names(f"{split}/B", count))
    touch(tmp_path, ["val/B/patient050_1.png"])  # 99: one fewer than is enough
    source = read_folder(tmp_path)
    assert splits(source) == {"train": 6 + 99, "test": 4}
    (note,) = source.notes
    assert "val has 99 images" in note
    assert "at least 100" in note
    assert "joined the train split" in note


def test_classes_are_sorted_by_name_and_their_place_is_the_label(tmp_path: Path) -> None:
    for name in ("zebra", "Cat", "ant", "10", "9"):
        touch(tmp_path, [f"train/{name}/x.png", f"test/{name}/x.png"])
    source = read_folder(tmp_path)
    assert source.classes == ("10", "9", "Cat", "ant", "zebra")
    assert all(source.classes[label] == path.split("/")[1] for path, label, *_ in rows(source))


def test_only_images_count_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    images = ["a.PNG", "b.Jpg", "c.jpeg", "d.bmp", "e.tif", "f.TIFF", "deep/er/g.png", "h.x.png"]
    images += ["i.dcm", "j.DICOM"]
    others = [
        "notes.txt",
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
    found = [path for path, label, *_, split in rows(source) if label == 0 and split == "train"]
    assert found == sorted(f"train/A/{name}" for name in images)
    assert len(rows(source)) == 2 * (len(images) + 1)


def test_a_data_folder_may_itself_lie_in_a_hidden_one(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "__data"
    touch(root, [f"{split}/{name}/x.png" for split in ("train", "test") for name in "AB"])
    assert len(rows(read_folder(root))) == 4


def test_class_folders_beside_train_are_not_read(tmp_path: Path) -> None:
    touch(tmp_path, [f"{s}/{c}/x.png" for s in ("train", "test", "extra") for c in "AB"])
    assert {path.split("/")[0] for path, *_ in rows(read_folder(tmp_path))} == {"train", "test"}


# A CSV beside the images


def listed(root: Path) -> Path:
    """Four images and one CSV that calls them otherwise than their folders do."""
    write_pictures(root, [f"{c}/{i}.png" for c in "AB" for i in (1, 2)])
    lines = ["path,label,patient", "A/1.png,x,7", "A/2.png,y,8", "B/1.png,x,9", "B/2.png,y,7"]
    (root / "list.csv").write_text("\n".join(lines))
    return root


def test_one_csv_beside_the_images_comes_before_class_folders(tmp_path: Path) -> None:
    source = read_folder(listed(tmp_path / "mine"))
    assert source.classes == ("x", "y")
    assert source.table["patient"].tolist() == ["7", "8", "9", "7"]
    assert source.name == "mine"
    assert source.store.read("B/2.png") == (tmp_path / "mine" / "B/2.png").read_bytes()


def test_of_several_csvs_beside_class_folders_none_is_taken(tmp_path: Path) -> None:
    (listed(tmp_path) / "other.csv").touch()
    assert read_folder(tmp_path).classes == ("A", "B")


def test_hidden_csvs_do_not_count(tmp_path: Path) -> None:
    touch(listed(tmp_path), [".list.csv", "__x.csv"])
    assert read_folder(tmp_path).classes == ("x", "y")


def test_a_csv_may_name_files_anywhere(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["far/a.png", "near/b.png"])
    (tmp_path / "near/list.csv").write_text(f"path,label\n{tmp_path}/far/a.png,A\nb.png,B\n")
    source = read_csv(tmp_path / "near/list.csv")
    assert source.name == "list"
    for path, file in zip(source.table["path"], ("far/a.png", "near/b.png"), strict=True):
        assert source.store.read(path) == (tmp_path / file).read_bytes()


def test_names_fill_in_what_a_csv_leaves_open_and_a_note_says_so(tmp_path: Path) -> None:
    lines = ["path,label,patient", "person1_virus_1.png,A,Ann", "person1_virus_2.png,B,"]
    (tmp_path / "list.csv").write_text("\n".join([*lines, "person2_bacteria_1.png,B,"]))
    source = read_csv(tmp_path / "list.csv")
    assert source.table["patient"].tolist() == ["Ann", "person1_virus", "person2_bacteria"]
    assert source.table["domain"].tolist() == ["virus", "virus", "bacteria"]
    (note,) = source.notes
    assert "Kermany" in note
    assert "patient and domain" in note


# What opens the same source again


def test_a_spec_opens_the_same_folder_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "mine", [f"{s}/{c}/x.png" for s in ("train", "test") for c in "AB"])
    monkeypatch.chdir(tmp_path / "mine")
    source = read_folder(Path())
    monkeypatch.chdir("/")
    again = read_folder(Path(source.spec))
    assert (again.name, again.spec, again.store) == ("mine", source.spec, source.store)
    assert again.table.equals(source.table)


def test_a_spec_opens_the_same_csv_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path / "mine")
    (tmp_path / "lists").mkdir()
    (tmp_path / "mine/list.csv").rename(tmp_path / "lists/real.csv")
    (tmp_path / "mine/list.csv").symlink_to(tmp_path / "lists/real.csv")
    monkeypatch.chdir(tmp_path)
    for source in (read_folder(Path("mine")), read_csv(Path("mine/list.csv"))):
        monkeypatch.chdir("/")
        again = read_csv(Path(source.spec))
        assert (again.spec, again.store) == (source.spec, source.store)
        assert again.table.equals(source.table)
        # The images lie beside the link.
        assert again.store.read("A/1.png") == (tmp_path / "mine/A/1.png").read_bytes()
        monkeypatch.chdir(tmp_path)


# Patients


def test_an_unknown_name_is_a_patient_of_its_own_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/scan.png", "train/B/scan.png", "test/A/scan.png"])
    touch(tmp_path, ["test/B/patient_1.png", "test/B/patient_1b.png"])
    source = read_folder(tmp_path)
    assert len(set(source.table["patient"])) == 4  # three scans, and patient_1 twice
    (note,) = source.notes
    assert "3 of 5 images have no patient" in note
    assert "a patient of its own" in note


def test_names_of_one_family_give_patients_and_domains_and_a_note(tmp_path: Path) -> None:
    touch(tmp_path, ["train/B/person12_bacteria_46.jpeg", "train/B/person12_virus_46.jpeg"])
    touch(tmp_path, ["train/A/IM-0115-0001.jpeg", "test/A/NORMAL2-IM-0115-0001.jpeg"])
    touch(tmp_path, ["test/B/person12_virus_47.jpeg"])
    source = read_folder(tmp_path)
    assert [(patient, domain) for _, _, patient, domain, _ in rows(source)] == [
        ("IM-0115", "IM"),
        ("person12_bacteria", "bacteria"),
        ("person12_virus", "virus"),
        ("NORMAL2-IM-0115", "NORMAL2-IM"),
        ("person12_virus", "virus"),
    ]
    (note,) = source.notes
    assert "Kermany" in note


# The store


def test_a_stamp_tells_of_a_change_and_of_a_file_that_is_gone(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    (tmp_path / "a").write_bytes(b"one")
    first = store.stamp("a")
    assert store.stamp("a") == first
    os.utime(tmp_path / "a", ns=(1, 1))
    touched = store.stamp("a")
    (tmp_path / "a").write_bytes(b"three")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert len({first, touched, store.stamp("a"), store.stamp("b")}) == 4
    with pytest.raises(OSError, match="No such file"):
        store.read("b")


# Refusals: each names the rule, the value and the remedy


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_no_folder_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    refused(missing, "must be a folder", f"{missing} is not", "give the folder")


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["images.zip"])
    refused(tmp_path / "images.zip", "must be a folder", "images.zip is not", "give the folder")


def test_no_class_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", ".git/a.png", "__MACOSX/a.png"])
    refused(tmp_path, "at least two classes", "has none", "sort the images into folders")


def test_one_class_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/a.png", "test/A/a.png"])
    where = str(tmp_path / "train")
    refused(tmp_path, where, "at least two classes", "has one (A)", "sort the images into folders")


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["A/a.png", "B/b.txt"])
    where = str(tmp_path / "B")
    refused(tmp_path, "every class must have images", f"{where} has none", ".png", "remove the fol")


def test_other_classes_in_test_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["train/A/a.png", "train/B/b.png", "test/A/a.png", "test/C/b.png"])
    same = "every split must have the same classes"
    refused(tmp_path, same, "train/ has ['A', 'B']", "test/ has ['A', 'C']", "make them the same")


def test_test_without_train_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["test/A/a.png", "test/B/b.png"])
    refused(tmp_path, "has test/ but no train/", "add train/", "one folder per class")


def test_several_csvs_without_class_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["b.csv", "a.csv", "1.png"])
    refused(tmp_path, "must have one CSV file", "has 2 (a.csv, b.csv)", "give the one")


# Images for a model that is there already


def test_one_class_alone_can_be_scored(tmp_path: Path) -> None:
    touch(tmp_path, ["healthy/sub-1.png", "healthy/sub-2.png"])
    source = read_labelled(tmp_path)
    assert source.classes == ("healthy",)
    assert rows(source) == [
        ("healthy/sub-1.png", 0, "sub-1", "", "train"),
        ("healthy/sub-2.png", 0, "sub-2", "", "train"),
    ]


def test_test_without_train_and_splits_with_different_classes_can_be_scored(
    tmp_path: Path,
) -> None:
    touch(tmp_path, ["test/C/sub-1.png", "test/A/sub-2.png"])
    assert read_labelled(tmp_path).classes == ("A", "C")
    touch(tmp_path, ["train/B/sub-3.png"])
    source = read_labelled(tmp_path)
    assert source.classes == ("A", "B", "C")
    assert [(path, label) for path, label, *_ in rows(source)] == [
        ("train/B/sub-3.png", 1),
        ("test/A/sub-2.png", 0),
        ("test/C/sub-1.png", 2),
    ]


def test_what_can_be_searched_can_be_scored_alike(tmp_path: Path) -> None:
    touch(tmp_path, names("train/A", 3) + names("train/B", 3) + names("test/A", 2))
    touch(tmp_path, names("test/B", 2))
    assert rows(read_labelled(tmp_path)) == rows(read_folder(tmp_path))
    write_pictures(tmp_path / "listed", ["1.png", "2.png"])
    (tmp_path / "listed" / "all.csv").write_text("path,label\n1.png,A\n2.png,B\n")
    assert rows(read_labelled(tmp_path / "listed")) == rows(read_folder(tmp_path / "listed"))


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the data must be a folder"):
        read_labelled(tmp_path / "none")
    with pytest.raises(DataError, match="one or more classes, but has none"):
        read_labelled(tmp_path)
    (tmp_path / "A").mkdir()
    with pytest.raises(DataError, match="every class must have images"):
        read_labelled(tmp_path)
