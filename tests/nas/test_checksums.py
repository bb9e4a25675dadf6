"""SHA256SUMS: written, read, held against files."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from nas.checksums import check_sums, read_sums, write_sums
from nas.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.pth").write_bytes(b"weights")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "roc curve.svg").write_bytes(b"<svg/>")
    (tmp_path / ".model.pth.123.part").write_bytes(b"left by a kill")
    write_sums(tmp_path)
    return tmp_path


def test_every_file_is_listed_in_order(folder: Path) -> None:
    assert (folder / "SHA256SUMS").read_text() == (
        f"{hashlib.sha256(b'weights').hexdigest()}  model.pth\n"
        f"{hashlib.sha256(b'<svg/>').hexdigest()}  plots/roc curve.svg\n"
    )
    write_sums(folder)
    assert read_sums(folder) == {
        "model.pth": hashlib.sha256(b"weights").hexdigest(),
        "plots/roc curve.svg": hashlib.sha256(b"<svg/>").hexdigest(),
    }


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_it(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "model.pth: OK\nplots/roc curve.svg: OK\n"


def test_files_are_held_against_it(folder: Path) -> None:
    assert check_sums(folder, "model.pth") == []
    (folder / "plots" / "roc curve.svg").unlink()
    assert check_sums(folder, "model.pth") == ["plots/roc curve.svg"]
    (folder / "model.pth").write_bytes(b"weighty")
    with pytest.raises(
        BundleError, match=r"model\.pth: the content must be that of the SHA256SUMS"
    ):
        check_sums(folder, "model.pth")
    (folder / "other.pth").write_bytes(b"")
    with pytest.raises(BundleError, match=r"other\.pth: the SHA256SUMS beside it must list it"):
        check_sums(folder, "other.pth")
    (folder / "SHA256SUMS").unlink()
    assert check_sums(folder, "model.pth") is None


@pytest.mark.parametrize(
    "line",
    [
        b"model.pth",
        b"0" * 63 + b"  model.pth",
        b"G" * 64 + b"  model.pth",
        b"0" * 64 + b"  ",
        b"0" * 64 + b"  ../model.pth",
        b"0" * 64 + b"  /etc/passwd",
        b"\xff\xfe",
    ],
)
def test_what_is_no_list_of_sums_is_refused(tmp_path: Path, line: bytes) -> None:
    good = b"0" * 64 + b"  model.pth\n"
    (tmp_path / "SHA256SUMS").write_bytes(good + line + b"\n")
    with pytest.raises(BundleError, match="export the model again"):
        check_sums(tmp_path, "model.pth")
