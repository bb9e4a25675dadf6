"""Run folders: names, manifests, locks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import RunError
from nas.runfolder import PACKAGES, RunFolder, newest

IDENTITY = {"space": "chain", "size": 64, "classes": ("a", "b")}


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "x" * 101])
def test_names_that_are_no_plain_folder_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="for example --run first-try"):
        RunFolder.named(tmp_path, name)


def test_a_run_begins_and_goes_on(tmp_path: Path) -> None:
    run = RunFolder.named(tmp_path, "r-1.x_Y")
    run.begin(IDENTITY, {"device": "cpu"})
    run.begin(IDENTITY, {"device": "cuda:0"})
    manifest = run.read_manifest()
    assert manifest["identity"] == {"space": "chain", "size": 64, "classes": ["a", "b"]}
    assert [session["device"] for session in manifest["sessions"]] == ["cpu", "cuda:0"]
    assert set(manifest["sessions"][0]["versions"]) == {*PACKAGES, "commit"}


@pytest.mark.parametrize(("name", "value"), [("size", 128), ("classes", ("a", "c"))])
def test_a_run_keeps_to_its_identity(name: str, value: object, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "r")
    run.begin(IDENTITY, {})
    before = run.manifest.read_bytes()
    with pytest.raises(RunError, match=f"a run keeps to one {name}, but .* another name with"):
        run.begin({**IDENTITY, name: value}, {})
    assert run.manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            {"depth": [2, 8], "kernels": [2, 5]},
            {"depth": [2, 8], "kernels": [3, 5]},
            r"one space definition \(kernels\), but .* with \[2, 5\] and is .* for \[3, 5\];",
        ),
        ({"a": 1}, {"b": 1}, r"one space definition \(a\), but .* made with 1 and .* for None;"),
        ({"a": 1}, [1], r"one space definition, but .* made with \{'a': 1\} and .* for \[1\];"),
    ],
)
def test_of_values_with_parts_the_part_that_differs_is_told(
    old: object, new: object, words: str, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "r")
    run.begin({**IDENTITY, "space_definition": old}, {})
    with pytest.raises(RunError, match=words):
        run.begin({**IDENTITY, "space_definition": new}, {})


def test_what_an_older_version_did_not_note_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "r")
    run.begin(IDENTITY, {})
    with pytest.raises(RunError) as caught:
        run.begin({**IDENTITY, "space_definition": {"depth": (2, 8)}}, {})
    assert str(caught.value) == (
        f"a run keeps to one space definition, but {run.path} is from a version of this program "
        "that did not note it; use that version, or another name with --run"
    )


def test_the_spaces_code_is_kept_where_it_can_be_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "r")
    run.keep_space(b"class A: pass")
    assert run.space.read_bytes() == b"class A: pass"
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="the run folder must be writable"):
        RunFolder(tmp_path / "file").keep_space(b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "run python -m nas.search first"),
        ("{", "cannot be read"),
        ("[]", "must have format 2"),
        ('{"format": 1}', "must have format 2"),
    ],
)
def test_manifests_that_cannot_be_used(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=words):
        RunFolder(tmp_path).read_manifest()


def test_the_newest_run_is_the_one_worked_on_last(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run python -m nas\.search first"):
        newest(tmp_path)
    for age, name in enumerate(("c", "a", "b")):
        run = RunFolder(tmp_path / name)
        run.begin(IDENTITY, {})
        os.utime(run.manifest, (1000 - age, 1000 - age))
    (tmp_path / "no-run").mkdir()
    assert newest(tmp_path).path.name == "c"


def test_test_readings_are_counted_per_weights(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(IDENTITY, {})
    counts = [run.note_test_reading({"weights_sha256": digest}) for digest in ("x", "y", "x")]
    assert counts == [1, 1, 2]
    assert [entry["weights_sha256"] for entry in run.read_manifest()["test_readings"]] == [
        *("x", "y", "x"),
    ]
    run.begin(IDENTITY, {})  # a search that goes on keeps them
    assert len(run.read_manifest()["test_readings"]) == 3


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nas.runfolder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert done.returncode == -9
    assert (tmp_path / "lock").exists()
    with RunFolder(tmp_path).locked():
        pass


def test_an_error_within_the_lock_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="mine"), RunFolder(tmp_path).locked():
        raise PermissionError("mine")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / "file" / "r")
    with pytest.raises(RunError, match="must be writable"):
        run.begin(IDENTITY, {})
    with pytest.raises(RunError, match="must be writable"), run.locked():
        pass


def test_the_manifest_is_json_for_people(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin({"data": "Röntgen"}, {})
    text = run.manifest.read_text()
    assert "Röntgen" in text
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
