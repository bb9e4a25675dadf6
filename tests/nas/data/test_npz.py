import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data import npz
from nas.data.npz import read_npz
from nas.errors import DataError
from tests.nas.data.arraysets import (
    header,
    members,
    noise,
    npy,
    npy_claiming,
    parts,
    write_npz,
    write_zip,
)


def refused(path: Path, cache: Path) -> str:
    """The message that reading ends with; nothing stays behind."""
    with pytest.raises(DataError) as caught:
        read_npz(path, cache)
    message = str(caught.value)
    assert "\n" not in message
    assert " must " in message or " need " in message
    assert "; " in message  # the remedy
    assert not list(cache.glob(".*.part"))
    return message


def plain(**changes: bytes | None) -> dict[str, bytes]:
    """The members of a good file, some of them replaced or left out."""
    good = {name: npy(array) for name, array in members(parts({"train": 4, "test": 2})).items()}
    return {name: data for name, data in (good | changes).items() if data is not None}


# Unpacked once


def test_a_file_is_unpacked_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_npz(file, cache)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    again = read_npz(file, cache)
    assert again.table.equals(first.table)
    assert len(list(cache.iterdir())) == 1


def test_unpacked_arrays_that_were_damaged(file: Path, cache: Path) -> None:
    read_npz(file, cache)
    (folder,) = cache.iterdir()
    (folder / "train_images.npy").write_bytes(b"")
    assert "delete the folder" in refused(file, cache)
    shutil.rmtree(folder)
    read_npz(file, cache)


def test_what_a_killed_process_left_is_never_read(file: Path, cache: Path) -> None:
    key = read_npz(file, cache).store.stamp("train/000000").split()[0]
    shutil.rmtree(cache)
    part = cache / f".{key}.0123.part"
    part.mkdir(parents=True)
    (part / "train_images.npy").write_bytes(b"half of i")
    read_npz(file, cache)


def test_a_cache_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    assert "taken" in refused(file, tmp_path / "taken")


def test_a_full_disk(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    assert "0.0 GB are free" in refused(file, cache)


def test_at_most_so_many_bytes(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    assert "at most 0 GB" in refused(file, cache)
    assert not list(cache.glob("*"))


# What is refused


def test_no_file(tmp_path: Path, cache: Path) -> None:
    assert "there is none" in refused(tmp_path / "none.npz", cache)
    assert "there is none" in refused(tmp_path, cache)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"a,b\n1,2\n"])
def test_no_zip(content: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    assert "whole .npz" in refused(tmp_path / "a.npz", cache)


@pytest.mark.parametrize("missing", ["train_images", "train_labels", "test_labels"])
def test_missing_members(missing: str, tmp_path: Path, cache: Path) -> None:
    file = write_zip(tmp_path / "a.npz", plain(**{missing: None}))
    assert f"{missing} is missing" in refused(file, cache)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_pickles_are_not_opened(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train_images", "test_labels"):
        evil = npy_claiming(header("|O", (4,)), pickle.dumps([Bomb()] * 4))
        file = write_zip(tmp_path / "a.npz", plain(**{name: evil}))
        assert "pickled objects" in refused(file, cache)
    bare = write_zip(tmp_path / "a.npz", plain(train_labels=pickle.dumps(Bomb())))
    assert "whole .npz" in refused(bare, cache)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train_images", noise(4, 2, 2).astype(float), "uint8, but train_images is float64"),
        ("train_images", noise(4, 2, 2).astype(np.int8), "is int8"),
        ("train_images", noise(4, 2), r"\(4, 2\)"),
        ("train_images", noise(4, 2, 2, 2), r"\(4, 2, 2, 2\)"),
        ("train_images", noise(4, 2, 2, 4), r"\(4, 2, 2, 4\)"),
        ("train_images", noise(4, 2, 2, 3, 1), r"\(4, 2, 2, 3, 1\)"),
        ("train_images", np.uint8(3), r"is \(\)"),
        ("train_images", noise(4, 2, 0), "1 to 40,000,000 pixels"),
        ("test_images", noise(0, 2, 2), "test_images is"),
        ("train_images", noise(5, 2, 2), r"5 images need 1 label each, \(5, 1\)"),
        ("train_labels", np.arange(5), r"train_labels is \(5,\)"),
        ("train_labels", np.array([0.0, 1, 0, 1]), "whole numbers, but train_labels is float64"),
        ("train_labels", np.array(["a", "b", "a", "b"]), "is <U1"),
        ("train_labels", np.zeros((4, 14), int), r"\(4, 14\)"),
        ("train_labels", np.zeros((4, 1, 1), int), r"\(4, 1, 1\)"),
        ("train_labels", np.array([0, 1, -1, 0]), "but -1 is among"),
        ("test_labels", np.array([0, 1 << 63], dtype=np.uint64), "but 9223372036854775808 is"),
        ("train_labels", np.array([0, 0, 0, 0]), "1 has none"),
        ("test_labels", np.array([0, 2]), "2 has none"),
    ],
)
def test_odd_arrays(name: str, array: Any, words: str, tmp_path: Path, cache: Path) -> None:
    file = write_zip(tmp_path / "a.npz", plain(**{name: npy(np.asarray(array))}))
    assert re.search(words, refused(file, cache))


def test_one_class_only(tmp_path: Path, cache: Path) -> None:
    file = write_npz(tmp_path / "a.npz", {"train": (noise(4, 2, 2), np.full(4, 5))})
    assert "every label is 5" in refused(file, cache)


def test_labels_beyond_the_given_classes(tmp_path: Path, cache: Path) -> None:
    file = write_npz(tmp_path / "a.npz", parts({"train": 6}, classes=3))
    with pytest.raises(DataError, match=r"from 0 to 1, for NO, YES, but 2 is among them"):
        read_npz(file, cache, classes=("NO", "YES"))
    with pytest.raises(DataError, match="D has none"):
        read_npz(file, cache, classes=tuple("ABCD"))


TEN_GB = header("|u1", (10_000, 1000, 1000))


@pytest.mark.parametrize(
    "claim",
    [
        npy_claiming(TEN_GB, bytes(1000)),  # declares more than there is
        npy(noise(4, 5, 7)) + bytes(10_000),  # and less
        npy_claiming(header("|u1", (4, -5, -7)), bytes(140)),
        npy_claiming(header("|u1", (4, 1 << 70, 1))),
        npy_claiming(header("|u1", (1 << 40, 1, 1))),
        npy_claiming(header("|u1", (4, 6400, 6400))),
        npy_claiming("{'descr': '|u1'}"),
        npy_claiming("__import__('os').remove('x')"),
        npy_claiming("(" * 9000),
        npy_claiming("-" * 9000 + "1"),
        npy_claiming("9" * 9000),
        npy_claiming(header("|u1", (4, 5, 7)) + " " * 20_000, bytes(140)),
        npy_claiming(header("|u1", (4, 5, 7)), bytes(140), version=3),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 70_000,  # a header of four gigabytes
        b"\x93NUM",
        b"",
    ],
)
@pytest.mark.filterwarnings("default")  # NumPy's parser has its own to say of such headers
def test_lying_headers(claim: bytes, tmp_path: Path, cache: Path) -> None:
    refused(write_zip(tmp_path / "a.npz", plain(train_images=claim)), cache)
    assert not list(cache.glob("*"))


def test_headers_of_the_second_version(tmp_path: Path, cache: Path) -> None:
    good = npy_claiming(header("|u1", (4, 5, 7)), bytes(140), version=2)
    read_npz(write_zip(tmp_path / "a.npz", plain(train_images=good)), cache)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write(method: int, tmp_path: Path, cache: Path) -> None:
    file = write_zip(tmp_path / "a.npz", plain(), method)
    assert "compressed by method" in refused(file, cache)


def test_damaged_bytes(tmp_path: Path, cache: Path) -> None:
    big = {"train": (noise(40, 50, 50), np.arange(40) % 2)}
    np.savez(tmp_path / "a.npz", **members(big))  # type: ignore[arg-type]
    data = (tmp_path / "a.npz").read_bytes()
    changed = bytearray(data)
    changed[90_000] ^= 1  # beyond what is read to find the header
    (tmp_path / "a.npz").write_bytes(changed)
    assert "Bad CRC-32" in refused(tmp_path / "a.npz", cache)
    assert not list(cache.glob("*"))
    for length in (100, 50_000, 90_000, len(data) - 30):
        (tmp_path / "a.npz").write_bytes(data[:length])
        refused(tmp_path / "a.npz", cache)
    cut = data[:60_000] + data[70_000:]  # the list at the end is there, ten thousand bytes are not
    (tmp_path / "a.npz").write_bytes(cut)
    refused(tmp_path / "a.npz", cache)
    assert not list(cache.glob("*"))


def test_an_encrypted_member(tmp_path: Path, cache: Path) -> None:
    file = write_zip(tmp_path / "a.npz", plain(), zipfile.ZIP_STORED)
    data = bytearray(file.read_bytes())
    for found in re.finditer(b"PK\x01\x02", bytes(data)):
        data[found.start() + 8] |= 1
    for found in re.finditer(b"PK\x03\x04", bytes(data)):
        data[found.start() + 6] |= 1
    file.write_bytes(data)
    assert "whole .npz" in refused(file, cache)
