"""``python -m nas.data`` as a user runs it."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from nas.data.__main__ import main
from tests.nas.commands import refused


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Command":
    return Command(tmp_path / "runs", monkeypatch)


class Command:
    def __init__(self, runs: Path, patch: pytest.MonkeyPatch) -> None:
        self._runs, self._patch = runs, patch

    def __call__(self, *arguments: str | Path) -> int:
        whole = ["nas.data", *map(str, arguments), "--runs", str(self._runs)]
        self._patch.setattr(sys, "argv", whole)
        return main()


def test_an_audit_as_table_json_and_page(
    command: Command, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file, page = tmp_path / "new" / "audit.json", tmp_path / "audit.html"
    assert command("audit", images, "--json", json_file, "--page", page) == 0
    shown = capsys.readouterr().out
    for word in ("NORMAL", "PNEUMONIA", "train", "test", str(json_file), str(page)):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 80 or str(tmp_path) in shown
    assert isinstance(json.loads(json_file.read_text()), dict)
    assert page.read_text().startswith("<!doctype html>")


def test_an_audit_that_finds_a_leak_ends_with_status_1(
    command: Command, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(images, data)
    first = min((data / "train" / "NORMAL").iterdir())
    shutil.copy(first, data / "test" / "NORMAL" / "demo0999_0.png")
    assert command("audit", data) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Not usable as it is: mend 1 error first" in shown
    assert "demo0999_0.png (test)" in shown


def test_a_sheet_of_augmented_samples(command: Command, images: Path, tmp_path: Path) -> None:
    out, same, other = (tmp_path / f"{name}.png" for name in ("out", "same", "other"))
    assert command("augment", images, "--size", "32", "--out", out) == 0
    assert command("augment", images, "--size", "32", "--out", same) == 0
    assert command("augment", images, "--size", "32", "--out", other, "--augment", "noise=99") == 0
    assert out.read_bytes() == same.read_bytes() != other.read_bytes()
    with Image.open(out) as picture:
        assert min(picture.size) > 300


def test_wrong_arguments_get_one_sentence(
    command: Command, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a folder" in refused(capsys, command("audit", tmp_path / "nowhere"))
    assert "--help" in refused(capsys, command("look"))
    assert "8 to 1024" in refused(capsys, command("augment", images, "--size", "4"))
    assert "blurring" in refused(capsys, command("augment", images, "--augment", "blurring=1"))
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "x.png"
    assert "must be writable" in refused(capsys, command("augment", images, "--out", below))
