"""What --data names -> the source that is opened."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.data import demo
from nas.data import sources as module
from nas.data.sources import open_source
from nas.data.table import FileStore
from nas.errors import DataError
from tests.pictures import touch, write_pictures

SPLIT = [f"{split}/{name}/x.png" for split in ("train", "test") for name in "AB"]


def tiny_demo(calls: list[Path]) -> Callable[..., Path]:
    def write(folder: Path, report: object = None) -> Path:
        calls.append(folder)
        return touch(folder, [path.replace("x.png", "demo0001_1.png") for path in SPLIT])

    return write


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Folders into which the demo set was drawn. The working directory is an empty one."""
    calls: list[Path] = []
    monkeypatch.setattr(demo, "write_demo", tiny_demo(calls))
    monkeypatch.chdir(tmp_path)
    return calls


def test_a_given_folder_is_read(tmp_path: Path, drawn: list[Path]) -> None:
    for root in ("mine", "data/chestxrays"):
        touch(tmp_path / root, SPLIT)
    source = open_source("mine", tmp_path / "cache")
    assert (source.store, source.synthetic, drawn) == (FileStore(tmp_path / "mine"), False, [])


def test_without_a_folder_the_usual_one_is_read(tmp_path: Path, drawn: list[Path]) -> None:
    root = touch(tmp_path / "data" / "chestxrays", SPLIT)
    source = open_source(None, tmp_path / "cache")
    assert (source.name, source.store, source.synthetic) == ("chestxrays", FileStore(root), False)
    assert drawn == []


@pytest.mark.parametrize("spec", [None, "demo"])
def test_without_any_folder_the_demo_is_drawn(
    tmp_path: Path, drawn: list[Path], spec: str | None
) -> None:
    source = open_source(spec, tmp_path / "cache")
    folder = tmp_path / "cache" / f"demo-{demo.DEMO_VERSION}"
    assert drawn == [folder]
    assert (source.name, source.synthetic) == ("demo", True)
    assert source.store == FileStore(folder)
    assert source.classes == ("A", "B")
    touch(tmp_path / "demo", SPLIT)  # a folder of that name is another one
    again = open_source(source.spec, tmp_path / "cache")
    assert (again.spec, again.store) == (source.spec, source.store)
    assert again.table.equals(source.table)


def test_drawing_the_demo_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENTS", {"train": 6, "test": 4})
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[int, int]] = []
    source = open_source(None, tmp_path / "cache", lambda *counts: seen.append(counts))
    total = len(source.table)
    assert seen == [(done, total) for done in range(1, total + 1)]
    assert source.classes == ("NORMAL", "PNEUMONIA")
    assert source.notes == ()


@pytest.mark.parametrize("name", ["demo", "mnist", "medmnist:pneumoniamnist", "set.npz", "set.csv"])
def test_a_folder_comes_before_whatever_else_its_name_might_mean(
    tmp_path: Path, drawn: list[Path], name: str
) -> None:
    root = touch(tmp_path / name, SPLIT)
    assert open_source(name, tmp_path / "cache").store == FileStore(root)
    assert drawn == []


def test_a_csv_file_is_read_in_any_case(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["1.png", "2.png"])
    for name in ("list.csv", "LIST.CSV"):
        (tmp_path / name).write_text("path,label\n1.png,A\n2.png,B\n")
        source = open_source(str(tmp_path / name), tmp_path / "cache")
        assert source.spec == str(tmp_path / name)
        assert source.store == FileStore(tmp_path)


def test_an_npz_file_is_read(tmp_path: Path) -> None:
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=np.array([0, 1, 0, 1]))
    source = open_source(str(tmp_path / "set.npz"), tmp_path / "cache")
    assert source.table["label"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("spec", "opener", "given"),
    [
        ("medmnist:pneumoniamnist@64", "open_medmnist", ("pneumoniamnist@64",)),
        ("medmnist", "open_medmnist", ("",)),
        ("mnist", "open_torchvision", ("mnist", None)),
        ("fashion-mnist:/x/y", "open_torchvision", ("fashion-mnist", Path("/x/y"))),
        ("cifar10:x:y", "open_torchvision", ("cifar10", Path("x:y"))),
    ],
)
def test_names_of_public_sets_go_to_who_knows_them(
    tmp_path: Path,
    drawn: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    opener: str,
    given: tuple[object, ...],
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(module, opener, lambda *arguments: calls.append(arguments))
    open_source(spec, tmp_path / "cache")
    assert calls == [(*given, tmp_path / "cache")]


@pytest.mark.parametrize("spec", ["mistyped", "mistyped.csv", "mistyped.npz", "mistyped.zip"])
def test_what_is_not_there_is_refused_and_not_replaced_by_the_demo(
    tmp_path: Path, drawn: list[Path], spec: str
) -> None:
    with pytest.raises(DataError, match=r"must be .*; ") as caught:
        open_source(spec, tmp_path / "cache")
    assert spec in str(caught.value)
    assert "\n" not in str(caught.value)
    assert drawn == []
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden names count
