import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import files
from nas.files import atomic_file, atomic_folder, sha256_of, write_bytes, write_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def test_what_is_written_can_be_read(path: Path) -> None:
    with atomic_file(path) as file:
        file.write(b"one")
        file.write(b"two")
    assert path.read_bytes() == b"onetwo"
    write_bytes(path, b"three")
    assert path.read_bytes() == b"three"
    assert list(path.parent.iterdir()) == [path]


def test_folders_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


def test_readers_see_the_old_content_until_the_block_ends(path: Path) -> None:
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_exception_leaves_everything_as_it_was(
    path: Path, error: type[BaseException], old: bytes | None
) -> None:
    if old is not None:
        path.write_bytes(old)

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half of the ne")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [p.read_bytes() for p in path.parent.iterdir()] == ([old] if old is not None else [])


def test_a_failing_replacement_leaves_nothing_behind(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError, match=r"irectory"):
        write_bytes(path, b"x")
    assert list(path.parent.iterdir()) == [path]


def test_content_is_on_the_disk_before_it_takes_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave an empty file under the name."""
    order: list[str] = []
    sync, replace = os.fsync, Path.replace

    def spy_sync(descriptor: int) -> None:
        order.append(f"sync {os.fstat(descriptor).st_size}")
        sync(descriptor)

    def spy_replace(part: Path, target: Path) -> Path:
        order.append("replace")
        return replace(part, target)

    monkeypatch.setattr(os, "fsync", spy_sync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    write_bytes(path, b"12345")
    assert order == ["sync 5", "replace"]


def test_two_writers_do_not_meet(path: Path) -> None:
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # the outer block ends last
    assert list(path.parent.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from nas.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"n" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file_whole(path: Path) -> None:
    path.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = [p.name for p in path.parent.iterdir() if p != path]
    assert [name.startswith(".") and name.endswith(".part") for name in left] == [True]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_json_is_readable(path: Path) -> None:
    write_json(path, {"name": "Lungenentzündung", "values": [1, 2.5, None, True]})
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n  "name": "Lungenentzündung",\n')
    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "Lungenentzündung", "values": [1, 2.5, None, True]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), {1, 2}, object()])
def test_what_json_cannot_hold_is_refused_and_nothing_is_lost(path: Path, value: object) -> None:
    path.write_bytes(b"old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"score": [value]})
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@given(st.binary(max_size=100))
def test_checksum_is_that_of_hashlib(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "checksum"
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


def test_checksum_of_more_than_one_piece(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 7)
    path.write_bytes(bytes(range(100)))
    assert sha256_of(path) == hashlib.sha256(bytes(range(100))).hexdigest()


# Folders


def never() -> bool:
    return False


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    with atomic_folder(folder, never) as part:
        (part / "file").write_text("whole")
        assert not folder.exists()
        assert part.parent == folder.parent
    assert (folder / "file").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "folder", never) as part:
            (part / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("complete", [True, False])
def test_a_folder_that_came_first_stays(tmp_path: Path, complete: bool) -> None:
    folder = tmp_path / "folder"
    expected = contextlib.nullcontext() if complete else pytest.raises(OSError, match="folder")
    with expected, atomic_folder(folder, lambda: complete) as part:
        (part / "file").write_text("ours")
        folder.mkdir()
        (folder / "file").write_text("theirs")
    assert (folder / "file").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [folder]
