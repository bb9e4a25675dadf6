"""The cache: broken and changing files, damaged caches, kills, full disks, races."""

import json
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
from nas.data.cache import Form, Images, decode_all, hash_files, load_images
from nas.data.folders import read_folder
from nas.data.table import FileStore
from nas.errors import DataError
from nas.files import write_json
from tests.nas.data.caches import SIZE, TEST, TRAIN, expected, load
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
    assert images.groups.tolist() == [f"patient{index // 2 % 2 + 1}" for index in rest]
    assert images.splits.tolist() == ["train"] * len(rest)
    assert len(images.sha256) == len(images.domains) == len(images) == len(rest)
    assert [path for path, _ in images.skipped] == [TRAIN[index] for index in broken]
    assert all("whole and readable" in reason for _, reason in images.skipped)
    others = load(source, cache, "test")
    assert np.array_equal(others.pixels, expected(root, TEST))


def test_places_close_up_over_broken_files(root: Path, cache: Path) -> None:
    source = read_folder(root)
    for path in (TRAIN[1], TRAIN[4]):
        (root / path).write_bytes(b"broken")
    (root / TRAIN[6]).unlink()
    decoded = decode_all(source, Form(SIZE, 1), cache)
    assert decoded.places.tolist() == [0, -1, 1, 2, -1, 3, -1, 4, 5, 6, 7, 8]
    assert decoded.pixels.shape == (9, 1, SIZE, SIZE)
    assert sorted(decoded.failures) == [1, 4, 6]


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
    digests = hash_files(source, cache)
    assert [row for row, digest in enumerate(digests.sha256) if digest is None] == [0, 7]
    assert digests.sizes[[0, 7]].tolist() == [0, 0]
    for _ in range(2):
        images = load(source, cache)
        assert images.paths.tolist() == TRAIN[1:7]
        assert np.array_equal(images.pixels, expected(root, TRAIN[1:7]))
        reasons = dict(images.skipped)
        assert "could not be read (Is a directory)" in reasons[TRAIN[0]]
        assert "could not be read (No such file or directory)" in reasons[TRAIN[7]]


def test_a_file_that_may_be_read_again_is(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission changes neither the size of a file nor the time when its content changed."""
    source = read_folder(root)
    (root / TRAIN[0]).chmod(0)
    whole = FileStore.read

    def refusing(store: FileStore, path: str) -> bytes:
        if not (store.root / path).stat().st_mode & 0o400:
            raise PermissionError(13, "Permission denied")
        return whole(store, path)

    monkeypatch.setattr(FileStore, "read", refusing)
    assert load(source, cache).paths.tolist() == TRAIN[1:]
    (root / TRAIN[0]).chmod(0o600)
    assert load(source, cache).paths.tolist() == TRAIN


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


@pytest.mark.parametrize("gone", [False, True])
def test_no_readable_image_at_all_is_refused(root: Path, cache: Path, gone: bool) -> None:
    source = read_folder(root)
    for path in TRAIN + TEST:
        if gone:
            (root / path).unlink()
        else:
            (root / path).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of A's could be decoded"):
        load(source, cache)


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_changes_between_hashing_and_decoding_is_refused(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    source = read_folder(root)
    digests = hash_files(source, cache)
    monkeypatch.setattr(module, "hash_files", lambda *_: digests)
    if gone:
        (root / TRAIN[2]).unlink()
    else:
        (root / TRAIN[2]).write_bytes(encoded(99))
    with pytest.raises(DataError) as caught:
        decode_all(source, Form(SIZE, 1), cache)
    message = str(caught.value)
    assert f"must not change while they are read, but {TRAIN[2]} did; start again" in message
    assert built(cache) == []
    assert leftovers(cache) == []


# Damaged caches


def kept(cache: Path, pattern: str) -> Path:
    (found,) = cache.glob(pattern)
    return found


@pytest.mark.parametrize("pattern", ["files-*.json", "images-*/meta.json", "images-*/pixels.npy"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut off", "other"])
def test_a_damaged_cache_is_refused_with_its_name(
    root: Path, cache: Path, pattern: str, damage: str
) -> None:
    load(root, cache)
    path = kept(cache, pattern)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": b"\x80x" * 99, "cut off": whole[: len(whole) // 2]}.get(
            damage, json.dumps([1, 2]).encode()
        )
    )
    with pytest.raises(DataError) as caught:
        load(root, cache)
    message = str(caught.value)
    where = path if pattern.startswith("files") else path.parent
    assert message.startswith("what is kept must be as this program wrote it, but ")
    assert str(where) in message
    assert message.endswith("delete it, and it is made again")
    assert "\n" not in message
    if where.is_dir():
        shutil.rmtree(where)
    else:
        where.unlink()
    assert np.array_equal(load(root, cache).pixels, expected(root, TRAIN))


# Whatever happens while it is written


def built(cache: Path) -> list[str]:
    """Names under which a later call would find pixels."""
    return [path.name for path in cache.glob("images-*")]


def leftovers(cache: Path) -> list[str]:
    """Whatever is neither pixels nor digests."""
    return [path.name for path in cache.iterdir() if path.name.startswith(".")]


KILLED = """
import os, pathlib, signal, sys
from nas.data.cache import {step}
from nas.data.cache import Form
from nas.data.folders import read_folder
data, cache, last = sys.argv[1:]
def report(done, total):
    if done == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
source = read_folder(pathlib.Path(data))
{step}(source, {form} pathlib.Path(cache), report)
"""
HASHING = KILLED.format(step="hash_files", form="")
DECODING = KILLED.format(step="decode_all", form="Form(8, 1),")


@pytest.mark.parametrize(
    ("code", "last"), [(HASHING, 12), (DECODING, 3), (DECODING, 12)], ids=["hash", "begin", "end"]
)
def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(
    root: Path, cache: Path, code: str, last: int, decoded: list[bytes]
) -> None:
    command = [sys.executable, "-c", code, str(root), str(cache), str(last)]
    done = subprocess.run(command, cwd=Path(module.__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    if code is DECODING:
        assert leftovers(cache) != []  # it had begun
    assert not cache.exists() or built(cache) == []
    images = load(root, cache)
    assert len(decoded) == 12
    assert np.array_equal(images.pixels, expected(root, TRAIN))
    assert len(built(cache)) == 1


def raising(error: BaseException) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == 5:
            raise error

    return report


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_call_leaves_nothing(root: Path, cache: Path, error: Exception) -> None:
    source = read_folder(root)
    with pytest.raises(type(error)):
        hash_files(source, cache, raising(error))
    assert not cache.exists()
    with pytest.raises(type(error)):
        load_images(source, ["train"], size=8, channels=1, cache=cache, report=raising(error))
    assert built(cache) == leftovers(cache) == []


def test_a_folder_that_cannot_be_written_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        load(root, tmp_path / "file" / "cache")
    message = str(caught.value)
    assert message.startswith(f"decoded images are kept in {tmp_path / 'file' / 'cache'}, but")
    assert "(Not a directory)" in message
    assert message.endswith("free space or give another --runs folder")
    assert "\n" not in message


@pytest.mark.parametrize("before", [0, 1])
def test_a_full_disk_is_refused_and_leaves_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The first JSON file is of the digests, the second beside the pixels."""
    written: list[Path] = []

    def full(path: Path, value: object) -> None:
        if len(written) == before:
            raise OSError(28, "No space left on device")
        written.append(path)
        write_json(path, value)

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(root, cache)
    assert not cache.exists() or sorted(cache.iterdir()) == written


FULL = """
import pathlib, resource, sys
from nas.data.cache import Form, decode_all, hash_files
from nas.data.folders import read_folder
from nas.errors import DataError
source, cache = read_folder(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
hash_files(source, cache)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    decode_all(source, Form(32, 1), cache)
except DataError as error:
    print(error)
"""


def test_pixels_that_find_no_room_are_refused(root: Path, cache: Path) -> None:
    command = [sys.executable, "-c", FULL, str(root), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "writing there failed (File too large); free space" in done.stdout
    assert built(cache) == leftovers(cache) == []


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
    assert len(built(cache)) == 1
    assert leftovers(cache) == []


def test_several_at_once_give_the_same(root: Path, cache: Path) -> None:
    source, ready = read_folder(root), threading.Barrier(3, timeout=30)

    def one(_: int) -> Images:
        ready.wait()
        return load(source, cache)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(one, range(3)))
    assert all(np.array_equal(images.pixels, expected(root, TRAIN)) for images in results)
    assert len({images.checksum for images in results}) == 1
    assert len(built(cache)) == 1
    assert leftovers(cache) == []


AT_ONCE = """
import pathlib, sys
from nas.data.cache import load_images
from nas.data.folders import read_folder
source, cache = read_folder(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(load_images(source, ["train"], size=8, channels=1, cache=cache).pixels.sum())
"""


def test_several_processes_at_once_give_the_same(root: Path, cache: Path) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(root), str(cache)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = [process.communicate(timeout=60)[0] for process in started]
    assert sums == [f"{expected(root, TRAIN).sum()}\n"] * 3
    assert len(built(cache)) == 1
    assert leftovers(cache) == []
