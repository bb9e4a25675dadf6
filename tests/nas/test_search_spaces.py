"""--space of the search command: files, what the run keeps of them, and going on."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.runfolder import RunFolder
from nas.search_command import main
from nas.search_plan import WARM_START
from nas.study import best_first, read_records
from search_spaces import SPACES
from tests.nas.commands import refused
from tests.search_spaces.readme import written

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "2M", "--device", "cpu", "--finals", "0")


@pytest.fixture
def search(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*options: str, trials: int = 2) -> int:
        common = ("--runs", str(tmp_path / "runs"), "--data", str(images), "--trials", str(trials))
        monkeypatch.setattr(sys, "argv", ["nas.search", *common, *SMALL, *options])
        return main()

    return run


def only_run(tmp_path: Path) -> RunFolder:
    (path,) = [path for path in (tmp_path / "runs").iterdir() if (path / "run.json").is_file()]
    return RunFolder(path)


def test_a_class_of_ones_own_is_searched_and_kept(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written("my_space.py", tmp_path)
    assert search("--space", f"{path}:TwoConvs") == 0
    run = only_run(tmp_path)
    assert run.path.name.endswith("-my_space-16")
    assert run.space.read_bytes() == path.read_bytes()
    manifest = run.read_manifest()
    assert manifest["identity"]["space"] == "two-convs"
    assert set(manifest["identity"]["space_definition"]) == {"class", "sha256"}
    assert manifest["sessions"][0]["space"] == f"{path}:TwoConvs"
    for record in read_records(run.study):
        assert record.genome is not None
        assert all(block["repeats"] == 2 for block in record.genome["blocks"])

    # It goes on, from another place too; a changed file is another space.
    moved = tmp_path / "moved"
    moved.mkdir()
    moved = path.rename(moved / path.name)
    assert search("--space", f"{moved}:TwoConvs", trials=3) == 0
    assert sum(record.counts for record in read_records(run.study)) == 3
    records = read_records(run.study)
    moved.write_text(moved.read_text().replace("48", "40"))
    capsys.readouterr()
    said = refused(capsys, search("--space", f"{moved}:TwoConvs", trials=4))
    assert "a run keeps to one space definition (sha256), but" in said
    assert "or another name with --run" in said
    assert read_records(run.study) == records
    assert b"48" in run.space.read_bytes()


@pytest.mark.slow
def test_workers_do_not_need_the_file(tmp_path: Path, search: Any) -> None:
    path = written("my_space.py", tmp_path)
    assert search("--space", f"{path}:TwoConvs", "--workers", "2", trials=4) == 0
    assert sum(record.counts for record in read_records(only_run(tmp_path).study)) == 4


def test_choices_of_a_file_are_searched_and_kept(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written("shallow.toml", tmp_path)
    assert search("--space", str(path)) == 0
    run = only_run(tmp_path)
    assert run.path.name.endswith("-shallow-16")
    assert not run.space.exists()
    identity = run.read_manifest()["identity"]
    assert identity["space"] == "chain"
    assert identity["space_definition"]["depth"] == [2, 4]
    assert identity["space_definition"]["kernels"] == [2, 5]
    for record in read_records(run.study):
        assert record.genome is not None
        assert 2 <= len(record.genome["blocks"]) <= 4
        assert {block["activation"] for block in record.genome["blocks"]} <= {"relu", "silu"}
    path.write_text(path.read_text().replace("[2, 4]", "[2, 5]"))
    capsys.readouterr()
    said = refused(capsys, search("--space", str(path)))
    assert "a run keeps to one space definition (depth), but" in said
    assert "was made with [2, 4] and is now asked for [2, 5]; give the old value" in said


def test_the_best_of_a_run_are_members_of_a_narrower_space(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """But not where the same parameters are another genome."""
    narrow = tmp_path / "narrow.toml"
    narrow.write_text('space = "chain"\ndepth = [2, 8]\nrepeats = [1, 2]\nkernels = [2, 6]\n')
    assert search("--run", "wide", trials=3) == 0
    wide = best_first(read_records(RunFolder(tmp_path / "runs" / "wide").study))
    warm = ("--space", str(narrow), "--warm-start", "wide")
    assert search("--run", "narrow", *warm, trials=3) == 0
    records = read_records(RunFolder(tmp_path / "runs" / "narrow").study)
    assert {record.key for record in wide} <= {record.key for record in records}
    narrow.write_text('space = "chain"\nfilters = [9, 10, 11, 13, 14, 15, 17, 18, 19]\n')
    capsys.readouterr()
    said = refused(capsys, search("--run", "other", *warm))
    assert "an earlier run must have scored genomes of the space chain, but" in said
    assert not (tmp_path / "runs" / "other" / WARM_START).exists()


def test_a_run_from_before_definitions_were_kept_is_refused(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--run", "r", trials=1) == 0
    run = RunFolder(tmp_path / "runs" / "r")
    manifest = json.loads(run.manifest.read_text())
    del manifest["identity"]["space_definition"]
    run.manifest.write_text(json.dumps(manifest))
    capsys.readouterr()
    assert "a run keeps to one space definition, but" in (
        said := refused(capsys, search("--run", "r"))
    )
    assert "did not note it; use that version, or another name with --run" in said


def test_the_list_of_spaces(search: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("--space", "list") == 0
    shown = capsys.readouterr().out
    assert all(f'space = "{name}"' in shown for name in SPACES)


@pytest.mark.parametrize(
    ("file", "content", "wish", "words"),
    [
        (
            "a.toml",
            'space = "chain"\ndepth = [4]',
            "a.toml",
            "a.toml: depth must be 2 whole numbers",
        ),
        ("a.toml", None, "a.toml", "a.toml cannot be (No such file or directory)"),
        ("a.py", "1 / 0", "a.py:Mine", "a.py, line 1: the file of --space must run, but"),
        ("a.py", "", "a.py", "--space must name the class in a Python file"),
    ],
)
def test_files_that_are_no_space_get_one_sentence_and_status_2(
    tmp_path: Path,
    search: Any,
    file: str,
    content: str | None,
    wish: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    assert words in refused(capsys, search("--space", f"{tmp_path}/{wish}"))
