"""The cache: broken files, kills, full disks, races."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nas.data import cache as module
from nas.data.cache import Images, load_images
from nas.data.sources import read_folder
from nas.errors import DataError
from tests.nas.data.caches import SIZE, TRAIN, expected, load
from tests.pictures import encoded

# Broken files


@pytest.mark.parametrize("broken", [(0,), (3,), (7,), (0, 1), (6, 7), (0, 4, 7), (1, 2, 3, 5)])
@pytest.mark.parametrize("again", [False, True])
def test_broken_files_are_skipped_and_rows_stay_aligned(
    root: Path, cache: Path, broken: tuple[int, ...], again: bool
) -> None:
    for index in broken:
        (root / TRAIN[index]).write_bytes(encoded(index)[:60])
    source = read_folder(root)
    if again:
        load(source, cache)
    images = load(source, cache)
    rest = [index for index in range(8) if index not in broken]
    assert images.paths.tolist() == [TRAIN[index] for index in rest]
    assert np.array_equal(images.pixels, expected(root, images.paths.tolist()))
    assert images.labels.tolist() == [index // 4 for index in rest]
    assert images.patients.tolist() == [f"patient{index // 2 % 2 + 1}" for index in rest]
    assert images.splits.tolist() == ["train"] * len(rest)
    assert [path for path, _ in images.skipped] == [TRAIN[index] for index in broken]
    assert all("whole and readable" in reason for _, reason in images.skipped)


def test_reasons_differ(root: Path, cache: Path) -> None:
    (root / TRAIN[1]).write_bytes(b"no image")
    (root / TRAIN[4]).write_bytes(b"")
    (root / TRAIN[6]).write_bytes(encoded(6)[:60])
    reasons = dict(load(root, cache).skipped)
    assert "must be one of" in reasons[TRAIN[1]]
    assert "must be one of" in reasons[TRAIN[4]]
    assert "whole and readable" in reasons[TRAIN[6]]


def test_a_broken_file_changes_the_checksum(root: Path, cache: Path) -> None:
    before = load(root, cache).checksum
    (root / TRAIN[2]).write_bytes(b"broken")
    assert load(root, cache).checksum != before


def test_files_that_cannot_be_read_are_skipped(root: Path, cache: Path) -> None:
    source = read_folder(root)
    (root / TRAIN[0]).unlink()
    (root / TRAIN[0]).mkdir()  # whoever runs the tests may be allowed to read everything
    (root / TRAIN[7]).unlink()
    images = load(source, cache)
    assert images.paths.tolist() == TRAIN[1:7]
    assert np.array_equal(images.pixels, expected(root, TRAIN[1:7]))
    reasons = dict(images.skipped)
    assert "could not be read (Is a directory)" in reasons[TRAIN[0]]
    assert "could not be read (No such file or directory)" in reasons[TRAIN[7]]


def test_a_class_without_any_readable_image_is_refused(root: Path, cache: Path) -> None:
    (root / TRAIN[0]).write_bytes(b"no image")  # a reason of the other class
    for path in TRAIN[4:]:
        (root / path).write_bytes(encoded(0)[:60])
    source = read_folder(root)
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            load(source, cache)
        message = str(caught.value)
        assert "every class must have readable images, but none of B's" in message
        assert "whole and readable" in message
        assert "must be one of" not in message
        assert "\n" not in message


def test_no_readable_image_at_all_is_refused(root: Path, cache: Path) -> None:
    for path in TRAIN:
        (root / path).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of A's could be decoded"):
        load(root, cache)


# Whatever happens while it is written


def built(cache: Path) -> list[str]:
    """Names under which a later call would find a cache."""
    return [path.name for path in cache.glob("images-*")]


KILLED = """
import os, pathlib, signal, sys
from nas.data.cache import load_images
from nas.data.sources import read_folder
data, cache, last = sys.argv[1:]
def report(done, total):
    if done == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
source = read_folder(pathlib.Path(data))
load_images(source, ["train"], size=8, channels=1, cache=pathlib.Path(cache), report=report)
"""


@pytest.mark.parametrize("last", [3, 8])
def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(
    root: Path, cache: Path, last: int, decoded: list[bytes]
) -> None:
    command = [sys.executable, "-c", KILLED, str(root), str(cache), str(last)]
    done = subprocess.run(command, cwd=Path(module.__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert any(cache.iterdir())  # it had begun
    assert built(cache) == []
    images = load(root, cache)
    assert len(decoded) == 8
    assert np.array_equal(images.pixels, expected(root, TRAIN))
    assert len(built(cache)) == 1


def raising(error: BaseException) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == 5:
            raise error

    return report


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_call_leaves_nothing(root: Path, cache: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        load_images(
            read_folder(root), ["train"], size=8, channels=1, cache=cache, report=raising(error)
        )
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        load(root, tmp_path / "file" / "cache")
    message = str(caught.value)
    assert message.startswith(f"decoded images are kept in {tmp_path / 'file' / 'cache'}, but")
    assert "(Not a directory)" in message
    assert message.endswith("free space or give another --runs folder")
    assert "\n" not in message


def test_a_full_disk_is_refused_and_leaves_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(root, cache)
    assert list(cache.iterdir()) == []


def test_a_folder_without_its_last_file_is_not_taken_for_whole(root: Path, cache: Path) -> None:
    load(root, cache)
    (name,) = built(cache)
    (cache / name / "meta.json").unlink()
    with pytest.raises(DataError, match="writing there failed"):
        load(root, cache)
    shutil.rmtree(cache / name)
    assert np.array_equal(load(root, cache).pixels, expected(root, TRAIN))


def test_the_loser_of_a_race_takes_the_winners_cache(root: Path, cache: Path) -> None:
    source = read_folder(root)

    def other_wins(done: int, total: int) -> None:
        if done == total:
            load(source, cache)

    images = load_images(source, ["train"], size=SIZE, channels=1, cache=cache, report=other_wins)
    assert np.array_equal(images.pixels, expected(root, TRAIN))
    assert [path.name for path in cache.iterdir()] == built(cache)
    assert len(built(cache)) == 1


def test_two_at_once_give_the_same(root: Path, cache: Path) -> None:
    source, ready = read_folder(root), threading.Barrier(2, timeout=30)

    def one(_: int) -> Images:
        ready.wait()
        return load(source, cache)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert first.checksum == second.checksum
    assert [path.name for path in cache.iterdir()] == built(cache)
